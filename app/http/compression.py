"""Response compression by Accept-Encoding: Zstandard, Brotli or gzip.

The server does not cache compressed responses, because results must not be stored. BREACH does not
apply, because no response contains a secret.
"""

from __future__ import annotations

from flask import Flask, Response
from flask_compress import Compress


def init_compression(app: Flask) -> None:
    """Compress the responses of `app`.

    `after_request` functions that are registered earlier run later and see the compressed response.
    """
    app.config["COMPRESS_REGISTER"] = False
    app.config["COMPRESS_ALGORITHM"] = ["zstd", "br", "gzip"]
    app.config["COMPRESS_ZSTD_LEVEL"] = 6  # the default of 3 makes pages larger than gzip does
    compress = Compress(app)

    def compress_response(response: Response) -> Response:
        if response.status_code == 304:
            # A 304 must have the Vary header of the 200 that it stands for.
            response.vary.add("Accept-Encoding")
        # Byte ranges refer to the uncompressed file.
        if response.status_code != 200 or response.mimetype not in compress.compress_mimetypes_set:
            return response
        # A streamed file would get neither a Content-Length nor compression.
        response.direct_passthrough = False
        response.make_sequence()
        return compress.after_request(response)

    app.after_request(compress_response)
