"""Command line of `download_data.py`."""

from __future__ import annotations

import functools
import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.data.oxford_flowers import COURSE_URL, from_course, from_oxford
from scripts import download_data as script
from tests.conftest import ROOT, flower_image
from tests.file_server import FileServer, running_file_server
from tests.model.imaging.test_decode import encode

PHOTO = encode(flower_image((150, 100)), "PNG")  # 10 kB or more, so that a download takes time


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_file_server() as server:
        server.files["/flower_data.zip"] = whole_zip()
        yield server


@functools.cache
def whole_zip() -> bytes:
    """Return a zip of all 102 classes, with one photo each."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for split in ("train", "valid"):
            for number in range(1, 103):
                archive.writestr(f"flower_data/{split}/{number}/a.jpg", PHOTO)
    return file.getvalue()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "scripts.download_data", *arguments]


@pytest.mark.slow
def test_the_data_set_is_downloaded_with_exit_code_0(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "flowers"
    assert script.main(["--data", str(data), "--url", server.url()]) == 0
    assert (data / "train/102/a.jpg").read_bytes() == PHOTO
    shown = capsys.readouterr()
    assert str(data) in shown.out
    assert shown.err == ""
    requests = len(server.requests)
    assert script.main(["--data", str(data), "--url", server.url()]) == 0
    assert len(server.requests) == requests


def test_an_error_is_one_line_on_stderr_and_exit_code_1(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = script.main(["--data", str(tmp_path / "flowers"), "--url", server.url("/nothing.zip")])
    assert code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "404" in error
    assert not (tmp_path / "flowers").exists()


@pytest.mark.parametrize(
    ("environment", "folder"), [("/mnt/flowers", "/mnt/flowers"), ("", "data/oxford102")]
)
def test_the_default_folder_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: str, folder: str
) -> None:
    monkeypatch.setenv("PETALSCOPE_DATA", environment)
    folders: list[Path] = []
    monkeypatch.setattr(script, "download_data", lambda data, source, report: folders.append(data))
    assert script.main([]) == 0
    assert folders == [Path(folder)]


def test_the_course_is_the_default_source(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[object] = []
    monkeypatch.setattr(
        script, "download_data", lambda data, source, report: sources.append(source)
    )
    script.main([])
    script.main(["--url", "https://mirror.example/f.zip", "--sha256", "AB" * 32])
    script.main(["--source", "oxford"])
    course, mirror, oxford = sources
    assert isinstance(course, functools.partial)
    assert course.func is from_course
    assert course.keywords == {"url": COURSE_URL, "sha256": None}
    assert isinstance(mirror, functools.partial)
    assert mirror.keywords == {"url": "https://mirror.example/f.zip", "sha256": "ab" * 32}
    assert oxford is from_oxford


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--sha256", "abc"], "--sha256"),
        (["--source", "oxford", "--url", "https://mirror.example/f.zip"], "--source course"),
        (["--source", "kaggle"], "--source"),
    ],
)
def test_wrong_arguments_are_exit_code_2(
    arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        script.main(arguments)
    assert caught.value.code == 2
    assert fragment in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    data = tmp_path / "flowers"
    server.pause_after = 300_000
    process = subprocess.Popen(
        command("--data", str(data), "--url", server.url()),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not server.requests:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_terminal_shows_a_progress_bar(server: FileServer, tmp_path: Path) -> None:
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    arguments = command("--data", str(tmp_path / "flowers"), "--url", server.url())
    subprocess.run(
        arguments, cwd=ROOT, check=True, stderr=terminal, stdout=subprocess.DEVNULL, timeout=60
    )
    os.close(terminal)
    assert b"100%" in os.read(reader, 100_000)
    os.close(reader)
