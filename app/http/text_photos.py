"""Photos as text: base64, data URLs, and bytes that a text conversion has destroyed."""

from __future__ import annotations

import binascii
import codecs
import re
from typing import Final

from app.http.problems import Code, Problem
from model.imaging.formats import accepted_kind, refused_kind

_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_WHITESPACE: Final = b" \t\r\n"
_HEAD_BYTES: Final = 1024
_CONVERTED_BYTES: Final = 1024 * 1024
# 18 bytes of a file, enough for every signature.
_BASE64_SIGNATURE: Final = re.compile(rb"[A-Za-z0-9+/]{24}")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def decode_base64(text: str) -> bytes | None:
    """Decode base64 or a base64 data URL; return None if the text is neither.

    Line breaks, the URL-safe alphabet and missing padding are accepted.
    """
    if prefix := _DATA_URL.match(text):
        text = text[prefix.end() :]
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    try:
        plain = text.encode("ascii").translate(_URL_SAFE, _WHITESPACE).rstrip(b"=")
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except ValueError:
        return None


def text_problem(data: bytes) -> Problem | None:
    """Return the problem of a file that is text instead of a photo's bytes, or None.

    Call it for a file that cannot be decoded, because a photo may look like text.
    """
    head = data[:_HEAD_BYTES].removeprefix(_BYTE_ORDER_MARK).strip(_WHITESPACE + b"\"'")
    is_data_url = head[:5].lower() == b"data:"
    if is_data_url or _is_base64_of_file(head):
        kind = "a data: URL" if is_data_url else "base64 text"
        return Problem(
            Code.UNSUPPORTED_FORMAT,
            f"The file is {kind}. Decode it and send the photo's own bytes, or send the text as "
            'JSON: {"image": "BASE64"} with Content-Type: application/json.',
        )
    if _was_converted(data):
        return Problem(
            Code.DAMAGED_PHOTO,
            "The photo's bytes were converted as if they were text, to UTF-8 for example, which "
            "destroys a photo. Read and send the file as binary data.",
        )
    return None


def is_text(data: bytes) -> bool:
    """Return True if the first KiB is printable text in UTF-8 or ASCII, which no photo is."""
    head = data[:_HEAD_BYTES]
    # The cut may split a character.
    text = head.decode(errors="ignore" if len(data) > _HEAD_BYTES else "replace")
    return "\ufffd" not in text and all(c.isprintable() or c in "\t\r\n" for c in text)


def _is_base64_of_file(head: bytes) -> bool:
    start = _BASE64_SIGNATURE.match(head.translate(_URL_SAFE, _WHITESPACE))
    if start is None:
        return False
    decoded = binascii.a2b_base64(start[0])
    return (accepted_kind(decoded) or refused_kind(decoded)) is not None


def _was_converted(data: bytes) -> bool:
    """Return True for binary data after a conversion to UTF-8, or to ASCII with question marks.

    Zeros show that it was binary data. Other binary data is not valid UTF-8.
    """
    start = data[:_CONVERTED_BYTES]
    if b"\0" not in start or (start.isascii() and not start.startswith(b"?")):
        return False
    try:
        # An incremental decoder accepts the start of a character at the cut.
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True
