"""One visitor's feedback on a classification, and the errors of its storage.

This module does not import SQLAlchemy: services without feedback import it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model.errors import PetalscopeError

RIGHT: Final = "right"
OTHER: Final = "other"
UNSURE: Final = "unsure"
# Corrections that are not class IDs, with their descriptions.
CORRECTION_WORDS: Final = {
    RIGHT: "the first prediction is right",
    OTHER: "the flower is none of the model's classes",
    UNSURE: "the visitor is not sure",
}


class FeedbackSetupError(PetalscopeError):
    """A folder or a database that cannot hold feedback."""


class FeedbackFullError(Exception):
    """The quota is used up, or the disk is full."""


class FeedbackUnavailableError(Exception):
    """A failure of the folder or the database."""


@dataclass(frozen=True)
class FeedbackEntry:
    """Feedback on one classification.

    Attributes:
        request_id: Request ID of the classification, as the client states it.
        correction: Class ID of the right class, or one of `CORRECTION_WORDS`.
        predicted: Class ID of the first prediction, or None if the client does not state it.
        model_version: Version of the model that is served now.
        photo: JPEG without metadata, or None.
    """

    request_id: str
    correction: str
    predicted: str | None
    model_version: str
    photo: bytes | None = None


@dataclass(frozen=True)
class Receipt:
    """A stored entry.

    Attributes:
        deletion_code: Secret that deletes the entry and its photo.
        has_photo: The entry has a photo.
    """

    deletion_code: str
    has_photo: bool
