"""Responses of a running service to every adversarial case, with valid photos in between."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from tests.adversarial.attacked_service import AttackedService, assert_allowed_response
from tests.adversarial.cases import Case
from tests.adversarial.corpus import CORPUS

# A valid photo takes as long as three invalid ones.
_CASES_PER_CHECK: Final = 12


@pytest.fixture(scope="module")
def sent() -> Iterator[int]:
    return count(1)


def test_the_corpus_has_at_least_200_cases_with_unique_names() -> None:
    assert len({case.name for case in CORPUS}) == len(CORPUS) >= 200


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_every_case_gets_an_allowed_response(
    service: AttackedService, sent: Iterator[int], case: Case
) -> None:
    # gunicorn may wait for the rest of an incomplete request.
    reply = service.send(case.request(), may_be_incomplete=case.html_allowed)
    assert_allowed_response(case, reply)
    if next(sent) % _CASES_PER_CHECK == 0:
        service.assert_unharmed()
