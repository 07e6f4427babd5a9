"""Response compression: Zstandard, Brotli or gzip, by the Accept-Encoding header.

Compressed responses are not cached on the server, because results must not be stored. BREACH does
not apply: no response contains a secret.
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
