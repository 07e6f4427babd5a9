"""From a request's body to a checked RGB image, in memory all the way.

    multipart field `image` ┐
                            ├-> read_photos -> bytes -> decode_photo -> an upright RGB image
    the image as the body   ┘

The statuses: 400 no photo, an empty one, or one that is damaged; 413 more bytes, form parts or
pixels than the limits; 415 neither a form nor an image, or a format we do not take; 422 a photo
that is whole but too small; 429 a large one while others are decoded. What a client says about a
file, its name and type, is never trusted; the name is not even looked at.
"""

from __future__ import annotations

import contextlib
import io
import math
import socket
import struct
import time
from typing import IO, TYPE_CHECKING, Any, Final

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from PIL import Image
from werkzeug.exceptions import RequestEntityTooLarge

from app.decoding_room import DecodingRoom, RoomFullError
from app.problems import Code, Problem, quoted
from model.images import (
    CorruptImageError,
    ImageError,
    ImageLimits,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
    decode_image,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FIELD: Final = "image"
# Fields of text are of no use to us. Werkzeug holds the buffer of its parser to this limit too,
# and fills it 64 KiB at a time on top of what the last piece left over: with 64 KiB it refuses
# some photos and takes others.
MAX_TEXT_FIELD_BYTES: Final = 128 * 1024

_MIB: Final = 1024 * 1024
_HOW_TO_SEND: Final = (
    f"Send the photo as a file in the field '{FIELD}' of a multipart/form-data form, or as the "
    "body with its own Content-Type, such as image/jpeg."
)
_NAMES_SHOWN: Final = 5
# Half of the time that a photo has by default; decoding the largest takes some seconds more.
_ROOM: Final = DecodingRoom(patience=5)
_IMAGE_CODES: Final[tuple[tuple[type[ImageError], Code], ...]] = (
    (CorruptImageError, Code.DAMAGED_PHOTO),
    (ImageTooLargeError, Code.TOO_MANY_PIXELS),
    (UnsupportedImageError, Code.UNSUPPORTED_FORMAT),
    (ImageTooSmallError, Code.TOO_SMALL),
)


class _Body(io.RawIOBase):
    """A body as gunicorn gives it, in the form that Python's buffers take."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Servers whose bodies do not end by themselves would wait for the whole buffer's worth.
        read = getattr(self._body, "read1", self._body.read)
        data = read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class UploadRequest(Request):
    """A request whose files stay in memory: the disk may be read-only, and photos are private."""

    def __init__(self, environ: WSGIEnvironment, *args: Any, **options: Any) -> None:
        # Werkzeug takes 64 KiB at a time, and each time gunicorn copies all that it has read ahead.
        body = _Body(environ["wsgi.input"])
        environ["wsgi.input"] = io.BufferedReader(body, _MIB)
        super().__init__(environ, *args, **options)

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


def read_photos(request: Request, max_body_bytes: int, most: int = 1) -> list[bytes]:
    """Return the bytes of the photos that a request carries, one at least.

    Args:
        request: Its `max_content_length` must be `max_body_bytes` + 1: Werkzeug stops reading a
            body without a Content-Length there, and by the one byte more we can tell a body that
            is too large from one that is just within the limit.
        max_body_bytes: Largest body allowed.
        most: Number of photos that a form may have.

    Raises:
        Problem: 400, 413 or 415.
    """
    announced = request.content_length
    if announced is not None and announced > max_body_bytes:
        raise _too_large(f"{announced:,}", max_body_bytes)
    kind = request.mimetype
    try:
        if kind == "multipart/form-data":
            return _photos_of_form(request, max_body_bytes, most)
        if kind.startswith("image/") or kind == "application/octet-stream":
            return [_photo_of_body(request, max_body_bytes)]
    except ParseException as error:
        raise Problem(Code.BAD_REQUEST, "The body is not encoded as its headers say.") from error
    if not kind and not announced and not request.headers.get("Transfer-Encoding"):
        raise Problem(Code.NO_PHOTO, f"The request carries no photo. {_HOW_TO_SEND}")
    got = f"of type {quoted(kind)}" if kind else "of no type"
    raise Problem(Code.UNSUPPORTED_TYPE, f"The body is {got}, which is not taken. {_HOW_TO_SEND}")


def decode_photo(data: bytes, limits: ImageLimits, target_side: int) -> Image.Image:
    """Decode a photo to an upright RGB image; see `model.images.decode_image`.

    Raises:
        Problem: 400, 413, 415 or 422; 429 where other large photos are being decoded.
    """
    try:
        return decode_image(
            data,
            limits=limits,
            target_side=target_side,
            hold=lambda pixels: _ROOM.hold(pixels, limits.max_pixels),
        )
    except RoomFullError as error:
        raise Problem(
            Code.DECODING_FULL,
            "Other large photos are being decoded; try again in a moment, or send a smaller one.",
            {"Retry-After": "1"},
        ) from error
    except ImageError as error:
        code = next(code for kind, code in _IMAGE_CODES if isinstance(error, kind))
        raise Problem(code, str(error)) from error


def bytes_read(request: Request) -> int:
    """Return how many bytes of the body were read, or are announced where none was."""
    stream = request.__dict__.get("stream")
    return int(stream.tell()) if stream is not None else request.content_length or 0


def discard_rest(request: Request, seconds: float) -> None:
    """Read on for a moment, so that a client that sends all before it listens gets its answer.

    Without it, gunicorn closes the connection on the bytes it did not read, which resets it, and
    the client sees a broken pipe in place of a refusal.

    Args:
        request: One that is refused, its body read in full, in part or not at all.
        seconds: How long a slow client may hold this thread.
    """
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return
    deadline = time.monotonic() + seconds
    # Whatever reading raises here, the answer stands, and gunicorn closes what cannot go on.
    with contextlib.suppress(Exception):
        while (left := deadline - time.monotonic()) > 0:
            _wait_at_most(left, connection)
            if not request.input_stream.read(_MIB):
                break
    with contextlib.suppress(OSError):
        _wait_at_most(0, connection)


def _wait_at_most(seconds: float, connection: socket.socket) -> None:
    """Have the kernel end a wait for bytes; 0 lets it last.

    `settimeout` would give up Python's lock three times more for each refusal, and under load wait
    for it as often.
    """
    whole, rest = divmod(math.ceil(seconds * 1_000_000), 1_000_000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, rest))


def _photo_of_body(request: Request, max_body_bytes: int) -> bytes:
    data = request.get_data(cache=False)
    if len(data) > max_body_bytes:
        raise _too_large(f"more than {max_body_bytes:,}", max_body_bytes)
    if not data:
        raise Problem(Code.EMPTY_PHOTO, f"The body is empty. {_HOW_TO_SEND}")
    if len(data) < (request.content_length or 0):
        # gunicorn does not tell; many a photo that lacks its end would still be decoded.
        raise Problem(
            Code.INCOMPLETE_BODY,
            f"The body ended after {len(data):,} of the {request.content_length:,} bytes that its "
            "Content-Length says; send it again.",
        )
    return data


def _photos_of_form(request: Request, max_body_bytes: int, most: int) -> list[bytes]:
    try:
        files, texts = request.files.getlist(FIELD), request.form.getlist(FIELD)
    except RequestEntityTooLarge as error:
        if request.stream.tell() > max_body_bytes:
            raise _too_large(f"more than {max_body_bytes:,}", max_body_bytes) from error
        raise Problem(
            Code.TOO_MANY_PARTS,
            f"A form may have {request.max_form_parts} parts, and a field of text "
            f"{MAX_TEXT_FIELD_BYTES:,} bytes; this one has more. {_HOW_TO_SEND}",
        ) from error
    if not files and not texts:
        raise Problem(Code.NO_PHOTO, f"{_other_fields(request)} {_HOW_TO_SEND}")
    if len(files) + len(texts) > most:
        allowed = "one photo" if most == 1 else f"up to {most} photos"
        raise Problem(
            Code.TOO_MANY_PHOTOS,
            f"The form has {len(files) + len(texts)} fields named '{FIELD}'; send {allowed}.",
        )
    if texts:
        raise Problem(
            Code.NO_PHOTO,
            f"The field '{FIELD}' holds text and not a file. With curl, mind the @: "
            f"-F {FIELD}=@photo.jpg",
        )
    photos: list[bytes] = [file.read() for file in files]
    if not all(photos):
        raise Problem(Code.EMPTY_PHOTO, "The file is empty: choose a photo.")
    return photos


def _other_fields(request: Request) -> str:
    # Werkzeug gives no fields for a form that it cannot parse.
    names = list(dict.fromkeys(str(name or "") for name in (*request.files, *request.form)))
    if not names:
        return "The form has no fields, or it is cut short or malformed."
    shown = ", ".join(quoted(name) for name in names[:_NAMES_SHOWN])
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"The form has no field named '{FIELD}'; it has {shown}{more}."


def _too_large(got: str, limit: int) -> Problem:
    return Problem(
        Code.TOO_LARGE,
        f"The body has {got} bytes; the limit is {limit:,} bytes ({limit // _MIB} MiB).",
    )
