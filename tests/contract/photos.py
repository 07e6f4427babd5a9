"""What Schemathesis sends as photos: it draws none by chance, and no schema says what one is.

It imports this by the variable SCHEMATHESIS_HOOKS, in a process of its own.
"""

from __future__ import annotations

import io

import schemathesis
from hypothesis import strategies
from PIL import Image


def encoded(image_format: str) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((80, 60)).convert("RGB").save(file, image_format)
    return file.getvalue()


WHOLE = [encoded(image_format) for image_format in ("JPEG", "PNG", "WEBP", "GIF")]
SPOILT = [WHOLE[0][:300], WHOLE[1][:-20], b"", b"%PDF-1.7 words", b"\0" * 5000]

schemathesis.openapi.media_type(
    "image/*",
    strategies.sampled_from(WHOLE + SPOILT),
    aliases=["image/jpeg", "application/octet-stream"],
)
