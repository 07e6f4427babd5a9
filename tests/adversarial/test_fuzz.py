"""Mutations of valid uploads: some hundred here, 20,000 by `make soak`."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.adversarial.fuzz import mutation
from tests.adversarial.kinds import EITHER
from tests.adversarial.service import HostileService, assert_problem, memory_of

MUTATIONS: Final = int(os.environ.get("HOSTILE_MUTATIONS", "300"))
SEED: Final = int(os.environ.get("HOSTILE_SEED", "0"))
_SENDERS: Final = 4
_BATCH: Final = 100
_MOST_SECONDS: Final = 10
_MOST_GROWTH_MIB: Final = 300


def test_no_mutation_of_an_upload_does_harm(service: HostileService) -> None:
    def send(number: int) -> tuple[float, int, int]:
        started = time.monotonic()
        reply = service.send(mutation(SEED, number))
        seconds = time.monotonic() - started
        assert reply.status in EITHER, (SEED, number, reply)
        assert not reply.shows_the_inside, (SEED, number, reply)
        if reply.status != 200:
            assert_problem(reply)
        return seconds, number, reply.status

    answers: list[tuple[float, int, int]] = []
    with ThreadPoolExecutor(_SENDERS) as senders:
        for start in range(0, MUTATIONS, _BATCH):
            answers += senders.map(send, range(start, min(start + _BATCH, MUTATIONS)))
            service.assert_unharmed()
    seconds, number, _ = max(answers)
    taken = sum(status == 200 for *_, status in answers)
    grown = memory_of(service.worker) - service.memory_before
    print(
        f"{len(answers)} mutations, {taken} answered with names; the slowest, number {number} of "
        f"seed {SEED}, took {seconds:.2f} s; memory grew by {grown} MiB"
    )
    assert seconds < _MOST_SECONDS, (SEED, number)
    assert grown < _MOST_GROWTH_MIB
    # Else the mutator would only be testing one of the two ways.
    assert 0 < taken < len(answers)
