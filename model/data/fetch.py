"""A file from the web that survives dropped connections, kills and changes at its source.

    url -> GET (Range and If-Range when a part is there) -> PATH.part
        -> size as announced, checksum as given -> PATH

`PATH.origin.json` says which version of which address the part belongs to, so that the end of a
new file is never joined to the beginning of an old one.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from model.atomic_write import atomic_write
from model.errors import PetalscopeError

Report = Callable[[str], None]

# The waits, in seconds, between attempts that bring nothing new. An attempt that gets further than
# any before starts the row again, so that a poor line ends with the whole file.
PAUSES_S: tuple[float, ...] = (1, 2, 4, 8)
_TIMEOUT_S: Final = 30
_CHUNK_BYTES: Final = 64 * 1024
_PASSING_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504})


class DownloadError(PetalscopeError):
    """The file cannot be had: wrong address, no connection, no space, or other bytes than meant."""


class _LostConnectionError(Exception):
    """An attempt that is worth repeating."""


class _StalePartError(_LostConnectionError):
    """An attempt that is worth repeating from the start: the part is of an older version."""


@dataclass(frozen=True)
class Checksum:
    """What the whole file must hash to: a name that hashlib knows, and lowercase hex digits."""

    algorithm: str
    digest: str


@dataclass(frozen=True)
class _Origin:
    """The version that a part belongs to. `size` is in bytes, None where the server gave none."""

    url: str
    etag: str | None
    last_modified: str | None
    size: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range may carry: a weak ETag promises no equal bytes, so it is no use there."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


def fetch(url: str, path: Path, *, report: Report, checksum: Checksum | None = None) -> None:
    """Bring what is at `url` to `path`, going on with a part that an earlier run left.

    A file that an earlier run brought whole from the same address is kept as it is.

    Args:
        url: An address beginning with http:// or https://.
        path: Where the whole file stands at the end; its folder exists.
        report: Called with a line of text when something begins, or is tried again.
        checksum: Compared with the whole file; a file that differs is removed.

    Raises:
        DownloadError: The file cannot be had, or is not the one meant.
        OSError: The disk is full or cannot be written; the part stays.
    """
    if not re.match(r"https?://[^/\s]", url):
        raise DownloadError(f"{url!r} is no address: it must begin with http:// or https://.")
    part, origin_file = _beside(path, ".part"), _beside(path, ".origin.json")
    origin = _read_origin(origin_file)
    if not (path.exists() and origin and origin.url == url):
        _receive_all(url, part, origin_file, report)
        part.replace(path)
    if checksum:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, checksum.algorithm).hexdigest()
        if digest != checksum.digest:
            path.unlink()
            raise DownloadError(
                f"What came from {url} has the {checksum.algorithm} {digest} instead of "
                f"{checksum.digest}, and was removed: it is damaged, or not the file meant."
            )


def check_space(folder: Path, needed: int) -> None:
    """Raise DownloadError when the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{needed / 1e6:,.1f} MB are needed in {folder}, and {free / 1e6:,.1f} MB are free: "
            "make room, or choose a folder on another disk."
        )


def _receive_all(url: str, part: Path, origin_file: Path, report: Report) -> None:
    furthest = _length(part)
    failures = 0
    while True:
        try:
            return _receive(url, part, origin_file, report)
        except _LostConnectionError as lost:
            if isinstance(lost, _StalePartError):
                part.unlink(missing_ok=True)
            if _length(part) > furthest:
                furthest, failures = _length(part), 0
            if failures == len(PAUSES_S):
                raise DownloadError(
                    f"{url} cannot be downloaded now: {lost}. What has arrived is kept; "
                    "run the same command again to go on."
                ) from lost
            report(f"Trying again in {PAUSES_S[failures]:g} s: {lost}.")
            time.sleep(PAUSES_S[failures])
            failures += 1


def _receive(url: str, part: Path, origin_file: Path, report: Report) -> None:
    """Make one attempt: return when `part` is whole, else raise."""
    have = _length(part)
    origin = _read_origin(origin_file) if have else None
    if origin and origin.url != url:
        origin = None
    if origin and origin.size == have:
        return  # Stopped between the last byte and the new name.
    headers = {"User-Agent": "petalscope"}
    if origin and origin.validator and (origin.size is None or have < origin.size):
        headers |= {"Range": f"bytes={have}-", "If-Range": origin.validator}
    else:
        origin = None
    with _open(url, headers) as response:
        if origin and response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not _continues(response, origin, have):
                raise _StalePartError("the file on the server has changed meanwhile")
        elif response.status == http.HTTPStatus.OK:
            if origin:
                report("The server sends the file from the start: it changed, or cannot resume.")
            origin, have = _begin(url, response, part, origin_file), 0
        else:
            raise DownloadError(f"{url} answers with status {response.status} and no file.")
        _write_body(response, part, origin, have, report)


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (http or https: `fetch`)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(  # noqa: S310
            request, timeout=_TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _StalePartError("the server has a shorter file now") from error
        if error.code in _PASSING_STATUS:
            raise _LostConnectionError(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(
            f"{url} answers {error.code} {error.reason} instead of the file: check the address."
        ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{url} shows a certificate that cannot be trusted: {error.reason.verify_message}."
            ) from error
        raise _LostConnectionError(_describe(error.reason)) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url!r} is no address that can be asked: {error}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise _LostConnectionError(_describe(error)) from error
    return response


def _continues(response: http.client.HTTPResponse, origin: _Origin, have: int) -> bool:
    """Whether a 206 goes on where the part ends; some servers ignore If-Range."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        return False
    if origin.size is not None and match[2] not in ("*", str(origin.size)):
        return False
    # A 206 may leave out Last-Modified, and must not leave out an ETag that a 200 would carry.
    etag = response.headers.get("ETag")
    modified = response.headers.get("Last-Modified", origin.last_modified)
    return etag == origin.etag and modified == origin.last_modified


def _begin(url: str, response: http.client.HTTPResponse, part: Path, origin_file: Path) -> _Origin:
    """Empty the part, and only then say what it is a part of."""
    part.write_bytes(b"")
    headers = response.headers
    origin = _Origin(url, headers.get("ETag"), headers.get("Last-Modified"), response.length)
    with atomic_write(origin_file) as temporary:
        temporary.write_text(json.dumps(asdict(origin)), encoding="utf-8")
    return origin


def _write_body(
    response: http.client.HTTPResponse, part: Path, origin: _Origin, have: int, report: Report
) -> None:
    if origin.size is not None:
        # JPEGs hardly compress: what is unpacked takes as much again as the archive.
        check_space(part.parent, 2 * origin.size - have)
    rest = "" if origin.size is None else f", {(origin.size - have) / 1e6:,.1f} MB"
    report(f"{'Going on with' if have else 'Downloading'} {origin.url}{rest}")
    with (
        part.open("ab") as file,
        tqdm(total=origin.size, initial=have, unit="B", unit_scale=True, disable=None) as bar,
    ):
        while chunk := _read(response):
            file.write(chunk)
            bar.update(len(chunk))
    if origin.size is not None and _length(part) != origin.size:
        raise _LostConnectionError(
            f"the connection ended after {_length(part):,} of {origin.size:,} bytes"
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _LostConnectionError(_describe(error)) from error


def _describe(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer within {_TIMEOUT_S} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def _read_origin(path: Path) -> _Origin | None:
    try:
        return _Origin(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
