"""Downloads of single files."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.data import download as download_module
from model.data.download import DownloadError, check_space, fetch
from tests.file_server import FileServer, running_file_server

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_file_server() as server:
        server.files["/flower_data.zip"] = CONTENT
        yield server


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_file_is_downloaded_byte_for_byte(
    server: FileServer, tmp_path: Path, sends_length: bool
) -> None:
    server.sends_length = sends_length
    known_hash = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    fetch(server.url(), tmp_path / "flowers.zip", known_hash)
    assert (tmp_path / "flowers.zip").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["flowers.zip"]


def refused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "url",
    [
        "flower_data.zip",
        "ftp://127.0.0.1/flower_data.zip",
        "file:///etc/passwd",
        "http://",
        "http://[::1/flower_data.zip",
        "http://127.0.0.1:99999/flower_data.zip",
    ],
)
def test_an_invalid_address_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch(url, tmp_path / "flowers.zip")
    assert url in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_connection_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DownloadError) as caught:
        fetch(f"http://127.0.0.1:{refused_port()}/flower_data.zip", tmp_path / "flowers.zip")
    assert "\n" not in str(caught.value)
    assert "object at" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_reported_with_its_status(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        fetch(server.url("/other.zip"), tmp_path / "flowers.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_dropped_connection_fails_and_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    server.cut_after = 5000
    with pytest.raises(DownloadError):
        fetch(server.url(), tmp_path / "flowers.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_hash_fails_and_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="md5:0000"):
        fetch(server.url(), tmp_path / "flowers.zip", f"md5:{'0' * 32}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_file_over_the_limit_fails_and_leaves_nothing(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sends_length: bool
) -> None:
    monkeypatch.setattr(download_module, "MAX_DOWNLOAD_BYTES", len(CONTENT) - 1)
    server.sends_length = sends_length
    with pytest.raises(DownloadError):
        fetch(server.url(), tmp_path / "flowers.zip")
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_space_fails(tmp_path: Path) -> None:
    check_space(tmp_path, 0)
    with pytest.raises(DownloadError, match=re.escape(str(tmp_path))):
        check_space(tmp_path, 10**18)
