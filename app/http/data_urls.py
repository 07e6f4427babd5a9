"""Images as data URLs, which need no storage on the server."""

from __future__ import annotations

import base64
import io
from typing import Final, Literal

from PIL import Image

_JPEG_QUALITY: Final = 85


def data_url(image: Image.Image, kind: Literal["JPEG", "PNG"]) -> str:
    """Encode an image as a data URL."""
    file = io.BytesIO()
    image.save(file, kind, quality=_JPEG_QUALITY)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
