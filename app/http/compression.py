"""Answers made smaller on their way: Zstandard, Brotli or gzip, whichever the client takes.

    500 bytes or more of text, JSON, CSS, JavaScript or SVG -> compressed, with an ETag of its own

Photos and pictures go as they are; the activation maps within JSON lose the third that writing them
as text has cost. All is compressed anew each time, in a few milliseconds at most, rather than
kept: what is said about a photo must not stay.

An attack as BREACH needs a secret in the same answer as a stranger's words; no answer has one, for
there are no cookies and no key is ever said back.
"""

from __future__ import annotations

from flask import Flask, Response
from flask_compress import Compress


def init_compression(app: Flask) -> None:
    """Compress the answers of `app`; what is registered before sees them compressed."""
    app.config["COMPRESS_REGISTER"] = False
    app.config["COMPRESS_ALGORITHM"] = ["zstd", "br", "gzip"]
    compress = Compress(app)

    def compress_answer(response: Response) -> Response:
        if response.status_code == 304:
            response.vary.add("Accept-Encoding")  # as the answer has that it stands for
        # The bytes of a range are those of the file as it is.
        if response.status_code != 200 or response.mimetype not in compress.compress_mimetypes_set:
            return response
        # A file is read whole: a stream would have neither a length nor gzip.
        response.direct_passthrough = False
        response.make_sequence()
        return compress.after_request(response)

    app.after_request(compress_answer)
