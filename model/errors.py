"""Base class of all errors shown to a user."""


class PetalscopeError(Exception):
    """Something the caller can put right.

    The message is one sentence or two that say what was wrong and what would be right. It may be
    shown on a terminal as it is; the service decides which of them a client sees.
    """
