"""How scripts end."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from model.backends.base import Array, Backend, Outputs
from model.checkpoint.format import read_metadata
from model.classifier import Classifier
from model.errors import PetalscopeError
from scripts.command_line import (
    OutputError,
    ViewError,
    command,
    make_folder_of,
    picture_file,
    seen_by,
    whole_number,
)
from tests.conftest import ROOT


def test_an_error_for_the_user_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @command
    def main() -> int:
        raise PetalscopeError("There is no rose here.")

    assert main() == 1
    assert capsys.readouterr() == ("", "error: There is no rose here.\n")


def test_ctrl_c_is_exit_code_130_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def main() -> int:
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr() == ("", "")


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    @command
    def main() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_a_reader_that_stops_reading_ends_the_script_quietly() -> None:
    program = (
        "from scripts.command_line import command\n"
        "@command\n"
        "def main():\n"
        "    for number in range(100000): print('a line of some length', number)\n"
        "    return 3\n"
        "raise SystemExit(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "", "²", "٣"])
def test_what_is_no_whole_number_from_1_up_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="whole number from 1 up"):
        whole_number(1)(text)


def test_a_whole_number_is_taken() -> None:
    assert whole_number(0)("0") == 0
    assert whole_number(1)("12") == 12


def test_a_picture_ends_in_png_svg_or_pdf() -> None:
    assert picture_file("a.png") == Path("a.png")
    with pytest.raises(argparse.ArgumentTypeError, match=r"\.png, \.svg, \.pdf"):
        picture_file("a.txt")


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path) -> None:
    make_folder_of(tmp_path / "new" / "folder" / "file")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made a folder"):
        make_folder_of(tmp_path / "file" / "report.json")


def test_a_network_of_one_size_is_not_shown_another(tiny_checkpoint: Path) -> None:
    metadata = read_metadata(tiny_checkpoint)
    side = metadata.transform.crop

    def run(batch: Array) -> Outputs:
        if batch.shape[2:] != (side, side):
            raise RuntimeError("as some library says it")
        return Outputs(np.zeros((len(batch), len(metadata.classes)), dtype=np.float32), None)

    classifier = Classifier(cast(Backend, SimpleNamespace(run=run)), metadata)
    view = argparse.Namespace(resize=side, crop=side)
    transform = seen_by(classifier, view).metadata.transform
    assert (transform.resize, transform.crop) == (side, side)
    view.crop = side - 1
    with pytest.raises(ViewError, match=f"no photos of {side - 1} pixels"):
        seen_by(classifier, view)
