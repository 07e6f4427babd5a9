"""Feedback of the current request: its form is checked, its photo re-encoded, the entry stored.

The API and the pages share this module. A few slots bound the memory and the threads that feedback
takes, so that a slow disk or database never holds up classification.
"""

from __future__ import annotations

import difflib
import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flask import request
from PIL import Image

from app.context import AppContext, current_context
from app.feedback.entry import (
    CORRECTION_WORDS,
    RIGHT,
    FeedbackEntry,
    FeedbackFullError,
    FeedbackUnavailableError,
    Receipt,
)
from app.http.json_body import JSON
from app.http.parameters import bad_parameter, check_names, flag
from app.http.problems import Code, Problem, quoted
from app.http.request_id import is_request_id, request_id
from app.http.uploads import read_optional_photo
from app.inference.errors import DeadlineExceededError
from app.inference.photos import RETRY_AFTER, prepare_photo
from app.settings import FEEDBACK_THREADS
from model.imaging.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from app.feedback.store import FeedbackStore

_log: Final = logging.getLogger(__name__)

_SLOTS: Final = threading.BoundedSemaphore(FEEDBACK_THREADS)
_FIELDS: Final = ("request_id", "correction", "predicted", "consent")  # besides the photo
_CODE: Final = re.compile(r"[0-9a-f]{20}")
_MAX_COMPARED: Final = 60  # characters; comparing longer texts is slow
_JPEG_QUALITY: Final = 90
# Pixels of the shorter side before the reduction to the preview. The next model may have larger
# inputs than the one that is served.
_MIN_DECODED_SIDE: Final = 480
_RETRY_LATER: Final = {"Retry-After": "10"}


def submit_feedback() -> Receipt:
    """Store the feedback in the current request's form.

    Raises:
        Problem: 400, 413, 415 or 422 for the form or its photo; 429 if too many send feedback at
            once; 503, 504 or 507 if it cannot be stored.
    """
    service, store = _service_and_store()
    with _slot():
        photo = read_optional_photo(request, service.settings.max_body_bytes)
        entry = _read_entry(service)
        if photo is not None:
            if not flag("consent", _values("consent")):
                raise Problem(
                    Code.CONSENT_MISSING,
                    "The feedback has a photo, but no consent to store it. Ask the visitor and "
                    "send consent=true, or leave the photo out.",
                )
            entry = replace(entry, photo=_reencode(service, photo))
        with _storage_problems():
            return store.add(entry)


def delete_feedback(deletion_code: str) -> None:
    """Delete the entry with a deletion code, and its photo.

    Raises:
        Problem: 404 if no entry has the code; 429 if too many send feedback at once; 503 or 507 if
            the storage failed.
    """
    _, store = _service_and_store()
    code = deletion_code.strip().lower()
    with _slot(), _storage_problems():
        if not _CODE.fullmatch(code) or not store.delete(code):
            raise Problem(
                Code.FEEDBACK_NOT_FOUND,
                "There is no feedback with this code. It may be mistyped, or already deleted.",
            )


def _service_and_store() -> tuple[AppContext, FeedbackStore]:
    service = current_context()
    assert service.feedback is not None  # noqa: S101 - without a store there are no routes
    return service, service.feedback


@contextmanager
def _slot() -> Iterator[None]:
    if not _SLOTS.acquire(blocking=False):
        raise Problem(
            Code.OVERLOADED, "Other feedback is being stored; try again in a moment.", RETRY_AFTER
        )
    try:
        yield
    finally:
        _SLOTS.release()


@contextmanager
def _storage_problems() -> Iterator[None]:
    try:
        yield
    except FeedbackFullError as error:
        _log.warning("feedback is refused: its quota or its disk is full", extra=_log_fields())
        raise Problem(
            Code.FEEDBACK_FULL,
            "The space for feedback is used up; nothing was changed.",
        ) from error
    except FeedbackUnavailableError as error:
        _log.error(
            "feedback cannot be stored or deleted", exc_info=error.__cause__, extra=_log_fields()
        )
        raise Problem(
            Code.FEEDBACK_UNAVAILABLE,
            "Feedback cannot be stored or deleted right now; try again in a moment.",
            _RETRY_LATER,
        ) from error


def _log_fields() -> dict[str, dict[str, str]]:
    return {"fields": {"id": request_id()}}


def _reencode(service: AppContext, photo: bytes) -> bytes:
    """Return a photo as an upright JPEG of bounded size and without metadata.

    Raises:
        Problem: 413, 415 or 422 for the photo; 429 or 504 if decoding has to wait too long.
    """
    settings = service.settings
    deadline = time.monotonic() + settings.request_timeout_seconds
    transform = service.classifier.metadata.transform
    transform = replace(transform, resize=max(transform.resize, _MIN_DECODED_SIDE))
    try:
        prepared = prepare_photo(photo, settings.image_limits, transform, deadline, preview=True)
    except DeadlineExceededError as error:
        raise Problem(
            Code.TIMED_OUT, "The photo was not decoded in time; try again later."
        ) from error
    image = prepared.preview
    assert image is not None  # noqa: S101 - requested
    min_side = max(settings.min_side, DEFAULT_LIMITS.min_side)
    if min(image.size) < min_side:
        raise Problem(
            Code.TOO_SMALL,
            f"The photo is too narrow: reduced to {max(image.size)} pixels on the longer side, the "
            f"other has {min(image.size)}, and training needs {min_side}.",
        )
    # A new image has no metadata. Pillow would write the comment and other items of the old one.
    clean = Image.new("RGB", image.size)
    clean.paste(image)
    file = io.BytesIO()
    clean.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _read_entry(service: AppContext) -> FeedbackEntry:
    """Return the entry in the form, without its photo.

    Raises:
        Problem: 422 for a missing, repeated or invalid field, or an unknown JSON member.
    """
    # As in /predict: apps add fields of their own to a form, but write JSON for this API alone.
    if request.mimetype == JSON:
        check_names(request.form, _FIELDS)
    class_ids = [item.class_id for item in service.classifier.metadata.classes]
    values = _values("request_id")
    if len(values) != 1 or not is_request_id(values[0]):
        raise bad_parameter("request_id", values, "the request ID of a classification")
    correction = _choice("correction", class_ids, tuple(CORRECTION_WORDS))
    predicted = _choice("predicted", class_ids) if _values("predicted") else None
    if correction == RIGHT and predicted is None:
        raise bad_parameter("predicted", (), "the class ID that is right")
    return FeedbackEntry(values[0], correction, predicted, service.classifier.version)


def _choice(name: str, class_ids: list[str], words: tuple[str, ...] = ()) -> str:
    values = _values(name)
    if len(values) == 1 and (values[0] in class_ids or values[0] in words):
        return values[0]
    similar = difflib.get_close_matches(values[0][:_MAX_COMPARED] if values else "", class_ids, n=1)
    class_id = f"a class ID, such as {quoted((similar or class_ids)[0])}"
    raise bad_parameter(name, values, " or ".join([class_id, *words]))


def _values(name: str) -> list[str]:
    """Return the values of a field that are not empty; the form parser leaves JSON encoded."""
    values = request.form.getlist(name)
    if request.mimetype == JSON:
        decoded = [(text, json.loads(text)) for text in values]
        values = [
            value if isinstance(value, str) else text
            for text, value in decoded
            if value is not None
        ]
    return [value for value in values if value]
