"""Classification of uploaded photos, shared by the page and the API.

A request acquires a batcher slot, reads its photos, acquires a slot for each further one, decodes
and transforms them, and submits them to the batcher together. Failures become problems: 429 without
a slot, 503 or 504 from the batcher.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import request
from PIL import Image

from app.context import AppContext, current_context
from app.http.problems import Code, Problem
from app.http.rate_limits import count_photos
from app.http.uploads import read_photos
from app.inference.activation_overlays import draw_overlays
from app.inference.batcher import Slots
from app.inference.client_disconnect import is_connected
from app.inference.errors import (
    AbandonedError,
    BatcherClosedError,
    BatchingError,
    BatchOutOfMemoryError,
    DeadlineExceededError,
    ModelStalledError,
    TooManyInFlightError,
)
from app.inference.photos import RETRY_AFTER, PreparedPhoto, prepare_photo
from app.observability.request_log import note_step

if TYPE_CHECKING:
    from model.backends.base import Array, Outputs
    from model.classifier import ClassificationResult

DEFAULT_TOP_K: Final = 5
_REASONS: Final[dict[type[BatchingError], str]] = {
    TooManyInFlightError: "full",
    DeadlineExceededError: "expired",
    AbandonedError: "abandoned",
    BatcherClosedError: "closing",
    BatchOutOfMemoryError: "out_of_memory",
}


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of a classification.

    Attributes:
        top_k: Number of predictions.
        explain: Draw the activation map of each prediction; the model must have them.
        preview: Return a preview of the photo.
        max_photos: Maximum number of photos; no more than the slots of the service.
    """

    top_k: int
    explain: bool = False
    preview: bool = False
    max_photos: int = 1


@dataclass(frozen=True)
class Classification:
    """A classified photo.

    Attributes:
        preview: Upright RGB image, reduced in size; None unless requested.
        logits: float32 (classes,), before temperature scaling.
        result: Ranked predictions and the verdict.
        activation_maps: Data URL of each prediction's activation map; None unless requested.
    """

    preview: Image.Image | None
    logits: Array
    result: ClassificationResult
    activation_maps: tuple[str, ...] | None


def classify_upload(options: ClassifyOptions) -> Classification:
    """Classify the single photo of the current request; see `classify_uploads`."""
    return classify_uploads(lambda: options)[0]


def classify_uploads(options: Callable[[], ClassifyOptions]) -> list[Classification]:
    """Classify each photo of the current request.

    The photos share one deadline, which starts once the body has arrived, so that a slow upload
    does not count.

    Args:
        options: Called after the form is parsed, because form fields can set them.

    Raises:
        Problem: 400, 413, 415 or 422 for a bad photo or option; 429, 500, 503 or 504 for a service
            failure.
    """
    service = current_context()
    settings = service.settings
    photos = 1  # as far as is known before the body is read
    try:
        with service.batcher.acquire(is_connected(request.environ)) as slots:
            found = read_photos(
                request,
                settings.max_body_bytes,
                lambda: min(options().max_photos, settings.max_in_flight),
            )
            photos = len(found)
            slots.add(photos - 1)
            count_photos(photos - 1)
            classifications = _classify(service, slots, found, options())
    except BatchingError as error:
        service.metrics.photos_refused(_REASONS.get(type(error), "failed"), photos)
        raise _problem(service, error) from error
    for classification in classifications:
        service.metrics.photo_answered(classification.result.verdict)
    return classifications


def _problem(service: AppContext, error: BatchingError) -> Problem:
    if isinstance(error, TooManyInFlightError):
        return Problem(
            Code.OVERLOADED,
            f"Too few of the {service.settings.max_in_flight} slots are free; try again in a "
            "moment.",
            RETRY_AFTER,
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
            RETRY_AFTER,
        )
    if isinstance(error, BatchOutOfMemoryError):
        return Problem(
            Code.OUT_OF_MEMORY,
            "The service is out of memory for this photo; try again in a moment.",
            RETRY_AFTER,
        )
    if isinstance(error, ModelStalledError):
        return Problem(
            Code.MODEL_STALLED,
            "The model hangs and the service is restarting; try again in a moment.",
            RETRY_AFTER,
        )
    return Problem(Code.MODEL_FAILED, "The model failed and is restarting; try again in a moment.")


def _classify(
    service: AppContext, slots: Slots[Outputs], found: list[bytes], options: ClassifyOptions
) -> list[Classification]:
    """Classify the photos of one request; remove the bytes of each from `found` on the way."""
    settings, metadata = service.settings, service.classifier.metadata
    if options.explain and not service.explains:
        raise Problem(
            Code.EXPLAIN_UNSUPPORTED,
            "This model has no class activation maps, because its head is not one linear layer on "
            "averaged features. Remove the parameter explain.",
        )
    deadline = time.monotonic() + settings.request_timeout_seconds
    # Prepare all photos first, so that a bad one costs no inference.
    photos: list[PreparedPhoto] = []
    while found:
        photos.append(
            prepare_photo(
                found.pop(0),
                settings.image_limits,
                metadata.transform,
                deadline,
                preview=options.preview,
            )
        )
    seconds = [photo.seconds for photo in photos]
    note_step("decode", seconds, sum(seconds))
    inferences = slots.infer([photo.inputs for photo in photos], deadline)
    waited = [inference.waited for inference in inferences]
    note_step("wait", waited, min(waited))
    note_step(
        "inference",
        [inference.ran for inference in inferences],
        max(inference.waited + inference.ran for inference in inferences) - min(waited),
    )
    return [
        _classification(service, photo, inference.output, options, deadline)
        for photo, inference in zip(photos, inferences, strict=True)
    ]


def _classification(
    service: AppContext,
    photo: PreparedPhoto,
    output: Outputs,
    options: ClassifyOptions,
    deadline: float,
) -> Classification:
    result = service.classifier.result(output.logits, options.top_k)
    activation_maps = None
    if options.explain and output.activations is not None:
        activation_maps = draw_overlays(
            result.predictions,
            output.activations,
            photo.size,
            service.classifier.metadata,
            deadline,
        )
    return Classification(photo.preview, output.logits, result, activation_maps)
