"""What every script's command line shares: types of options, exit codes, one line for an error."""

from __future__ import annotations

import argparse
import functools
import io
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, ParamSpec

import numpy as np

from model.classifier import Classifier
from model.data.data_folder import DATA_VARIABLE, default_data_folder
from model.errors import PetalscopeError

FAILED: Final = 1
INTERRUPTED: Final = 128 + 2  # as a shell reports a program ended by SIGINT (Ctrl-C)
_PICTURE_SUFFIXES: Final = (".png", ".svg", ".pdf")

_Arguments = ParamSpec("_Arguments")


class ViewError(PetalscopeError):
    """Photos cannot be shown to the network as was asked."""


class OutputError(PetalscopeError):
    """Results cannot be written where they were asked for."""


def command(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Decorate a script's `main(argv) -> exit code`.

    A `PetalscopeError` becomes one line on stderr and exit code 1. Ctrl-C gives 130, and a reader
    that closed the pipe (`| head`) gives 0, both without a word. All else goes through.
    """

    @functools.wraps(main)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A file's name may hold any bytes; this gives them back as they are.
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        try:
            code = main(*args, **kwargs)
            # Here, not at the interpreter's end: a closed pipe is noticed when text is flushed.
            sys.stdout.flush()
        except PetalscopeError as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            # The interpreter flushes once more at its end; give it somewhere to flush to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return code

    return wrapped


def whole_number(least: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number from `least` up."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
        return int(text)

    return parse


def add_model_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add the options that say where a checkpoint runs, and on how many photos at once."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=batch_size,
        metavar="N",
        help="photos that go through the network at once (default: %(default)s)",
    )


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much of a photo the network sees, and how large."""
    for option, meaning in (
        ("--resize", "length of a photo's shorter side before its middle is taken"),
        ("--crop", "side of the middle, which the network sees"),
    ):
        parser.add_argument(
            option,
            type=whole_number(1),
            metavar="PIXELS",
            help=f"{meaning} (default: as the checkpoint says)",
        )


def seen_by(classifier: Classifier, options: argparse.Namespace) -> Classifier:
    """Return the classifier with the view that `add_view_options` read.

    Raises:
        ViewError: There is no such view, or the network takes no other.
    """
    transform = classifier.metadata.transform
    resize, crop = options.resize or transform.resize, options.crop or transform.crop
    if crop > resize:
        raise ViewError(
            f"--crop is {crop}; the photo it is taken from has but {resize} (--resize)."
        )
    if crop != transform.crop:
        try:
            classifier.logits(np.zeros((1, 3, crop, crop), dtype=np.float32))
        except Exception as error:  # each library has its own
            raise ViewError(
                f"The network takes no photos of {crop} pixels (--crop), only of "
                f"{transform.crop}. An .onnx file is for one size: give the .safetensors file "
                "that it was made of."
            ) from error
    view = replace(transform, resize=resize, crop=crop)
    metadata = replace(classifier.metadata, transform=view)
    return Classifier(classifier.network, metadata, classifier.version)


def add_data_option(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add the option that says where the data set lies, --data DIR."""
    parser.add_argument(
        "--data",
        type=Path,
        default=default_data_folder(),
        metavar="DIR",
        help=f"{meaning} (default: ${DATA_VARIABLE}, or data/oxford102)",
    )


def picture_file(text: str) -> Path:
    """Be an argparse type: the path of a picture to write."""
    if not text.endswith(_PICTURE_SUFFIXES):
        raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(_PICTURE_SUFFIXES)}")
    return Path(text)


def make_folder_of(path: Path) -> None:
    """Make the folder of a file that is to be written; better before the work than after it.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made a folder: {error.strerror}.") from error
