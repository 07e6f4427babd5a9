"""Command line that names the flowers in photos.

python scripts/predict.py rose.jpg
python scripts/predict.py holiday/ --top-k 1 --format csv > holiday.csv
curl -s https://example.org/flower.jpg | python scripts/predict.py - --plot flower.png
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tqdm import tqdm

from model import bundled_checkpoint
from model.data.ignored_files import ignored_files, ignored_line
from model.imaging.activation_map import laid_over, overlay
from model.imaging.decode import decode_image
from model.imaging.formats import FORMAT_NAMES, IMAGE_SUFFIXES
from model.imaging.transforms import EvaluationTransform
from model.prediction import formats as prediction_formats
from model.prediction.stream import DEFAULT_BATCH_SIZE, Classified, Photo, Unreadable, classify
from scripts.command_line import (
    FAILED,
    OutputError,
    add_model_options,
    command,
    image_file,
    make_parent_folder,
    whole_number,
)

_TOP_K: Final = 5
_MAX_PLOTTED: Final = 12
_PLOTTED_SIDE: Final = 640  # px


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 if a photo failed, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(argv)
    failures = _Failures()
    photos = list(_listed(options.photos, failures))
    folders = [Path(name) for name in options.photos if _is_folder(name)]
    if ignored := ignored_files(folders):
        print(ignored_line(ignored), file=sys.stderr)
    for option, path in (("--plot", options.plot), ("--explain", options.explain)):
        if path and len(photos) > _MAX_PLOTTED:
            parser.error(f"argument {option}: up to {_MAX_PLOTTED} photos, not {len(photos):,}")
        if path:
            make_parent_folder(path)

    # Imported late: PyTorch takes seconds to import, and --help does not need it.
    from model.classifier import Classifier

    checkpoint = options.checkpoint or bundled_checkpoint(options.device)
    classifier = Classifier.load(checkpoint, options.device)
    classes = len(classifier.metadata.classes)
    top_k = options.top_k or min(_TOP_K, classes)
    if top_k > classes:
        parser.error(f"argument --top-k: the checkpoint has {classes} classes, not {top_k}")
    results = classify(classifier, photos, top_k=top_k, batch_size=options.batch_size)
    # Results on the terminal show the progress themselves.
    quiet = sys.stdout.isatty() or not sys.stderr.isatty() or len(photos) <= options.batch_size
    drawn: list[Classified] = []
    with prediction_formats.FORMATS[options.format]() as write:
        for result in tqdm(results, total=len(photos), unit="photo", disable=quiet):
            if isinstance(result, Unreadable):
                failures.report(result.photo.name, result.reason)
                continue
            write(result)
            sys.stdout.flush()
            if options.plot or options.explain:
                drawn.append(result)
    if drawn and options.plot:
        _draw(drawn, options.plot)
    if drawn and options.explain:
        _draw(drawn, options.explain, classifier.metadata.transform)
    return FAILED if failures.count else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="predict.py",
        description="Name the flowers in photos.",
        epilog="Write a file name that begins with '-' after '--', or as ./-name. "
        "CSV has one line per prediction; JSON is one array with one line per photo. "
        "Unreadable photos are reported on stderr and left out. "
        "Exit code: 0 if all photos were classified, 1 if any failed, 2 for wrong usage.",
    )
    add = parser.add_argument
    add(
        "photos",
        nargs="+",
        metavar="PHOTO",
        help=f"a {FORMAT_NAMES} file, a folder (searched recursively, sorted by path), or - for a "
        "photo from stdin",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a .safetensors file of train.py or an .onnx file of export.py (default: the bundled "
        "file for the device)",
    )
    add(
        "--top-k",
        type=whole_number(1),
        metavar="K",
        help=f"number of predictions per photo (default: {_TOP_K})",
    )
    add(
        "--format",
        choices=prediction_formats.FORMATS,
        default="text",
        help="output format (default: %(default)s)",
    )
    add(
        "--plot",
        type=image_file,
        metavar="FILE.png",
        help="draw the photos with their verdicts and bar charts of their probabilities; "
        f"up to {_MAX_PLOTTED} photos",
    )
    add(
        "--explain",
        type=image_file,
        metavar="FILE.png",
        help="draw the same with the class activation map of the top prediction over each photo",
    )
    add_model_options(parser, DEFAULT_BATCH_SIZE)
    return parser


class _Failures:
    """A counter of failures that reports each on stderr."""

    def __init__(self) -> None:
        self.count = 0

    def report(self, name: str, reason: str) -> None:
        self.count += 1
        tqdm.write(f"error: {prediction_formats.printable(name)}: {reason}", file=sys.stderr)


def _listed(arguments: Sequence[str], failures: _Failures) -> Iterator[Photo]:
    for argument in arguments:
        if argument == "-":
            # Read on the main thread, which Ctrl-C can interrupt.
            yield Photo("-", sys.stdin.buffer.read())
        elif _is_folder(argument):
            yield from _found(argument, failures)
        else:
            yield Photo(argument, Path(argument))


def _is_folder(name: str) -> bool:
    return os.path.isdir(name)  # noqa: PTH112  # Path.is_dir raises if a name is too long


def _found(folder: str, failures: _Failures) -> list[Photo]:
    """Return the photos below a folder by suffix, without hidden files and folders."""
    failed_before = failures.count

    def unreadable(error: OSError) -> None:
        failures.report(str(error.filename), f"{error.strerror}.")

    found = []
    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            str(Path(parent, name))
            for name in files
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    if not found and failures.count == failed_before:
        failures.report(folder, f"The folder holds no {FORMAT_NAMES} files.")
    return [Photo(path, Path(path)) for path in sorted(found)]


def _draw(
    results: Sequence[Classified], path: Path, explained_by: EvaluationTransform | None = None
) -> None:
    from model.evaluation import plots  # matplotlib takes a second to import

    photos = []
    for result in results:
        image = decode_image(result.photo.read(), target_side=_PLOTTED_SIDE)
        image.thumbnail((_PLOTTED_SIDE, _PLOTTED_SIDE))
        if explained_by is not None:
            if result.activations is None:
                raise OutputError(
                    "--explain is not possible: the head of this checkpoint is not one linear "
                    "layer on average-pooled features, so it has no class activation maps."
                )
            image = laid_over(image, overlay(result.activations, image.size, explained_by))
        photos.append((image, result.result))
    plots.save(plots.prediction_charts(photos), path)


if __name__ == "__main__":
    sys.exit(main())
