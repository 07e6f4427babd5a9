"""Base class of all errors shown to a user, and the format of their lists of names."""

from collections.abc import Sequence
from typing import Final

_MAX_NAMES: Final = 5


class PetalscopeError(Exception):
    """Something the caller can put right.

    The message is one sentence or two that say what was wrong and what would be right. It may be
    shown on a terminal as it is; the service decides which of them a client sees.
    """


def join_names(names: Sequence[str]) -> str:
    """Join names for a message: the first five, and the number of the others."""
    more = len(names) - _MAX_NAMES
    first = ", ".join(names[:_MAX_NAMES])
    return f"{first} and {more} more" if more > 0 else first
