"""Fit what turns a checkpoint's logits into probabilities and a verdict, and store it in a copy.

    CHECKPOINT, photos that it was not trained on -> logits, as served -> temperature, known rule
        -> OUTPUT, the same weights

Training does so too, for its best epoch. This is for other photos, another score, another view of
the photos, or weights that were trained in another precision than they are served in.

`--offset` mends what a part of the training photos taught wrongly: where only some classes have
photos of another kind, that kind alone comes to say that a photo is of one of them. It is logit
adjustment (Menon et al. 2021, "Long-tail learning via …") by the classes of that part. Names are
ranked with it, and the verdict is of the logits without it.

`--level-prior` has the verdict ask how large a logit is for its class: the photos of some classes
are more alike than those of others, and their logits larger.

python scripts/calibrate.py CHECKPOINT --data data/oxford102 --output mine.safetensors
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model.backbones import add_to_logits
from model.checkpoint.format import load_checkpoint, save_checkpoint
from model.checkpoint.metadata import Metadata
from model.classifier import Classifier
from model.data.photo_folder import PhotoFolderError, class_folders
from model.evaluation.evaluate import DEFAULT_BATCH_SIZE, compute_logits, labelled_photos
from model.ood import SCORES
from model.training.calibration import DEFAULT_ACCEPTED, DEFAULT_SCORE, calibrate
from scripts.command_line import (
    OutputError,
    add_data_option,
    add_model_options,
    add_view_options,
    command,
    make_folder_of,
    seen_by,
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, 1 for an error told in one line, 2 for usage."""
    options = _parser().parse_args(argv)
    make_folder_of(options.output)
    classifier = seen_by(Classifier.load(options.checkpoint, options.device), options)
    photos = labelled_photos(classifier, options.data / options.split)
    logits, targets = compute_logits(classifier, photos, batch_size=options.batch_size)
    network, metadata = load_checkpoint(options.checkpoint)
    earlier = metadata.ood_rule.logit_adjustment if metadata.ood_rule else ()
    logit_adjustment = torch.tensor(earlier or [0.0] * len(metadata.classes))
    training = dict(metadata.training)
    if options.offset is not None:
        folder, points = options.offset
        added = _offsets(folder, points, metadata)
        add_to_logits(network, added)
        logits, logit_adjustment = logits + added, logit_adjustment + added
        training["offset"] = f"{points:+g} for the classes of {folder.name}"
    if math.isfinite(options.level_prior):
        training["level_prior"] = options.level_prior
    calibrated = calibrate(
        logits,
        targets,
        metadata.classes,
        options.score,
        options.accepted,
        logit_adjustment.tolist() if logit_adjustment.any() else (),
        options.level_prior,
    )
    metrics = {**metadata.metrics, options.split: calibrated.measures.summary()}
    changed = replace(
        metadata,
        transform=classifier.metadata.transform,
        temperature=calibrated.temperature,
        ood_rule=calibrated.ood_rule,
        training=training,
        metrics=metrics,
    )
    try:
        save_checkpoint(options.output, network.state_dict(), changed)
    except OSError as error:
        raise OutputError(f"{options.output} cannot be written: {error.strerror}.") from error
    print(
        f"temperature {calibrated.temperature:.4f}, {options.score} from "
        f"{calibrated.ood_rule.threshold:.3f} on is known; wrote {options.output}"
    )
    return 0


def _offsets(folder: Path, points: float, metadata: Metadata) -> torch.Tensor:
    """Return what to add to each logit, float32 (classes,): the points where FOLDER has the class.

    Raises:
        PhotoFolderError: There is no such folder, or it has folders of other classes.
    """
    class_ids = [item.class_id for item in metadata.classes]
    found = set(class_folders(folder))
    if unknown := sorted(found - set(class_ids)):
        raise PhotoFolderError(f"{folder} has a folder {unknown[0]}, which is none of the classes.")
    return torch.tensor([points if class_id in found else 0.0 for class_id in class_ids])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calibrate.py",
        description="Fit a checkpoint's temperature, and the rule by which a photo may be of none "
        "of its classes, on photos that it was not trained on.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file of train.py")
    add("--output", type=Path, required=True, metavar="FILE", help="where to write the copy")
    add_data_option(parser, "folder of the splits")
    add("--split", default="valid", help="sub-folder of --data (default: %(default)s)")
    add(
        "--score",
        choices=SCORES,
        default=DEFAULT_SCORE,
        help="what tells known from unknown (default: %(default)s)",
    )
    add(
        "--accepted",
        type=_share,
        default=DEFAULT_ACCEPTED,
        metavar="SHARE",
        help="share of the photos that are to count as known (default: %(default)s)",
    )
    add(
        "--offset",
        type=_offset,
        metavar="FOLDER:POINTS",
        help="what to add to the logits of the classes that FOLDER has folders of, such as -0.5",
    )
    add(
        "--level-prior",
        type=_prior,
        default=math.inf,
        metavar="PHOTOS",
        help="take each class's typical logit off the score, as if the class had so many photos "
        "more with the logit of an average class, such as 10; beside what the checkpoint's rule "
        "takes off already (default: take none off)",
    )
    add_view_options(parser)
    add_model_options(parser, DEFAULT_BATCH_SIZE)
    return parser


def _number(text: str) -> float:
    """Return a number, or NaN for what is none, which no range holds."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _prior(text: str) -> float:
    value = _number(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of photos, 0 or more")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below 1")
    return value


def _offset(text: str) -> tuple[Path, float]:
    folder, _, points = text.rpartition(":")
    value = _number(points)
    if not folder or not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not FOLDER:POINTS with a number of points")
    return Path(folder), value


if __name__ == "__main__":
    sys.exit(main())
