"""Schemathesis hook that sends photos, because no schema can describe valid ones.

The Schemathesis process imports it through the variable SCHEMATHESIS_HOOKS.
"""

from __future__ import annotations

import base64
import io

import schemathesis
from hypothesis import strategies
from PIL import Image


def encoded(image_format: str) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((80, 60)).convert("RGB").save(file, image_format)
    return file.getvalue()


VALID = [encoded(image_format) for image_format in ("JPEG", "PNG", "WEBP", "GIF")]
INVALID = [VALID[0][:300], VALID[1][:-20], b"", b"%PDF-1.7 words", b"\0" * 5000]

schemathesis.openapi.media_type(
    "image/*",
    strategies.sampled_from(VALID + INVALID),
    aliases=["image/jpeg", "application/octet-stream"],
)
schemathesis.openapi.media_type(
    "application/json",
    strategies.sampled_from(
        [b'{"image": "%s"}' % base64.b64encode(photo) for photo in VALID + INVALID]
        + [b'{"image": "x"}', b'{"photo": "x"}', b"{", b"[]"]
    ),
)
