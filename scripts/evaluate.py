"""Measure a checkpoint on photos whose classes are known, and on photos of none of them.

    CHECKPOINT, folders of class folders, folders of other photos -> Evaluation
        -> a table, and where asked for: JSON, a model card, pictures of confusion and calibration

python scripts/evaluate.py checkpoints/tf_efficientnet_lite2.safetensors --json valid.json
python scripts/evaluate.py CHECKPOINT --set valid=data/oxford102/valid --set garden=~/garden
python scripts/evaluate.py CHECKPOINT --unknown pets=~/pets --robustness
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.checkpoint.labels import FlowerClass
from model.classifier import Classifier
from model.data.ood_photos import Half, ood_photos
from model.data.photo_folder import PhotoFolderError, class_folders, default_workers
from model.evaluation import plots
from model.evaluation.evaluate import DEFAULT_BATCH_SIZE, evaluate_all
from model.evaluation.metrics import ClassificationMetrics
from model.evaluation.model_card import card_lines, check_card, write_card
from model.evaluation.report import card, table
from scripts.command_line import (
    OutputError,
    add_data_option,
    add_model_options,
    add_view_options,
    command,
    make_folder_of,
    picture_file,
    seen_by,
    whole_number,
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for an error told in one line, 2 for usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parse(arguments)
    outputs = (options.json, options.confusion_matrix, options.reliability)
    # Now, not after minutes of evaluation.
    for path in filter(None, outputs):
        make_folder_of(path)
    if options.card:
        check_card(options.card)
    folders: dict[str, Path] = dict(options.sets or [])
    if not folders:
        folders = {options.split: options.data / options.split}
    classifier = seen_by(Classifier.load(options.checkpoint, options.device), options)
    unknown = dict(options.unknown or [])
    evaluation = evaluate_all(
        classifier,
        folders,
        {name: _unknown_photos(folder, options.unknown_half) for name, folder in unknown.items()},
        robustness=options.robustness,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    print("\n".join(table(options.checkpoint, classifier, evaluation, options.worst)))
    typed = shlex.join(["python", "scripts/evaluate.py", *arguments])
    if options.json:
        values = card(options.checkpoint, classifier, {**folders, **unknown}, evaluation, typed)
        _write(options.json, json.dumps(values, indent=1) + "\n")
    if options.card:
        lines = card_lines(options.checkpoint, classifier, evaluation, typed)
        write_card(options.card, lines)
    _draw(options, classifier.metadata.classes, evaluation.sets)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description="Measure a checkpoint on photos whose classes are known.",
        epilog="Exit code: 0 done, 1 an error, told in one line, 2 wrong usage.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file of train.py")
    add_data_option(parser, "folder of the splits")
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
    add(
        "--unknown",
        type=_named_folder,
        action="append",
        metavar="NAME=FOLDER",
        help="measure how well photos of none of the classes are told from the first set: those of "
        "this folder and its sub-folders; FOLDER,-SUB leaves a sub-folder out; give it again for "
        "more sets",
    )
    add(
        "--unknown-half",
        choices=("all", "measuring", "training"),
        default="all",
        help="measuring: only the half that train.py's --ood-data-half leaves (default: all)",
    )
    add(
        "--robustness",
        action="store_true",
        help="measure the first set blurred, compressed, darkened, turned … too",
    )
    add_view_options(parser)
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
    add("--card", type=Path, metavar="FILE.md", help="write the numbers of a model card into it")
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
    names = [name for name, _ in [*(options.sets or []), *(options.unknown or [])]]
    if len(set(names)) < len(names):
        parser.error("arguments --set, --unknown: each set needs a name of its own")
    return options


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not re.fullmatch(r"[\w.-]+", name) or not folder:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=FOLDER with a name of letters, digits, '.', '_' and '-'"
        )
    return name, Path(folder).expanduser()


def _unknown_photos(folder: Path, half: Half) -> list[Path]:
    """List the photos of "FOLDER" or "FOLDER,-SUB", for any number of ",-SUB"."""
    path, *left_out = str(folder).split(",-")
    root = Path(path)
    # A name that is misspelt would leave in what should be out, and nobody would see.
    if missing := set(left_out).difference(class_folders(root)):
        raise PhotoFolderError(f"{root} has no sub-folder {min(missing)!r} to leave out.")
    kept = [
        photo
        for photo in ood_photos(root, half)
        if photo.relative_to(root).parts[0] not in left_out
    ]
    if not kept:
        raise PhotoFolderError(f"{root} holds no photos but those of {', '.join(left_out)}.")
    return kept


def _draw(
    options: argparse.Namespace,
    classes: Sequence[FlowerClass],
    results: Mapping[str, ClassificationMetrics],
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
