"""Parser of forms: multipart/form-data, and JSON with photos in base64.

Both become the same fields and files, so no other code distinguishes them. Files stay in memory,
because photos are private.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, Final, NamedTuple

from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from app.http.json_body import JSON
from app.http.problems import Code, Problem, quoted
from app.http.text_photos import decode_base64
from app.http.uploads import HOW_TO_SEND, MULTIPART, PHOTO_FIELD, incomplete_body
from model.imaging.formats import accepted_kind, refused_kind

_READ_SIZE: Final = 64 * 1024
# Bounds the memory and the depth of the parsed JSON. Five photos and all parameters need 14.
_MAX_JSON_VALUES: Final = 64
_JSON_SEPARATORS: Final = (b",", b"[", b"{")
# Possessive quantifiers scan in linear time; without them, an open string would be scanned again
# from each of its quotes.
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[,\[{]', re.DOTALL)
# In valid JSON, no more than a key and a value, if both are strings, come with a separator.
_MAX_JSON_TOKENS: Final = 3 * (_MAX_JSON_VALUES + 1)
_JSON_WHITESPACE: Final = " \t\r\n"
_GZIP_SIGNATURE: Final = b"\x1f\x8b"
_LONGEST_SIGNATURE: Final = 12  # bytes
_LINE_BREAKS: Final = (b"\n", b"\r")
# Spaces and a line break follow a boundary; the last one ends in "--".
_BOUNDARY_SUFFIX: Final = re.compile(rb"--[^\S\n\r]*(?:\r\n|\n|\r)?|[^\S\n\r]*(?:\r\n|\n|\r)")


class _Part(NamedTuple):
    name: str
    filename: str | None
    data: bytes


class FormParser(FormDataParser):
    """Werkzeug's form parser with JSON, and with problems that name the cause."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]:
        """Parse the body of a request.

        Args:
            stream: The body, limited to its maximum size.
            mimetype: Content-Type without parameters. A body of another type is not read.
            content_length: The Content-Length header.
            options: Parameters of the Content-Type.

        Returns:
            The stream, the text fields and the files. Files of other fields than `PHOTO_FIELD` are
            empty.

        Raises:
            Problem: 400, 413 or 422.
            RequestEntityTooLarge: The body is larger than the stream's limit, or has too many parts
                or too long part headers.
        """
        parts: Iterator[_Part] = iter(())
        if mimetype == MULTIPART:
            parts = self._parts_of_form(stream, content_length, options or {})
        elif mimetype == JSON:
            parts = self._parts_of_json(stream, content_length)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        for name, filename, data in parts:
            # A photo is a file, whatever the headers of its part.
            if name == PHOTO_FIELD or filename is not None:
                files.append((name, FileStorage(io.BytesIO(data), filename, name)))
            else:
                fields.append((name, data.decode(errors="replace")))
        return stream, self.cls(fields), self.cls(files)

    def _parts_of_form(
        self, stream: IO[bytes], content_length: int | None, options: Mapping[str, str]
    ) -> Iterator[_Part]:
        boundary = options.get("boundary")
        if not boundary:
            raise Problem(
                Code.BAD_REQUEST,
                f"The Content-Type {MULTIPART} has no boundary. Do not set this header yourself: "
                "the HTTP library sets it, with the boundary of its form.",
            )
        decoder = _PartDecoder(
            boundary.encode("latin-1", "replace"),
            self.max_form_memory_size,
            max_parts=self.max_form_parts,
        )
        try:
            while not isinstance(event := decoder.next_event(), Epilogue):
                if isinstance(event, NeedData):
                    decoder.receive_data(stream.read(_READ_SIZE) or None)
                elif isinstance(event, Field | File):
                    name = event.name or ""
                    filename = event.filename if isinstance(event, File) else None
                    content = io.BytesIO()
                elif isinstance(event, Data):
                    if name == PHOTO_FIELD:
                        content.write(event.data)
                    elif filename is None:
                        content.write(event.data)
                        self._check_text_size(name, content.tell())
                    if not event.more_data:
                        yield _Part(name, filename, content.getvalue())
        except ValueError as error:
            raise _malformed_form(stream, content_length, decoder.state) from error

    def _check_text_size(self, name: str, size: int) -> None:
        if self.max_form_memory_size is not None and size > self.max_form_memory_size:
            raise Problem(
                Code.TOO_MANY_PARTS,
                f"The text field {quoted(name)} has more than {self.max_form_memory_size:,} bytes. "
                f"{HOW_TO_SEND}",
            )

    def _parts_of_json(self, stream: IO[bytes], content_length: int | None) -> Iterator[_Part]:
        data = stream.read()
        if self.max_content_length is not None and len(data) >= self.max_content_length:
            raise RequestEntityTooLarge
        if content_length is not None and len(data) < content_length:
            raise incomplete_body(len(data), content_length)
        try:
            # Counting all separators is fast; strings rarely have many.
            if sum(map(data.count, _JSON_SEPARATORS)) > _MAX_JSON_VALUES:
                _check_value_count(data.decode(json.detect_encoding(data), "surrogatepass"))
            # A MultiDict keeps repeated members, which the checks of the form refuse.
            members = json.loads(data, object_pairs_hook=MultiDict)
        except ValueError as error:
            raise Problem(Code.BAD_REQUEST, f"{_not_json(data)} {HOW_TO_SEND}") from error
        del data
        if not isinstance(members, MultiDict):
            raise Problem(Code.NO_PHOTO, f"The JSON is not an object. {HOW_TO_SEND}")
        for name, value in members.items(multi=True):
            if name != PHOTO_FIELD:
                # ASCII would be up to three times as long. A string may hold half a surrogate pair.
                text = json.dumps(value, ensure_ascii=False)
                yield _Part(name, None, text.encode(errors="replace"))
                continue
            if value is None:  # absent
                continue
            for encoded in value if isinstance(value, list) else [value]:
                photo = decode_base64(encoded) if isinstance(encoded, str) else None
                if photo is None:
                    raise Problem(
                        Code.NO_PHOTO,
                        f"The JSON member '{PHOTO_FIELD}' must be a photo in base64 or a base64 "
                        "data URL. Other URLs and paths are not read.",
                    )
                yield _Part(name, name, photo)


