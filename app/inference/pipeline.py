"""The way of one photo through the service, the same for the page and for the API.

request -> a place in the batcher (429) -> read -> decode -> transform
        -> the batcher's one thread (503, 504) -> ranked names
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import request
from PIL import Image

from app.context import AppContext, current_context
from app.http.problems import Code, Problem
from app.http.uploads import read_photos
from app.inference.batcher import (
    AbandonedError,
    BatcherClosedError,
    BatchingError,
    BatchOutOfMemoryError,
    DeadlineExceededError,
    TooManyInFlightError,
)
from app.inference.client_disconnect import is_connected
from app.inference.decode_limiter import DecodeLimiter, DecodeLimitError
from app.observability.request_log import note_duration
from model.imaging.decode import (
    CorruptImageError,
    ImageError,
    ImageLimits,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
    decode_image,
)

if TYPE_CHECKING:
    from model.backends.base import Array
    from model.classifier import ClassificationResult

DEFAULT_TOP_K: Final = 5
_RETRY_AFTER: Final = {"Retry-After": "1"}
_REASONS: Final[dict[type[BatchingError], str]] = {
    TooManyInFlightError: "full",
    DeadlineExceededError: "expired",
    AbandonedError: "abandoned",
    BatcherClosedError: "closing",
    BatchOutOfMemoryError: "out_of_memory",
}
_MEGAPIXEL: Final = 1_000_000
# Half of the time that a photo has by default; decoding the largest takes some seconds more.
_LIMITER: Final = DecodeLimiter(timeout=5)
_IMAGE_CODES: Final[tuple[tuple[type[ImageError], Code], ...]] = (
    (CorruptImageError, Code.DAMAGED_PHOTO),
    (ImageTooLargeError, Code.TOO_MANY_PIXELS),
    (UnsupportedImageError, Code.UNSUPPORTED_FORMAT),
    (ImageTooSmallError, Code.TOO_SMALL),
)


@dataclass(frozen=True)
class Classification:
    """What became of a photo.

    Attributes:
        photo: Upright and RGB, decoded at reduced scale.
        logits: float32 (classes,), what the network said.
        result: Predictions and verdict.
        activations: float32 (classes, h, w): where in the network's view of the photo each class
            was seen; None for a network that does not tell.
    """

    photo: Image.Image
    logits: Array
    result: ClassificationResult
    activations: Array | None


def classify_upload(top_k: int) -> Classification:
    """Classify the one photo that the current request carries; see `classify_uploads`."""
    return classify_uploads(lambda: top_k, most=lambda: 1)[0]


def classify_uploads(top_k: Callable[[], int], most: Callable[[], int]) -> list[Classification]:
    """Classify each of the photos that the current request carries, up to `most`.

    `top_k` and `most` are called after the form is parsed, because form fields can set them.

    They take one place in the queue, and share one deadline, which counts from the moment when the
    photos have arrived: how long a slow network takes is not ours to decide.

    Raises:
        Problem: 400, 413, 415 or 422 for the photo; 429, 500, 503 or 504 for the service.
    """
    service = current_context()
    try:
        classifications = _classify(service, top_k, most)
    except BatchingError as error:
        service.metrics.photo_refused(_REASONS.get(type(error), "failed"))
        raise _problem(service, error) from error
    for classification in classifications:
        service.metrics.photo_answered(classification.result.verdict)
    return classifications


def _problem(service: AppContext, error: BatchingError) -> Problem:
    if isinstance(error, TooManyInFlightError):
        return Problem(
            Code.OVERLOADED,
            f"All {service.settings.max_in_flight} places are taken by other photos; "
            "try again in a moment.",
            _RETRY_AFTER,
        )
    if isinstance(error, DeadlineExceededError):
        return Problem(
            Code.TIMED_OUT,
            "The photo was not done in the "
            f"{service.settings.request_timeout_seconds:g} seconds it has.",
        )
    if isinstance(error, AbandonedError):
        return Problem(
            Code.BAD_REQUEST,
            "The connection was closed, at least for sending, before the answer was there.",
        )
    if isinstance(error, BatcherClosedError):
        return Problem(
            Code.SHUTTING_DOWN,
            "The service is stopping and takes no more photos; try again.",
            _RETRY_AFTER,
        )
    if isinstance(error, BatchOutOfMemoryError):
        return Problem(
            Code.OUT_OF_MEMORY,
            "The device has no memory for this photo now; try again.",
            _RETRY_AFTER,
        )
    return Problem(Code.MODEL_FAILED, "The model failed, and is being started anew; try again.")


def _classify(
    service: AppContext, top_k: Callable[[], int], most: Callable[[], int]
) -> list[Classification]:
    settings, classifier = service.settings, service.classifier
    limits = ImageLimits(settings.max_megapixels * _MEGAPIXEL, settings.min_side)
    with service.batcher.acquire(is_connected(request.environ)) as infer:
        found = read_photos(request, settings.max_body_bytes, most)
        names = top_k()
        arrived = time.monotonic()
        deadline = arrived + settings.request_timeout_seconds
        # All are decoded before any is run: one that cannot be decoded costs the model nothing.
        photos: list[Image.Image] = []
        for data in found:
            photos.append(
                decode_photo(data, limits, classifier.metadata.transform.resize, deadline)
            )
            if sum(photo.width * photo.height for photo in photos) > limits.max_pixels:
                raise Problem(
                    Code.TOO_MANY_PIXELS,
                    f"The photos together have more than {settings.max_megapixels} megapixels; "
                    "send smaller ones, or fewer.",
                )
        inputs = [classifier.preprocess(photo) for photo in photos]
        note_duration("decode", time.monotonic() - arrived)
        inferences = [infer(one, deadline) for one in inputs]
    note_duration("wait", sum(inference.waited for inference in inferences))
    note_duration("inference", sum(inference.ran for inference in inferences))
    return [
        Classification(
            photo, output.logits, classifier.result(output.logits, names), output.activations
        )
        for photo, output in zip(photos, (item.output for item in inferences), strict=True)
    ]


def decode_photo(
    data: bytes, limits: ImageLimits, target_side: int, deadline: float
) -> Image.Image:
    """Decode a photo to an upright RGB image; see `model.imaging.decode.decode_image`.

    Args:
        data: The uploaded file.
        limits: Image sizes to refuse.
        target_side: The shorter side that the image will be resized to, in pixels.
        deadline: When the request times out, by `time.monotonic`.

    Raises:
        Problem: 400, 413, 415 or 422 for the photo; 429 if the decode limiter stays full.
        DeadlineExceededError: The deadline passed before decoding began.
    """

    @contextmanager
    def slot(pixels: int) -> Iterator[None]:
        with _LIMITER.hold(pixels, limits.max_pixels):
            if time.monotonic() > deadline:
                raise DeadlineExceededError
            yield

    try:
        return decode_image(data, limits=limits, target_side=target_side, hold=slot)
    except DecodeLimitError as error:
        raise Problem(
            Code.DECODER_BUSY,
            "Other large photos are being decoded; try again in a moment, or send a smaller one.",
            _RETRY_AFTER,
        ) from error
    except ImageError as error:
        code = next(code for kind, code in _IMAGE_CODES if isinstance(error, kind))
        raise Problem(code, str(error)) from error
