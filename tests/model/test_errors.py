"""Format of error messages."""

from __future__ import annotations

import pytest

from model.errors import join_names


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "0"),
        (5, "0, 1, 2, 3, 4"),
        (6, "0, 1, 2, 3, 4 and 1 more"),
        (102, "0, 1, 2, 3, 4 and 97 more"),
    ],
)
def test_a_long_list_of_names_is_cut(count: int, text: str) -> None:
    assert join_names([str(number) for number in range(count)]) == text
