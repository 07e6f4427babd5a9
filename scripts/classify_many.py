"""Command line that classifies a large collection of photos into Parquet files.

python scripts/classify_many.py photos/ --output results/
python scripts/classify_many.py s3://bucket/photos --output s3://bucket/results --shard 3/16
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from model import bundled_checkpoint
from model.bulk.job import Progress, Shard, classify_shard
from model.bulk.parts import written_parts
from model.bulk.photo_list import DEFAULT_PART_SIZE, JobMismatchError, open_photo_list
from model.bulk.sources import open_source
from model.bulk.storage import Location
from model.prediction.stream import DEFAULT_BATCH_SIZE
from scripts.command_line import add_model_options, command, whole_number

_TERMINATED: Final = 128 + signal.SIGTERM  # the shell's exit code

_SLURM_VARIABLES: Final = tuple(
    f"SLURM_ARRAY_TASK_{name}" for name in ("COUNT", "MIN", "MAX", "STEP")
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 if it failed, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        shard = options.shard or shard_from_environment(os.environ)
    except ValueError as error:
        parser.error(str(error))
    source, output = open_source(options.source), Location.parse(options.output)
    if not output.is_writable:
        parser.error("argument --output: results need a local folder, s3:// or gs://")

    # Imported late: PyTorch takes seconds to import, and --help does not need it.
    from model.classifier import Classifier

    checkpoint = options.checkpoint or bundled_checkpoint(options.device)
    classifier = Classifier.load(checkpoint, options.device)
    try:
        photos = open_photo_list(output, source, classifier.version, options.part_size)
    except JobMismatchError as error:
        parser.error(str(error))
    name = f"Shard {shard.index} of {shard.total}"
    _tell(f"{name}, {photos.photo_count:,} photos in {photos.part_count:,} parts")
    end = classify_shard(
        classifier, photos, source, output, shard, batch_size=options.batch_size, report=_report
    )
    _tell(
        f"{name} is complete: {end.photos:,} photos. Classified now: {end.done:,} "
        f"({end.rate:.1f} per second), of which {end.unreadable:,} unreadable. "
        f"Already there: {end.skipped:,}. The job has {len(written_parts(output)):,} of "
        f"{photos.part_count:,} parts."
    )
    return 0


def shard_from_environment(environ: Mapping[str, str]) -> Shard:
    """Return the shard of a Kubernetes Indexed Job or a Slurm array task; otherwise 0 of 1.

    Raises:
        ValueError: The index is set without the other variables, or one is out of range.
    """
    if index := environ.get("JOB_COMPLETION_INDEX"):
        # Kubernetes sets only the index.
        total = environ.get("JOB_COMPLETIONS")
        if not total:
            raise ValueError("set JOB_COMPLETIONS to the number of completions, or give --shard")
        return _shard(f"{index}/{total}")
    if index := environ.get("SLURM_ARRAY_TASK_ID"):
        texts = {name: environ.get(name, "") for name in _SLURM_VARIABLES}
        for name, text in {"SLURM_ARRAY_TASK_ID": index, **texts}.items():
            if not (text.isascii() and text.isdecimal()):
                raise ValueError(f"set {name} to a whole number, as Slurm does, or give --shard")
        count, first, last, step = map(int, texts.values())
        if step == 0:
            raise ValueError("SLURM_ARRAY_TASK_STEP is 0: set it to 1 or more, or give --shard")
        if (last - first) // step + 1 != count:
            raise ValueError("the array's indices have gaps: give --shard, or use --array=0-N")
        return _shard(f"{(int(index) - first) // step}/{count}")
    return Shard(0, 1)


def _shard(text: str) -> Shard:
    index, slash, total = text.partition("/")
    if not (slash and index.isascii() and index.isdecimal() and total.isdecimal()):
        raise ValueError(f"{text!r} is not INDEX/TOTAL, such as 3/16")
    if int(index) >= int(total):
        raise ValueError(f"{text!r} has an INDEX that is not below TOTAL; the first INDEX is 0")
    return Shard(int(index), int(total))


def _location(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; an unset variable may be the cause")
    return text


def _shard_argument(text: str) -> Shard:
    try:
        return _shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _report(progress: Progress) -> None:
    left = timedelta(seconds=round(progress.seconds_left))
    _tell(
        f"{progress.skipped + progress.done:,} of {progress.photos:,} photos, "
        f"{progress.rate:.1f} per second, {left} left"
    )


def _tell(line: str) -> None:
    """Print a line to stderr. The job does not end if its log is closed or its disk is full."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        # The interpreter flushes again at exit, which must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="classify_many.py",
        description="Classify a large collection of photos into Parquet files. Repeat the same "
        "command to resume; only complete parts are kept.",
        epilog="Each part has one row per photo; an unreadable photo has a row with an error. "
        "Exit code: 0 if every photo of the shard has a row, 1 if not, 2 for wrong usage.",
    )
    add = parser.add_argument
    add(
        "source",
        type=_location,
        metavar="SOURCE",
        help="a folder or a URL prefix (s3://bucket/photos), searched recursively, or a .txt file "
        "with one path or URL per line, relative to the file",
    )
    add(
        "--output",
        type=_location,
        required=True,
        metavar="DIR",
        help="folder of the results: local, s3:// or gs://. The first process stores the list of "
        "photos there, and later ones use it",
    )
    add(
        "--shard",
        type=_shard_argument,
        metavar="INDEX/TOTAL",
        help="share of the parts, from 0/TOTAL (default: by JOB_COMPLETION_INDEX and "
        "JOB_COMPLETIONS, or by the Slurm array task; otherwise 0/1)",
    )
    add(
        "--part-size",
        type=whole_number(1),
        metavar="N",
        help=f"photos per part (default: that of the folder, or {DEFAULT_PART_SIZE:,})",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a .safetensors or .onnx file (default: the bundled file for the device)",
    )
    add_model_options(parser, DEFAULT_BATCH_SIZE)
    return parser


if __name__ == "__main__":
    # The first process of a container ignores signals without a handler.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(_TERMINATED))
    sys.exit(main())
