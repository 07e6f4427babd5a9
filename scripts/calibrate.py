"""Command line that fits a checkpoint's temperature and verdicts, and stores them in a copy.

Training calibrates its checkpoint on valid/ already. Use this script for photos that resemble those
of use, another score or image size, or averaged weights.

    python scripts/calibrate.py CHECKPOINT --output new.safetensors --calibration-data valid ../my
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from model.checkpoint.format import load_checkpoint, save_checkpoint
from model.classifier import Classifier
from model.evaluation.datasets import labelled_photos
from model.evaluation.evaluate import DEFAULT_BATCH_SIZE, compute_logits
from model.ood import SCORES
from model.training.calibration import (
    DEFAULT_SCORE,
    DEFAULT_TARGET_PRECISION,
    DEFAULT_TARGET_TPR,
    CalibrationOptions,
    LabelledLogits,
    calibrate_checkpoint,
)
from model.training.logit_adjustment import LogitAdjustment
from scripts.command_line import (
    OutputError,
    add_calibration_option,
    add_data_option,
    add_eval_size_options,
    add_model_options,
    command,
    data_folder,
    fraction,
    make_parent_folder,
    with_eval_size,
)

_MAX_ADJUSTMENT: Final = 100  # the logits of a network differ by far less


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for a one-line error, 2 for wrong usage."""
    options = _parser().parse_args(argv)
    make_parent_folder(options.output)
    classifier = with_eval_size(Classifier.load(options.checkpoint, options.device), options)
    sets = []
    data = data_folder(options)
    for folder in options.calibration_data:
        photos = labelled_photos(classifier, data / folder)
        logits, targets = compute_logits(classifier, photos, batch_size=options.batch_size)
        sets.append(LabelledLogits(folder.name, logits, targets))
    network, metadata = load_checkpoint(options.checkpoint)
    calibrated = calibrate_checkpoint(
        network,
        replace(metadata, transform=classifier.metadata.transform),
        sets,
        CalibrationOptions(
            options.score,
            options.target_tpr,
            options.target_precision,
            options.class_mean_shrinkage,
        ),
        options.logit_adjustment,
    )
    try:
        save_checkpoint(
            options.output,
            network.state_dict(),
            calibrated,
            half_precision=options.checkpoint_dtype == "float16",
        )
    except OSError as error:
        raise OutputError(f"{options.output} is not writable: {error.strerror}.") from error
    rule = calibrated.ood_rule
    thresholds = (
        f", {rule.score} threshold {rule.threshold:.3f}, known from {rule.known_probability:.1%}"
        if rule
        else ""
    )
    print(f"Temperature {calibrated.temperature:.4f}{thresholds}; wrote {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calibrate.py",
        description="Fit a checkpoint's temperature and the thresholds of its verdicts on photos "
        "that it was not trained on.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file")
    add("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write")
    add_data_option(parser, "folder of the splits", of_run=True)
    add_calibration_option(parser, "photos to fit on; each folder counts the same")
    add(
        "--score",
        choices=SCORES,
        default=DEFAULT_SCORE,
        help="OOD score (default: %(default)s)",
    )
    add(
        "--target-tpr",
        type=fraction,
        default=DEFAULT_TARGET_TPR,
        metavar="TPR",
        help="fraction of the correctly classified photos of each folder that the OOD threshold "
        "accepts at least (default: %(default)s)",
    )
    add(
        "--target-precision",
        type=fraction,
        default=DEFAULT_TARGET_PRECISION,
        metavar="P",
        help="fraction of the photos with the verdict known of each folder that is correct at "
        "least (default: %(default)s)",
    )
    add(
        "--logit-adjustment",
        type=_logit_adjustment,
        metavar="FOLDER:VALUE",
        help="add VALUE, such as -0.5, to the logits of the classes that FOLDER has sub-folders of",
    )
    add(
        "--class-mean-shrinkage",
        type=_shrinkage,
        default=math.inf,
        metavar="PHOTOS",
        help="subtract each class's mean logit before scoring, shrunk toward the overall mean as "
        "by this many photos (default: do not subtract)",
    )
    add(
        "--checkpoint-dtype",
        choices=("float32", "float16"),
        default="float32",
        help="type of the stored weights; float16 halves the file (default: %(default)s)",
    )
    add_eval_size_options(parser)
    add_model_options(parser, DEFAULT_BATCH_SIZE)
    return parser


def _number(text: str) -> float:
    # NaN fails every range check below.
    try:
        return float(text)
    except ValueError:
        return math.nan


def _shrinkage(text: str) -> float:
    value = _number(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of photos, 0 or more")
    return value


def _logit_adjustment(text: str) -> LogitAdjustment:
    folder, _, number = text.rpartition(":")
    value = _number(number)
    if not folder or not abs(value) <= _MAX_ADJUSTMENT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not FOLDER:VALUE with a value from {-_MAX_ADJUSTMENT} to "
            f"{_MAX_ADJUSTMENT}"
        )
    return LogitAdjustment(Path(folder), value)


if __name__ == "__main__":
    sys.exit(main())
