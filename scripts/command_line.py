"""Shared parts of the scripts' command lines: option types, common options, exit codes."""

from __future__ import annotations

import argparse
import functools
import io
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, ParamSpec

import numpy as np

from model.classifier import Classifier
from model.data import DATA_VARIABLE, default_data_folder
from model.errors import PetalscopeError

FAILED: Final = 1
INTERRUPTED: Final = 128 + 2  # the shell's exit code for SIGINT (Ctrl-C)
_IMAGE_SUFFIXES: Final = (".png", ".svg", ".pdf")

_Arguments = ParamSpec("_Arguments")

# Far above any use. Larger numbers overflow in the libraries.
_MAX_NUMBER: Final = 1_000_000
_MAX_DIGITS: Final = 20


class ImageSizeError(PetalscopeError):
    """An image size that the network does not accept."""


class OutputError(PetalscopeError):
    """An output file that cannot be written."""


def command(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Decorate a script's `main(argv) -> exit code`.

    A `PetalscopeError` becomes one line on stderr and exit code 1. Ctrl-C exits with 130, and a
    closed pipe (`| head`) with 0, both silently. Other exceptions propagate.
    """

    @functools.wraps(main)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # File names may hold any bytes.
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        try:
            code = main(*args, **kwargs)
            # Flush here, so that a closed pipe raises inside this block.
            sys.stdout.flush()
        except PetalscopeError as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            # The interpreter flushes again at exit, which must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return code

    return wrapped


def fraction(text: str) -> float:
    """Return a number above 0 and below 1 (an argparse type)."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # fails the comparison below
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below 1")
    return value


def whole_number(least: int) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from `least` to a million."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
        if not is_number or not least <= int(text) <= _MAX_NUMBER:
            raise argparse.ArgumentTypeError(
                f"{text[:_MAX_DIGITS]!r} is not a whole number from {least} to {_MAX_NUMBER}"
            )
        return int(text)

    return parse


def add_model_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add --device and --batch-size."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=batch_size,
        metavar="N",
        help="photos in a forward pass (default: %(default)s)",
    )


class _DifferentlyNamedFolders(argparse.Action):
    """Store folders whose names differ: metrics are stored by name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        names = [folder.name for folder in values]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise argparse.ArgumentError(self, f"two folders have the name {repeated[0]!r}")
        setattr(namespace, self.dest, values)


def add_calibration_option(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add --calibration-data, folders relative to --data; the default is valid/."""
    parser.add_argument(
        "--calibration-data",
        action=_DifferentlyNamedFolders,
        type=Path,
        nargs="+",
        default=[Path("valid")],
        metavar="FOLDER",
        help=f"{purpose}: folders of class folders with different names, relative to --data "
        "(default: valid)",
    )


def add_eval_size_options(parser: argparse.ArgumentParser) -> None:
    """Add --eval-resize and --eval-crop."""
    for option, meaning in (
        ("--eval-resize", "length of the photo's shorter side before the center crop"),
        ("--eval-crop", "side of the center crop, the network's input"),
    ):
        parser.add_argument(
            option,
            type=whole_number(1),
            metavar="PIXELS",
            help=f"{meaning} (default: the checkpoint's)",
        )


def with_eval_size(classifier: Classifier, options: argparse.Namespace) -> Classifier:
    """Return the classifier with the image size of `add_eval_size_options`.

    Raises:
        ImageSizeError: The crop is larger than the photo, the network has a fixed input size, or
            the size is above the limit.
    """
    transform = classifier.metadata.transform
    resize, crop = options.eval_resize or transform.resize, options.eval_crop or transform.crop
    if crop > resize:
        raise ImageSizeError(f"--eval-crop {crop} is larger than --eval-resize {resize}.")
    if crop != transform.crop:
        try:
            classifier.logits(np.zeros((1, crop, crop, 3), dtype=np.uint8))
        except Exception as error:  # each backend has its own
            raise ImageSizeError(
                f"The network accepts only {transform.crop} pixels, not --eval-crop {crop}. An "
                ".onnx file has a fixed input size: use its .safetensors file instead."
            ) from error
    try:
        resized = replace(transform, resize=resize, crop=crop)
    except ValueError as error:
        raise ImageSizeError(f"--eval-resize and --eval-crop cannot be used: {error}.") from error
    metadata = replace(classifier.metadata, transform=resized)
    return Classifier(classifier.network, metadata, classifier.version)


def add_data_option(parser: argparse.ArgumentParser, meaning: str, *, of_run: bool = False) -> None:
    """Add --data.

    Args:
        parser: The parser.
        meaning: Help text without the default.
        of_run: True defaults to the data that CHECKPOINT was trained on; `data_folder` then returns
            the value.
    """
    default = f"${DATA_VARIABLE}, or data/oxford102"
    if of_run:
        default = f"the data of the run that CHECKPOINT lies in, else {default}"
    parser.add_argument(
        "--data",
        type=Path,
        default=None if of_run else default_data_folder(),
        metavar="DIR",
        help=f"{meaning} (default: {default})",
    )


def data_folder(options: argparse.Namespace) -> Path:
    """Return --data, or its default for CHECKPOINT; see `add_data_option`."""
    from model.training.run_folder import run_data  # imports PyTorch, which takes seconds

    data: Path | None = options.data or run_data(options.checkpoint)
    return data or default_data_folder()


def image_file(text: str) -> Path:
    """Return the path of an image to write (an argparse type)."""
    if not text.endswith(_IMAGE_SUFFIXES):
        raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(_IMAGE_SUFFIXES)}")
    return Path(text)


def make_parent_folder(path: Path) -> None:
    """Create the folder of an output file, before the work that fills it.

    Raises:
        OutputError: The folder cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {path.parent} cannot be created: {error.strerror}."
        ) from error
