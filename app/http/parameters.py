"""Checks of parameters from query strings and forms, shared by the routes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from app.http.problems import Code, Problem, quoted

# A comparison of millions of characters takes minutes, and JSON may have such a name.
_MAX_COMPARED: Final = 100
BOOLEANS: Final = {"0": False, "false": False, "1": True, "true": True}


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Check the names of parameters.

    Raises:
        Problem: 422 if one is not known.
    """
    for name in names:
        if name not in known:
            similar = difflib.get_close_matches(name[:_MAX_COMPARED].lower(), list(known), n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"use {', '.join(known)}."
            raise Problem(Code.INVALID_PARAMETER, f"There is no parameter {quoted(name)}; {hint}")


def flag(name: str, values: Sequence[str]) -> bool:
    """Return a boolean parameter; False if it is absent.

    Raises:
        Problem: 422 if it is repeated or not one of `BOOLEANS`.
    """
    if not values:
        return False
    if len(values) > 1 or values[0] not in BOOLEANS:
        raise bad_parameter(name, values, f"one of {', '.join(BOOLEANS)}")
    return BOOLEANS[values[0]]


def bad_parameter(name: str, values: Sequence[str], expected: str) -> Problem:
    """Return the problem of a missing, repeated or invalid parameter.

    Args:
        name: The parameter.
        values: Its values in the request.
        expected: The valid values, such as "one of 0, 1".
    """
    got = quoted(values[0]) if len(values) == 1 else f"given {len(values)} times"
    got = got if values else "missing"
    return Problem(Code.INVALID_PARAMETER, f"The parameter {name} is {got}; it must be {expected}.")
