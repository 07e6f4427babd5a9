"""Shared command line of the scripts."""

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
    ImageSizeError,
    OutputError,
    add_calibration_option,
    command,
    image_file,
    make_parent_folder,
    whole_number,
    with_eval_size,
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


def test_ctrl_c_is_exit_code_130_without_output(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def main() -> int:
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr() == ("", "")


def test_an_unexpected_exception_is_not_hidden() -> None:
    @command
    def main() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.slow
def test_a_closed_pipe_ends_the_script_without_output() -> None:
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


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "", "²", "٣", "1000001", "9" * 5000])
def test_numbers_that_are_not_whole_or_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        whole_number(1)(text)


def test_a_whole_number_is_accepted() -> None:
    assert whole_number(0)("0") == 0
    assert whole_number(1)("12") == 12


def test_calibration_folders_have_different_names(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_calibration_option(parser, "photos")
    folders = parser.parse_args(["--calibration-data", "valid", "mine/train"]).calibration_data
    assert folders == [Path("valid"), Path("mine/train")]
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--calibration-data", "valid", "mine/valid"])
    assert stop.value.code == 2
    assert "'valid'" in capsys.readouterr().err


def test_an_image_ends_in_png_svg_or_pdf() -> None:
    assert image_file("a.png") == Path("a.png")
    with pytest.raises(argparse.ArgumentTypeError):
        image_file("a.txt")


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    make_parent_folder(tmp_path / "new" / "folder" / "file")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        make_parent_folder(tmp_path / "file" / "report.json")


def test_a_network_with_a_fixed_input_size_refuses_any_other(tiny_checkpoint: Path) -> None:
    metadata = read_metadata(tiny_checkpoint)
    side = metadata.transform.crop

    def run(batch: Array) -> Outputs:
        if batch.shape[2:] != (side, side):
            raise RuntimeError("unexpected size")
        return Outputs(np.zeros((len(batch), len(metadata.classes)), dtype=np.float32), None)

    classifier = Classifier(cast(Backend, SimpleNamespace(run=run)), metadata)
    options = argparse.Namespace(eval_resize=side, eval_crop=side)
    transform = with_eval_size(classifier, options).metadata.transform
    assert (transform.resize, transform.crop) == (side, side)
    options.eval_crop = side - 1
    with pytest.raises(ImageSizeError, match="--eval-crop"):
        with_eval_size(classifier, options)


def test_an_image_size_above_the_limit_is_refused(tiny_checkpoint: Path) -> None:
    options = argparse.Namespace(eval_resize=100_000, eval_crop=None)
    with pytest.raises(ImageSizeError, match="--eval-resize"):
        with_eval_size(Classifier.load(tiny_checkpoint, "cpu"), options)
