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

from typing import TYPE_CHECKING, Final

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestEntityTooLarge

from app.http.problems import Code, Problem, quoted

if TYPE_CHECKING:
    pass

PHOTO_FIELD: Final = "image"
# Fields of text are of no use to us. Werkzeug holds the buffer of its parser to this limit too,
# and fills it 64 KiB at a time on top of what the last piece left over: with 64 KiB it refuses
# some photos and takes others.
MAX_TEXT_FIELD_BYTES: Final = 128 * 1024

_MIB: Final = 1024 * 1024
_HOW_TO_SEND: Final = (
    f"Send the photo as a file in the field '{PHOTO_FIELD}' of a multipart/form-data form, or as "
    "the body with its own Content-Type, such as image/jpeg."
)
_NAMES_SHOWN: Final = 5


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
        files, texts = request.files.getlist(PHOTO_FIELD), request.form.getlist(PHOTO_FIELD)
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
            f"The form has {len(files) + len(texts)} fields named '{PHOTO_FIELD}'; send {allowed}.",
        )
    if texts:
        raise Problem(
            Code.NO_PHOTO,
            f"The field '{PHOTO_FIELD}' holds text and not a file. With curl, mind the @: "
            f"-F {PHOTO_FIELD}=@photo.jpg",
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
    return f"The form has no field named '{PHOTO_FIELD}'; it has {shown}{more}."


def _too_large(got: str, limit: int) -> Problem:
    return Problem(
        Code.TOO_LARGE,
        f"The body has {got} bytes; the limit is {limit:,} bytes ({limit // _MIB} MiB).",
    )
