"""Decoding within the request's deadline."""

from __future__ import annotations

import time

import pytest

from app.inference.batcher import DeadlineExceededError
from app.inference.pipeline import decode_photo
from model.imaging.limits import ImageLimits


def test_no_photo_is_decoded_after_the_deadline(photo: bytes) -> None:
    with pytest.raises(DeadlineExceededError):
        decode_photo(photo, ImageLimits(), 256, deadline=time.monotonic() - 1)
    image = decode_photo(photo, ImageLimits(), 256, deadline=time.monotonic() + 60)
    assert image.mode == "RGB"
