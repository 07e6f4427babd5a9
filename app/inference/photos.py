"""Preparation of an uploaded photo: from the file's bytes to the network's input."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image

from app.http.problems import Code, Problem
from app.http.text_photos import text_problem
from app.inference.errors import DeadlineExceededError
from model.imaging.decode import decode_image
from model.imaging.decode_limiter import DecodeLimiter, DecodeLimitError
from model.imaging.formats import (
    FORMAT_NAMES,
    CorruptImageError,
    HeicDisabledError,
    ImageError,
    UnsupportedImageError,
)
from model.imaging.limits import ImageLimits, ImageTooLargeError, ImageTooSmallError

if TYPE_CHECKING:
    from model.backends.base import Pixels
    from model.imaging.transforms import EvaluationTransform

# Half of the default request timeout, since decoding the largest photo takes some seconds.
DECODE_LIMITER: Final = DecodeLimiter(timeout=5)
RETRY_AFTER: Final = {"Retry-After": "1"}
PREVIEW_SIDE: Final = 800  # pixels
_IMAGE_CODES: Final[tuple[tuple[type[ImageError], Code], ...]] = (
    (CorruptImageError, Code.DAMAGED_PHOTO),
    (ImageTooLargeError, Code.TOO_MANY_PIXELS),
    (UnsupportedImageError, Code.UNSUPPORTED_FORMAT),
    (ImageTooSmallError, Code.TOO_SMALL),
)


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo, ready for the network.

    Attributes:
        size: Width and height of the upright photo, in pixels, after the reduction of a JPEG.
        preview: Upright RGB image whose longer side has at most `PREVIEW_SIDE` pixels; None unless
            requested.
        inputs: Input of the network, uint8 (H, W, 3).
        seconds: Duration of the preparation, including the wait for the decode limiter.
    """

    size: tuple[int, int]
    preview: Image.Image | None
    inputs: Pixels
    seconds: float


def prepare_photo(
    data: bytes,
    limits: ImageLimits,
    transform: EvaluationTransform,
    deadline: float,
    *,
    preview: bool = False,
) -> PreparedPhoto:
    """Decode and transform a photo.

    The image of full size exists only inside the decode limiter.

    Args:
        data: The uploaded file.
        limits: Image sizes to refuse.
        transform: Transform of the network.
        deadline: When the request times out, by `time.monotonic`.
        preview: Return a preview, which takes longer than the transform if the photo is large.

    Raises:
        Problem: 413, 415 or 422 for the photo; 429 if the decode limiter stays full.
        DeadlineExceededError: The deadline passed before decoding began.
    """
    started = time.monotonic()
    with ExitStack() as held:
        try:
            image = decode_image(
                data,
                limits=limits,
                target_side=transform.resize,
                acquire=_acquire_until_exit(held, limits.max_pixels, deadline),
            )
        except (DecodeLimitError, ImageError) as error:
            problem = _problem(error, data)
        else:
            inputs, size = transform(image), image.size
            if preview:
                image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
            reduced = image if preview else None
            del image  # inside the limiter
            return PreparedPhoto(size, reduced, inputs, time.monotonic() - started)
    # Raised outside the handler: the traceback of its exception refers to the decoded pixels.
    raise problem


def _acquire_until_exit(
    held: ExitStack, capacity: int, deadline: float
) -> Callable[[int], AbstractContextManager[None]]:
    """Return `decode_image`'s `acquire`, which keeps the pixels until `held` exits."""

    def acquire(pixels: int) -> AbstractContextManager[None]:
        held.enter_context(DECODE_LIMITER.acquire(pixels, capacity))
        if time.monotonic() > deadline:
            raise DeadlineExceededError
        return nullcontext()

    return acquire


def _problem(error: DecodeLimitError | ImageError, data: bytes) -> Problem:
    if isinstance(error, DecodeLimitError):
        return Problem(
            Code.DECODER_BUSY,
            "Other large photos are being decoded; try again in a moment, or send a smaller one.",
            RETRY_AFTER,
        )
    if isinstance(error, HeicDisabledError):
        return Problem(
            Code.UNSUPPORTED_FORMAT,
            f"This service has HEIC switched off; send a {FORMAT_NAMES} photo instead. iPhones "
            "take JPEG photos with Settings › Camera › Formats › Most Compatible.",
        )
    code = next(code for kind, code in _IMAGE_CODES if isinstance(error, kind))
    return text_problem(data) or Problem(code, str(error))
