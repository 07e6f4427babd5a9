"""Measure a checkpoint on photos whose classes are known.

    CHECKPOINT, folders of class folders -> model.evaluation -> Measures
        -> a table, and where asked for: JSON, a confusion matrix, a reliability diagram

python scripts/evaluate.py checkpoints/tf_efficientnet_lite2.safetensors --json valid.json
python scripts/evaluate.py CHECKPOINT --set valid=data/oxford102/valid --set garden=~/garden
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from model import plots
from model.classifier import Classifier
from model.data_folder import DATA_VARIABLE, default_data_folder
from model.evaluation import DEFAULT_BATCH_SIZE, evaluate, labelled_photos
from model.evaluation_report import card, table
from model.labels import FlowerClass
from model.measures import Measures
from model.photo_folder import default_workers
from scripts.command_line import (
    OutputError,
    add_model_options,
    command,
    make_folder_of,
    picture_file,
    whole_number,
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for an error told in one line, 2 for usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parse(arguments)
    outputs = (options.json, options.confusion_matrix, options.reliability)
    for path in filter(None, outputs):
        # Now, not after minutes of evaluation.
        make_folder_of(path)
    folders: dict[str, Path] = dict(options.sets or [])
    if not folders:
        folders = {options.split: options.data / options.split}
    classifier = Classifier.load(options.checkpoint, options.device)
    photos = {name: labelled_photos(classifier, folder) for name, folder in folders.items()}
    results = {
        name: evaluate(classifier, listed, batch_size=options.batch_size, workers=options.workers)
        for name, listed in photos.items()
    }
    print("\n".join(table(options.checkpoint, classifier, results, options.worst)))
    if options.json:
        typed = shlex.join(["python", "scripts/evaluate.py", *arguments])
        values = card(options.checkpoint, classifier, folders, results, typed)
        _write(options.json, json.dumps(values, indent=1) + "\n")
    _draw(options, classifier.metadata.classes, results)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description="Measure a checkpoint on photos whose classes are known.",
        epilog="Exit code: 0 done, 1 an error, told in one line, 2 wrong usage.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file of train.py")
    add(
        "--data",
        type=Path,
        default=default_data_folder(),
        metavar="DIR",
        help=f"folder of the splits (default: ${DATA_VARIABLE}, or data/oxford102)",
    )
    sets = parser.add_mutually_exclusive_group()
    sets.add_argument("--split", default="valid", help="sub-folder of --data (default: valid)")
    sets.add_argument(
        "--set",
        dest="sets",
        type=_named_folder,
        action="append",
        metavar="NAME=FOLDER",
        help="measure this folder of class folders instead, which may lack some of the classes; "
        "give it again for more sets",
    )
    add_model_options(parser, DEFAULT_BATCH_SIZE)
    add(
        "--workers",
        type=whole_number(0),
        default=default_workers(),
        metavar="N",
        help="processes that decode photos; 0 for none (default here: %(default)s)",
    )
    add(
        "--worst",
        type=whole_number(0),
        default=10,
        metavar="N",
        help="how many of the worst classes to list (default: %(default)s)",
    )
    add("--json", type=Path, metavar="FILE", help="write all numbers there")
    for option, what in (
        ("--confusion-matrix", "confusion matrix"),
        ("--reliability", "reliability diagram"),
    ):
        add(
            option,
            type=picture_file,
            metavar="FILE.png",
            help=f"draw the {what} there; with several sets, NAME is added to each file's name",
        )
    options = parser.parse_args(arguments)
    names = [name for name, _ in options.sets or []]
    if len(set(names)) < len(names):
        parser.error("argument --set: each set needs a name of its own")
    return options


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not re.fullmatch(r"[\w.-]+", name) or not folder:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=FOLDER with a name of letters, digits, '.', '_' and '-'"
        )
    return name, Path(folder).expanduser()


def _draw(
    options: argparse.Namespace, classes: Sequence[FlowerClass], results: Mapping[str, Measures]
) -> None:
    for name, measures in results.items():
        top1 = f"{measures.n} photos, top-1 {100 * measures.top1:.2f} %"
        title = f"{options.checkpoint.stem} on {name}: {top1}"
        suffix = f"-{name}" if len(results) > 1 else ""
        if options.confusion_matrix:
            figure = plots.confusion_matrix(measures, classes, title)
            plots.save(figure, _with_suffix(options.confusion_matrix, suffix))
        if options.reliability:
            figure = plots.reliability_diagram(measures, title)
            plots.save(figure, _with_suffix(options.reliability, suffix))


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_stem(path.stem + suffix)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
