"""Photos in a request: the `image` fields of a multipart form, or the body itself.

A file's name and Content-Type come from the client and are never trusted. The name is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestEntityTooLarge

from app.http.problems import Code, Problem, quoted

PHOTO_FIELD: Final = "image"
# Werkzeug also caps its parser's buffer at this size and reads 64 KiB on top of the remainder.
# A limit of 64 KiB would refuse some photos.
MAX_TEXT_FIELD_BYTES: Final = 128 * 1024

_MIB: Final = 1024 * 1024
_HOW_TO_SEND: Final = (
    f"Send the photo as a file in the field '{PHOTO_FIELD}' of a multipart/form-data form, or as "
    "the body with its own Content-Type, such as image/jpeg."
)
MALFORMED_FORM: Final = f"The form is empty, incomplete or malformed. {_HOW_TO_SEND}"
_MAX_NAMES_SHOWN: Final = 5


def read_photos(request: Request, max_body_bytes: int, most: Callable[[], int]) -> list[bytes]:
    """Return the bytes of the photos in a request.

    Args:
        request: Request whose `max_content_length` is `max_body_bytes` + 1. Werkzeug stops reading
            a body without Content-Length there; the extra byte shows that the body is too large.
        max_body_bytes: Maximum body size in bytes.
        most: Returns the maximum number of photos in a form; called after the form is parsed,
            because a form field can set it.

    Returns:
        One to `most()` photos, none of them empty.

    Raises:
        Problem: 400, 413, 415 or 422.
    """
    content_length = request.content_length
    if content_length is not None and content_length > max_body_bytes:
        raise _too_large(f"{content_length:,}", max_body_bytes)
    mimetype = request.mimetype
    try:
        if mimetype == "multipart/form-data":
            return _photos_in_form(request, max_body_bytes, most)
        if mimetype.startswith("image/") or mimetype == "application/octet-stream":
            return [_photo_in_body(request, max_body_bytes)]
    except ParseException as error:
        raise Problem(
            Code.BAD_REQUEST, "The body does not match its Transfer-Encoding; send it again."
        ) from error
    if not mimetype and not content_length and not request.headers.get("Transfer-Encoding"):
        raise Problem(Code.NO_PHOTO, f"The request has no photo. {_HOW_TO_SEND}")
    problem = (
        f"The Content-Type {quoted(mimetype)} is not supported."
        if mimetype
        else "The request has no Content-Type."
    )
    raise Problem(Code.UNSUPPORTED_TYPE, f"{problem} {_HOW_TO_SEND}")


def _photo_in_body(request: Request, max_body_bytes: int) -> bytes:
    data = request.get_data(cache=False)
    if len(data) > max_body_bytes:
        raise _too_large(f"more than {max_body_bytes:,}", max_body_bytes)
    if not data:
        raise Problem(Code.EMPTY_PHOTO, f"The body is empty. {_HOW_TO_SEND}")
    if len(data) < (request.content_length or 0):
        # gunicorn does not report it, and many truncated photos would still decode.
        raise Problem(
            Code.INCOMPLETE_BODY,
            f"The body ended after {len(data):,} of the {request.content_length:,} bytes in its "
            "Content-Length; send it again.",
        )
    return data


def _photos_in_form(request: Request, max_body_bytes: int, most: Callable[[], int]) -> list[bytes]:
    try:
        files, texts = request.files.getlist(PHOTO_FIELD), request.form.getlist(PHOTO_FIELD)
    except RequestEntityTooLarge as error:
        if request.stream.tell() > max_body_bytes:
            raise _too_large(f"more than {max_body_bytes:,}", max_body_bytes) from error
        raise Problem(
            Code.TOO_MANY_PARTS,
            f"The form has more than {request.max_form_parts} parts, or a text field of more than "
            f"{MAX_TEXT_FIELD_BYTES:,} bytes. {_HOW_TO_SEND}",
        ) from error
    if not files and not texts:
        raise _no_photo_field(request)
    limit = most()
    if len(files) + len(texts) > limit:
        allowed = "one photo" if limit == 1 else f"up to {limit} photos"
        raise Problem(
            Code.TOO_MANY_PHOTOS,
            f"The form has {len(files) + len(texts)} fields named '{PHOTO_FIELD}'; send {allowed}.",
        )
    if texts:
        raise Problem(
            Code.NO_PHOTO,
            f"The field '{PHOTO_FIELD}' contains text instead of a file. With curl, write an @ "
            f"before the path: -F {PHOTO_FIELD}=@photo.jpg",
        )
    photos: list[bytes] = [file.read() for file in files]
    if not all(photos):
        raise Problem(Code.EMPTY_PHOTO, "The file is empty; choose a photo.")
    return photos


def _no_photo_field(request: Request) -> Problem:
    names = list(dict.fromkeys(str(name or "") for name in (*request.files, *request.form)))
    if not names:
        # Werkzeug returns no fields for a form that it cannot parse.
        return Problem(Code.BAD_REQUEST, MALFORMED_FORM)
    shown = ", ".join(quoted(name) for name in names[:_MAX_NAMES_SHOWN])
    more = f" and {len(names) - _MAX_NAMES_SHOWN} more" if len(names) > _MAX_NAMES_SHOWN else ""
    return Problem(
        Code.NO_PHOTO,
        f"The form has no field '{PHOTO_FIELD}', only {shown}{more}. {_HOW_TO_SEND}",
    )


def _too_large(size: str, limit: int) -> Problem:
    return Problem(
        Code.TOO_LARGE,
        f"The body has {size} bytes; the limit is {limit:,} bytes ({limit // _MIB} MiB).",
    )