def _check_value_count(text: str) -> None:
    """Check the number of values of a JSON text without parsing more than are allowed.

    Raises:
        Problem: 422 if there are too many.
        ValueError: The text is not valid JSON up to the last value that is allowed.
    """
    separators = 0
    for token in islice(_JSON_TOKEN.finditer(text), _MAX_JSON_TOKENS):
        separators += text[token.start()] != '"'
        if separators > _MAX_JSON_VALUES:
            start = text[: token.start()].rstrip(_JSON_WHITESPACE)
            try:
                json.loads(start)
            except json.JSONDecodeError as error:
                if error.pos == len(start):  # valid so far
                    raise Problem(
                        Code.INVALID_PARAMETER,
                        f"The JSON has more than {_MAX_JSON_VALUES} values. {HOW_TO_SEND}",
                    ) from error
                raise
            raise ValueError("the JSON has extra data")


def _not_json(data: bytes) -> str:
    """Return a sentence that says what a body is that should be JSON."""
    kind = None
    if data.startswith(_GZIP_SIGNATURE):
        kind = "compressed by gzip"
    elif data.lstrip().startswith(b"--"):
        kind = f"a {MULTIPART} form"
    elif len(data) > _LONGEST_SIGNATURE:
        accepted = accepted_kind(data)
        kind = f"a photo ({accepted})" if accepted else refused_kind(data)
    if kind is None:
        return "The body is not valid JSON."
    return f"The body is not valid JSON but {kind}, and its Content-Type is {JSON}."


@dataclass(frozen=True)
class BoundaryLine:
    """A line with a boundary, with the methods of `re.Match` that Werkzeug's decoder calls."""

    first: int
    last: int
    suffix: bytes

    def start(self) -> int:
        """Return the index of the line break before the boundary, if there is one."""
        return self.first

    def end(self) -> int:
        """Return the index after the line."""
        return self.last

    def group(self, number: int) -> bytes:
        """Return what follows the boundary; it starts with "--" after the last part."""
        return self.suffix


class BoundaryPattern:
    """A boundary in a form, with the method of `re.Pattern` that Werkzeug's decoder calls.

    Each client and most requests have a boundary of their own. Compiling Werkzeug's two patterns
    takes longer than all other work on the form, and `find` is a hundred times as fast as `search`.

    Args:
        boundary: The boundary.
        after_line_break: The boundary must start a line. Otherwise it may start anywhere.
    """

    def __init__(self, boundary: bytes, *, after_line_break: bool) -> None:
        self._delimiter = b"--" + boundary
        self._after_line_break = after_line_break
        # A delimiter that starts a line cannot overlap one that does not.
        self._step = len(self._delimiter) if after_line_break else 1

    def search(self, data: bytes | bytearray, start: int = 0) -> BoundaryLine | None:
        """Return the first line with the boundary from the index `start` on, or None."""
        found = data.find(self._delimiter, start)
        while found >= 0:
            suffix = _BOUNDARY_SUFFIX.match(data, found + len(self._delimiter))
            line_break = data.endswith(_LINE_BREAKS, start, found)
            if suffix and (line_break or not self._after_line_break):
                length = data.endswith(b"\r\n", start, found) + line_break
                return BoundaryLine(found - length, suffix.end(), suffix[0])
            found = data.find(self._delimiter, found + self._step)
        return None


class _PartDecoder(MultipartDecoder):
    """Werkzeug's decoder for part headers in any charset, with a faster search for boundaries.

    Windows programs send file names in Latin-1, GBK or Shift-JIS, and Werkzeug requires UTF-8.
    """

    def __init__(
        self, boundary: bytes, max_form_memory_size: int | None, *, max_parts: int | None
    ) -> None:
        super().__init__(b"", max_form_memory_size, max_parts=max_parts)
        self.boundary = boundary
        self.preamble_re = BoundaryPattern(  # type: ignore[assignment]
            boundary, after_line_break=False
        )
        self.boundary_re = BoundaryPattern(  # type: ignore[assignment]
            boundary, after_line_break=True
        )

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        return super()._parse_headers(data.decode(errors="replace").encode())


def _malformed_form(stream: IO[bytes], content_length: int | None, state: State) -> Problem:
    received = stream.tell()
    if content_length is not None and received < content_length:
        return incomplete_body(received, content_length)
    if state is not State.PREAMBLE:
        cause = "The form is incomplete, or the headers of a part are malformed."
    elif received:
        cause = "The form does not contain the boundary that its Content-Type names."
    else:
        cause = "The form is empty."
    return Problem(Code.BAD_REQUEST, f"{cause} {HOW_TO_SEND}")
