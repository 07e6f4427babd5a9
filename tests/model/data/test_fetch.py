from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.data import fetch as fetch_module
from model.data.fetch import Checksum, DownloadError, fetch
from tests.file_server import FileServer, running_file_server

CONTENT = random.Random(1).randbytes(600_000)
CUT = 200_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch_module, "PAUSES_S", (0.0, 0.0))
    with running_file_server() as server:
        server.files["/flower_data.zip"] = CONTENT
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flower_data.zip"


def get(server: FileServer, path: Path, checksum: Checksum | None = None) -> list[str]:
    said: list[str] = []
    fetch(server.url(), path, report=said.append, checksum=checksum)
    return said


def stop_halfway(server: FileServer, path: Path) -> int:
    """Leave a part as a lost connection does; return its length in bytes."""
    server.cuts = [CUT]
    server.failures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch_module, "PAUSES_S", ())
        with pytest.raises(DownloadError, match="run the same command again"):
            get(server, path)
    assert not path.exists()
    server.asked.clear()
    return path.with_name("flower_data.zip.part").stat().st_size


def test_a_file_arrives_whole(server: FileServer, path: Path) -> None:
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_dropped_connection_is_resumed_where_it_broke(server: FileServer, path: Path) -> None:
    server.cuts = [CUT, 100_000]
    said = get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=200000-", "bytes=300000-"]
    assert "the connection ended after 200,000 of 600,000 bytes" in " ".join(said)


def test_a_later_run_goes_on_with_the_part_of_an_earlier_one(
    server: FileServer, path: Path
) -> None:
    assert stop_halfway(server, path) == CUT
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={CUT}-"]


def test_last_modified_serves_to_resume_where_there_is_no_etag(
    server: FileServer, path: Path
) -> None:
    server.etag, server.last_modified = None, "Tue, 01 Jan 2019 00:00:00 GMT"
    stop_halfway(server, path)
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={CUT}-"]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_part_that_cannot_be_validated_is_fetched_anew(
    server: FileServer, path: Path, etag: str | None
) -> None:
    server.etag = etag
    stop_halfway(server, path)
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize("by_date", [True, False])
def test_a_changed_file_is_never_joined_to_an_old_part(
    server: FileServer, path: Path, heeds_if_range: bool, by_date: bool
) -> None:
    if by_date:
        server.etag, server.last_modified = None, "Tue, 01 Jan 2019 00:00:00 GMT"
    stop_halfway(server, path)
    changed = bytes(reversed(CONTENT))
    server.files["/flower_data.zip"] = changed
    if by_date:
        server.last_modified = "Wed, 01 Jan 2020 00:00:00 GMT"
    else:
        server.etag = '"two"'
    server.heeds_if_range = heeds_if_range
    said = get(server, path)
    assert path.read_bytes() == changed
    assert "changed" in " ".join(said)


def test_a_file_that_has_become_shorter_than_the_part_is_fetched_anew(
    server: FileServer, path: Path
) -> None:
    stop_halfway(server, path)
    server.files["/flower_data.zip"] = CONTENT[:1000]
    get(server, path)
    assert path.read_bytes() == CONTENT[:1000]


def test_a_part_of_another_address_is_not_used(server: FileServer, path: Path) -> None:
    stop_halfway(server, path)
    server.files["/mirror.zip"] = bytes(reversed(CONTENT))
    fetch(server.url("/mirror.zip"), path, report=lambda text: None)
    assert path.read_bytes() == bytes(reversed(CONTENT))
    assert server.asked == [None]


def test_a_server_without_range_gives_the_file_from_the_start(
    server: FileServer, path: Path
) -> None:
    server.ranges = False
    server.cuts = [CUT]
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_always_drops_the_connection_is_given_up(
    server: FileServer, path: Path
) -> None:
    server.ranges = False
    server.cuts = [CUT] * 100
    with pytest.raises(DownloadError, match="cannot be downloaded now"):
        get(server, path)
    assert len(server.asked) == 3  # the first brings something new, the two after it do not


def test_a_file_of_unannounced_length_arrives(server: FileServer, path: Path) -> None:
    server.announces_length = False
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_a_file_that_is_whole_already_is_not_asked_for(server: FileServer, path: Path) -> None:
    get(server, path)
    get(server, path)
    assert len(server.asked) == 1


def test_a_part_that_is_whole_but_not_renamed_is_not_asked_for(
    server: FileServer, path: Path
) -> None:
    get(server, path)
    path.rename(path.with_name("flower_data.zip.part"))
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: FileServer, path: Path, status: int) -> None:
    server.failures = [status]
    said = get(server, path)
    assert path.read_bytes() == CONTENT
    assert f"the server answers {status}" in said[0]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_wrong_address_is_told_at_once(server: FileServer, path: Path, status: int) -> None:
    server.failures = [status]
    with pytest.raises(DownloadError, match=f"answers {status} .*check the address"):
        get(server, path)
    assert len(server.asked) == 1


def test_no_server_at_all_is_told(server: FileServer, path: Path) -> None:
    with running_file_server() as gone:
        url = gone.url()
    with pytest.raises(DownloadError, match="Connection refused"):
        fetch(url, path, report=lambda text: None)


def test_a_server_that_falls_silent_is_left(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(fetch_module, "PAUSES_S", ())
    server.pause_after = CUT
    with pytest.raises(DownloadError, match="no answer within"):
        get(server, path)
    assert path.with_name("flower_data.zip.part").stat().st_size > 0


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x.zip", "flower_data.zip", "http://", "http://h:x y/a.zip"],
)
def test_what_is_no_web_address_is_refused(path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="no address"):
        fetch(url, path, report=lambda text: None)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_right_checksum_passes(server: FileServer, path: Path, algorithm: str) -> None:
    get(server, path, Checksum(algorithm, hashlib.new(algorithm, CONTENT).hexdigest()))
    assert path.read_bytes() == CONTENT


def test_a_file_with_a_wrong_checksum_is_told_and_removed(server: FileServer, path: Path) -> None:
    with pytest.raises(DownloadError, match=r"sha256 .* instead of 0000"):
        get(server, path, Checksum("sha256", "0" * 64))
    assert not path.exists()
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_a_disk_that_is_too_small_is_told_before_anything_arrives(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_000_000

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(DownloadError, match=r"1\.2 MB are needed .* 1\.0 MB are free"):
        get(server, path)
    assert path.with_name("flower_data.zip.part").stat().st_size == 0


def test_no_progress_bar_is_drawn_where_there_is_no_terminal(
    server: FileServer, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    get(server, path)
    assert capfd.readouterr() == ("", "")
