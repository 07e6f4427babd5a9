"""Command line that evaluates a checkpoint.

python scripts/evaluate.py runs/densenet161/checkpoint.safetensors
python scripts/evaluate.py checkpoints/tf_efficientnet_lite2-int8.onnx --json valid.json
python scripts/evaluate.py CHECKPOINT --set valid=data/oxford102/valid --set garden=~/garden
python scripts/evaluate.py CHECKPOINT --ood pets=~/pets --corruptions
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
from model.data.ignored_files import ignored_files, ignored_line
from model.data.photo_folder import default_workers
from model.evaluation import plots
from model.evaluation.datasets import ood_photos_except
from model.evaluation.evaluate import DEFAULT_BATCH_SIZE, SetMetrics, evaluate_all
from model.evaluation.model_card import check_card, write_card
from model.evaluation.report import DEFAULT_WORST, report_json, report_text
from scripts.command_line import (
    OutputError,
    add_data_option,
    add_eval_size_options,
    add_model_options,
    command,
    data_folder,
    image_file,
    make_parent_folder,
    whole_number,
    with_eval_size,
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parse(arguments)
    # Before minutes of evaluation.
    for path in filter(None, (options.json, options.confusion_matrix, options.reliability)):
        make_parent_folder(path)
    if options.card:
        check_card(options.card)
    folders = dict(options.sets) or {options.split: data_folder(options) / options.split}
    ood = dict(options.ood) | dict(options.ood_half)
    if ignored := ignored_files([*folders.values(), *map(_root, ood.values())]):
        print(ignored_line(ignored), file=sys.stderr)
    classifier = with_eval_size(Classifier.load(options.checkpoint, options.device), options)
    evaluation = evaluate_all(
        classifier,
        folders,
        {
            name: ood_photos_except(
                _root(folder),
                "eval" if name in dict(options.ood_half) else "all",
                _excluded(folder),
            )
            for name, folder in ood.items()
        },
        corrupted=options.corruptions,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    print(report_text(options.checkpoint, classifier, evaluation, options.worst))
    typed = shlex.join(["python", "scripts/evaluate.py", *arguments])
    if options.json:
        values = report_json(options.checkpoint, classifier, folders | ood, evaluation, typed)
        _write(options.json, json.dumps(values, indent=1) + "\n")
    if options.card:
        write_card(options.card, options.checkpoint, classifier, evaluation, typed)
    _plot(options, classifier.metadata.classes, evaluation.sets)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description="Evaluate a checkpoint on labelled photos, and on OOD photos.",
        epilog="Exit codes: 0 success, 1 error, 2 wrong arguments.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help=".safetensors or .onnx file")
    add_data_option(parser, "folder of the splits", of_run=True)
    sets = parser.add_mutually_exclusive_group()
    sets.add_argument("--split", default="valid", help="sub-folder of --data (default: valid)")
    sets.add_argument(
        "--set",
        dest="sets",
        type=_named_folder,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="folder of class folders to evaluate on instead of --split; it may lack some "
        "classes; repeat for more sets",
    )
    add(
        "--ood",
        type=_named_folder,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="folder of photos of none of the classes, for OOD detection; "
        "FOLDER,-SUB excludes a sub-folder; repeat for more sets",
    )
    add(
        "--ood-half",
        type=_named_folder,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="the same, but only the half that train.py --ood-data-half does not use",
    )
    add("--corruptions", metavar="NAME", help="evaluate this set under corruptions too")
    add_eval_size_options(parser)
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
        default=DEFAULT_WORST,
        metavar="N",
        help="number of worst classes to list (default: %(default)s)",
    )
    add("--json", type=Path, metavar="FILE", help="write all metrics to this file")
    add("--card", type=Path, metavar="FILE.md", help="write the tables into this model card")
    for option, plot in (
        ("--confusion-matrix", "confusion matrix"),
        ("--reliability", "reliability diagram"),
    ):
        add(
            option,
            type=image_file,
            metavar="FILE.png",
            help=f"draw the {plot}; with several sets, each file name ends in -NAME",
        )
    options = parser.parse_args(arguments)
    names = [name for name, _ in [*options.sets, *options.ood, *options.ood_half]]
    if len(set(names)) < len(names):
        parser.error("arguments --set, --ood, --ood-half: names must be unique")
    known = [name for name, _ in options.sets] or [options.split]
    if options.corruptions not in (None, *known):
        parser.error(f"argument --corruptions: {options.corruptions} is none of {', '.join(known)}")
    return options


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not re.fullmatch(r"[\w.-]+", name) or not folder:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=FOLDER with a name of letters, digits, '.', '_' and '-'"
        )
    return name, Path(folder).expanduser()


def _root(folder: Path) -> Path:
    """Return FOLDER of "FOLDER,-SUB,-SUB"."""
    return Path(str(folder).split(",-")[0])


def _excluded(folder: Path) -> list[str]:
    """Return the names SUB of "FOLDER,-SUB,-SUB"."""
    return str(folder).split(",-")[1:]


def _plot(
    options: argparse.Namespace, classes: Sequence[FlowerClass], sets: Mapping[str, SetMetrics]
) -> None:
    for name, found in sets.items():
        metrics = found.classification
        title = f"{options.checkpoint.stem} on {name}: "
        title += f"{metrics.n} photos, top-1 {100 * metrics.top1:.2f} %"
        suffix = f"-{name}" if len(sets) > 1 else ""
        if options.confusion_matrix:
            figure = plots.confusion_matrix(metrics, classes, title)
            plots.save(figure, _with_suffix(options.confusion_matrix, suffix))
        if options.reliability:
            figure = plots.reliability_diagram(metrics, title)
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
