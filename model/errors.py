"""Base class of all errors shown to a user, and parts of their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MAX_NAMES: Final = 10


class PetalscopeError(Exception):
    """An error that the user can correct.

    The message names the cause and the remedy. Scripts print it; the service decides which of them
    a client sees.
    """


def abbreviate(names: Sequence[str]) -> str:
    """Join up to ten names with commas, and add the number of the others."""
    others = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {others} more" if others > 0 else "")
