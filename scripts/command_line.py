"""What every script's command line shares: types of options, exit codes, one line for an error."""

from __future__ import annotations

import argparse
import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec

from model.data_folder import DATA_VARIABLE, default_data_folder
from model.errors import PetalscopeError

FAILED: Final = 1
INTERRUPTED: Final = 128 + 2  # as a shell reports a program ended by SIGINT (Ctrl-C)
_PICTURE_SUFFIXES: Final = (".png", ".svg", ".pdf")

_Arguments = ParamSpec("_Arguments")


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
