"""Classification of uploaded photos, shared by the page and the API.

A request acquires a batcher slot, then reads, decodes and transforms its photos, and submits them
to the batcher. Failures become problems: 429 without a slot, 503 or 504 from the batcher.
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
from app.http.rate_limits import count_photos
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
from model.imaging.decode import decode_image
from model.imaging.formats import CorruptImageError, ImageError, UnsupportedImageError
from model.imaging.limits import ImageLimits, ImageTooLargeError, ImageTooSmallError

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
# Half of the default request timeout, since decoding the largest photo takes some seconds.
DECODE_LIMITER: Final = DecodeLimiter(timeout=5)
_IMAGE_CODES: Final[tuple[tuple[type[ImageError], Code], ...]] = (
    (CorruptImageError, Code.DAMAGED_PHOTO),
    (ImageTooLargeError, Code.TOO_MANY_PIXELS),
    (UnsupportedImageError, Code.UNSUPPORTED_FORMAT),
    (ImageTooSmallError, Code.TOO_SMALL),
)


@dataclass(frozen=True)
class Classification:
    """A classified photo with the network's outputs.

    Attributes:
        photo: Upright RGB image, decoded at reduced scale.
        logits: float32 (classes,), before temperature scaling.
        result: Ranked predictions and the verdict.
        activations: Class activation maps of the network's input, float32 (classes, h, w); None if
            the network has none.
    """

    photo: Image.Image
    logits: Array
    result: ClassificationResult
    activations: Array | None


def classify_upload(top_k: int) -> Classification:
    """Classify the single photo of the current request; see `classify_uploads`."""
    return classify_uploads(lambda: top_k, most=lambda: 1)[0]


def classify_uploads(top_k: Callable[[], int], most: Callable[[], int]) -> list[Classification]:
    """Classify each photo of the current request, up to `most`.

    `top_k` and `most` are called after the form is parsed, because form fields can set them.

    The photos share one slot and one deadline. The deadline starts once the body has arrived, so a
    slow upload does not count.

    Raises:
        Problem: 400, 413, 415 or 422 for a bad photo; 429, 500, 503 or 504 for a service failure.
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
            f"All {service.settings.max_in_flight} slots are in use; try again in a moment.",
            _RETRY_AFTER,
        )
    if isinstance(error, DeadlineExceededError):
        return Problem(
            Code.TIMED_OUT,
            "The photo was not classified within "
            f"{service.settings.request_timeout_seconds:g} seconds; try again later.",
        )
    if isinstance(error, AbandonedError):
        return Problem(
            Code.BAD_REQUEST,
            "The client closed or half-closed the connection before the response was ready.",
        )
    if isinstance(error, BatcherClosedError):
        return Problem(
            Code.SHUTTING_DOWN,
            "The service is shutting down; try again in a moment.",
            _RETRY_AFTER,
        )
    if isinstance(error, BatchOutOfMemoryError):
        return Problem(
            Code.OUT_OF_MEMORY,
            "The service is out of memory for this photo; try again in a moment.",
            _RETRY_AFTER,
        )
    return Problem(Code.MODEL_FAILED, "The model failed and is restarting; try again in a moment.")


def _classify(
    service: AppContext, top_k: Callable[[], int], most: Callable[[], int]
) -> list[Classification]:
    settings, classifier = service.settings, service.classifier
    limits = ImageLimits(settings.max_megapixels * _MEGAPIXEL, settings.min_side)
    with service.batcher.acquire(is_connected(request.environ)) as infer:
        found = read_photos(request, settings.max_body_bytes, most)
        count_photos(len(found) - 1)
        prediction_count = top_k()  # a bad parameter costs no decoding
        arrived = time.monotonic()
        deadline = arrived + settings.request_timeout_seconds
        # Decode all photos first, so that a bad one costs no inference.
        photos: list[Image.Image] = []
        for data in found:
            photos.append(
                decode_photo(data, limits, classifier.metadata.transform.resize, deadline)
            )
            if sum(photo.width * photo.height for photo in photos) > limits.max_pixels:
                raise Problem(
                    Code.TOO_MANY_PIXELS,
                    f"The photos have more than {settings.max_megapixels} megapixels in total; "
                    "send fewer or smaller photos.",
                )
        inputs = [classifier.preprocess(photo) for photo in photos]
        note_duration("decode", time.monotonic() - arrived)
        inferences = [infer(one, deadline) for one in inputs]
    note_duration("wait", sum(inference.waited for inference in inferences))
    note_duration("inference", sum(inference.ran for inference in inferences))
    return [
        Classification(
            photo,
            output.logits,
            classifier.result(output.logits, prediction_count),
            output.activations,
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
        Problem: 413, 415 or 422 for the photo; 429 if the decode limiter stays full.
        DeadlineExceededError: The deadline passed before decoding began.
    """

    @contextmanager
    def slot(pixels: int) -> Iterator[None]:
        with DECODE_LIMITER.acquire(pixels, limits.max_pixels):
            if time.monotonic() > deadline:
                raise DeadlineExceededError
            yield

    try:
        return decode_image(data, limits=limits, target_side=target_side, acquire=slot)
    except DecodeLimitError as error:
        raise Problem(
            Code.DECODER_BUSY,
            "Other large photos are being decoded; try again in a moment, or send a smaller one.",
            _RETRY_AFTER,
        ) from error
    except ImageError as error:
        code = next(code for kind, code in _IMAGE_CODES if isinstance(error, kind))
        raise Problem(code, str(error)) from error
