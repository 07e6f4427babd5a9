"""Each kind of hostile upload, sent to the real service, with good photos in between."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from tests.adversarial.corpus import CORPUS
from tests.adversarial.kinds import Kind
from tests.adversarial.service import HostileService, assert_answered_as_allowed, memory_of

# A good photo costs as much as three bad ones: one is sent after every few.
_EVERY: Final = 12
# The largest photo here takes less while it is decoded, and what it took may stay with the
# allocator; 600 kinds that kept a megabyte each would be far above.
_MOST_GROWTH_MIB: Final = 300


@pytest.fixture(scope="module")
def turns() -> Iterator[int]:
    return count(1)


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len({kind.name for kind in CORPUS}) == len(CORPUS) >= 200


@pytest.mark.parametrize("kind", CORPUS, ids=lambda kind: kind.name)
def test_each_kind_is_answered_as_it_may_be(
    service: HostileService, turns: Iterator[int], kind: Kind
) -> None:
    # Where gunicorn may answer itself, the request may lack what it waits for.
    reply = service.send(kind.request(), cut_short=kind.as_page)
    assert_answered_as_allowed(kind, reply)
    if next(turns) % _EVERY == 0:
        service.assert_unharmed()


def test_the_service_is_unharmed_after_all(service: HostileService) -> None:
    service.assert_unharmed()
    grown = memory_of(service.worker) - service.memory_before
    print(f"memory grew by {grown} MiB, from {service.memory_before} MiB")
    assert grown < _MOST_GROWTH_MIB
    assert "Traceback" not in service.server.complaints
    assert {line["level"] for line in service.server.log} == {"info"}
