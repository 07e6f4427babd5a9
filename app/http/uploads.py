"""Photos in a request: the `image` fields of a form or of JSON, or the body itself.

A file's name and Content-Type come from the client and are never trusted. The name is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from app.http.json_body import JSON
from app.http.problems import Code, Problem, quoted
from app.http.text_photos import is_text, text_problem

MULTIPART: Final = "multipart/form-data"
PHOTO_FIELD: Final = "image"
# Also caps the buffer of the form parser, which reads 64 KiB on top of the remainder. A limit of
# 64 KiB would refuse some photos.
MAX_TEXT_FIELD_BYTES: Final = 128 * 1024

_MIB: Final = 1024 * 1024
HOW_TO_SEND: Final = (
    f"Send the photo as a file in the field '{PHOTO_FIELD}' of a {MULTIPART} form, as the body "
    f'with its own Content-Type, such as image/jpeg, or as JSON: {{"{PHOTO_FIELD}": "BASE64"}}.'
)
_MAX_NAMES_SHOWN: Final = 5


def read_photos(
    request: Request, max_body_bytes: int, max_photos: Callable[[], int]
) -> list[bytes]:
    """Return the bytes of the photos in a request.

    Args:
        request: Request whose `max_content_length` is `max_body_bytes` + 1. Werkzeug stops reading
            a body without Content-Length there; the extra byte shows that the body is too large.
        max_body_bytes: Maximum body size in bytes.
        max_photos: Returns the maximum number of photos in a form; called after the form is parsed,
            because a form field can set it.

    Returns:
        One to `max_photos()` photos, none of them empty.

    Raises:
        Problem: 400, 413, 415 or 422.
    """
    return _read_photos(request, max_body_bytes, max_photos, form_only=False)


def read_optional_photo(request: Request, max_body_bytes: int) -> bytes | None:
    """Return the photo of a form, or None if the form has none; see `read_photos`.

    Raises:
        Problem: 400, 413, 415 or 422.
    """
    photos = _read_photos(request, max_body_bytes, lambda: 1, form_only=True)
    return photos[0] if photos else None


def _read_photos(
    request: Request, max_body_bytes: int, max_photos: Callable[[], int], *, form_only: bool
) -> list[bytes]:
    """See `read_photos`; `form_only` accepts only forms and JSON, which may have no photo."""
    coding = request.headers.get("Content-Encoding", "").strip()
    if coding.lower() not in ("", "identity"):
        raise Problem(
            Code.UNSUPPORTED_ENCODING,
            f"The Content-Encoding {quoted(coding)} is not supported; send the body without one.",
            {"Accept-Encoding": "identity"},
        )
    content_length = request.content_length
    if content_length is not None and content_length > max_body_bytes:
        raise _too_large(f"{content_length:,}", max_body_bytes)
    mimetype = request.mimetype
    try:
        if mimetype in (MULTIPART, JSON):
            return _photos_in_form(request, max_body_bytes, max_photos, is_optional=form_only)
        is_photo = mimetype.startswith("image/") or mimetype == "application/octet-stream"
        if is_photo and not form_only:
            return [_photo_in_body(request, max_body_bytes)]
    except ParseException as error:
        raise Problem(
            Code.BAD_REQUEST, "The body does not match its Transfer-Encoding; send it again."
        ) from error
    is_empty = not content_length and not request.headers.get("Transfer-Encoding")
    if not mimetype and is_empty and not form_only:
        raise Problem(Code.NO_PHOTO, f"The request has no photo. {HOW_TO_SEND}")
    problem = (
        f"The Content-Type {quoted(mimetype)} is not supported."
        if mimetype
        else "The request has no Content-Type."
    )
    remedy = f"Send {MULTIPART} or {JSON}." if form_only else HOW_TO_SEND
    raise Problem(Code.UNSUPPORTED_TYPE, f"{problem} {remedy}")


def _photo_in_body(request: Request, max_body_bytes: int) -> bytes:
    data = request.get_data(cache=False)
    if len(data) > max_body_bytes:
        raise _too_large(f"more than {max_body_bytes:,}", max_body_bytes)
    if not data:
        raise Problem(Code.EMPTY_PHOTO, f"The body is empty. {HOW_TO_SEND}")
    if len(data) < (request.content_length or 0):
        # gunicorn does not report it, and many truncated photos would still decode.
        raise incomplete_body(len(data), request.content_length or 0)
    return data


def incomplete_body(received: int, content_length: int) -> Problem:
    """Return the problem of a body with fewer bytes than its Content-Length."""
    return Problem(
        Code.INCOMPLETE_BODY,
        f"The body ended after {received:,} of the {content_length:,} bytes in its Content-Length; "
        "send it again.",
    )


def _photos_in_form(
    request: Request, max_body_bytes: int, max_photos: Callable[[], int], *, is_optional: bool
) -> list[bytes]:
    try:
        files = [(file, _content(file)) for file in request.files.getlist(PHOTO_FIELD)]
    except RequestEntityTooLarge as error:
        if request.stream.tell() > max_body_bytes:
            raise _too_large(f"more than {max_body_bytes:,}", max_body_bytes) from error
        raise Problem(
            Code.TOO_MANY_PARTS,
            f"The form has more than {request.max_form_parts} parts, or headers of a part with "
            f"more than {MAX_TEXT_FIELD_BYTES:,} bytes. {HOW_TO_SEND}",
        ) from error
    # Browsers send a file input without a file as an empty part without a file name.
    sent = [(file, data) for file, data in files if data or file.filename]
    if not sent and is_optional:
        return []
    if not files:
        raise _no_photo_field(request)
    limit = max_photos()
    if len(sent) > limit:
        allowed = "one photo" if limit == 1 else f"up to {limit} photos"
        raise Problem(
            Code.TOO_MANY_PHOTOS,
            f"The request has {len(sent)} fields named '{PHOTO_FIELD}'; send {allowed}.",
        )
    if not sent or not all(data for _, data in sent):
        raise Problem(Code.EMPTY_PHOTO, "The file is empty; choose a photo.")
    for file, data in sent:
        if file.filename is None and is_text(data):
            raise text_problem(data) or Problem(
                Code.NO_PHOTO,
                f"The field '{PHOTO_FIELD}' contains text instead of a file. With curl, write an @ "
                f"before the path: -F {PHOTO_FIELD}=@photo.jpg",
            )
    return [data for _, data in sent]


def _content(file: FileStorage) -> bytes:
    """Read a file and free its memory, which the request would keep until the response."""
    data: bytes = file.read()
    file.close()
    return data


def _no_photo_field(request: Request) -> Problem:
    names = list(dict.fromkeys(str(name or "") for name in (*request.files, *request.form)))
    if not names:
        return Problem(Code.NO_PHOTO, f"The request has no photo. {HOW_TO_SEND}")
    shown = ", ".join(quoted(name) for name in names[:_MAX_NAMES_SHOWN])
    more = f" and {len(names) - _MAX_NAMES_SHOWN} more" if len(names) > _MAX_NAMES_SHOWN else ""
    return Problem(
        Code.NO_PHOTO,
        f"The request has no photo in the field '{PHOTO_FIELD}', only {shown}{more}. {HOW_TO_SEND}",
    )


def _too_large(size: str, limit: int) -> Problem:
    return Problem(
        Code.TOO_LARGE,
        f"The body has {size} bytes; the limit is {limit:,} bytes ({limit // _MIB} MiB).",
    )
