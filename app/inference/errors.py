"""Reasons for which a photo gets no output from the model."""

from __future__ import annotations


class BatchingError(Exception):
    """A photo without an output."""


class TooManyInFlightError(BatchingError):
    """Fewer slots are free than the request needs."""


class BatcherClosedError(BatchingError):
    """The batcher is closing, or its model failed."""


class DeadlineExceededError(BatchingError):
    """The deadline passed before the model finished."""


class AbandonedError(BatchingError):
    """The client disconnected."""


class BatchOutOfMemoryError(BatchingError):
    """Not enough memory for a batch of one photo."""


class ModelFailedError(BatchingError):
    """The model raised an unexpected exception; later outputs would be unreliable."""


class ModelStalledError(ModelFailedError):
    """A batch exceeded its maximum duration."""
