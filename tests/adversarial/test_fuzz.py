"""Mutations of valid uploads: 300 by default, 20,000 in `make fuzz`."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.adversarial.attacked_service import AttackedService, assert_problem, memory_of
from tests.adversarial.cases import EITHER
from tests.adversarial.mutations import mutation

MUTATIONS: Final = int(os.environ.get("FUZZ_MUTATIONS", "300"))
SEED: Final = int(os.environ.get("FUZZ_SEED", "0"))
_SENDERS: Final = 4
_BATCH: Final = 100
_MAX_SECONDS: Final = 10
_MAX_GROWTH_MIB: Final = 300


def test_every_mutation_gets_an_allowed_response(service: AttackedService) -> None:
    def send(number: int) -> tuple[float, int, int]:
        started = time.monotonic()
        reply = service.send(mutation(SEED, number))
        seconds = time.monotonic() - started
        assert reply.status in EITHER, (SEED, number, reply)
        assert not reply.leaks_internals, (SEED, number, reply)
        if reply.status != 200:
            assert_problem(reply)
        return seconds, number, reply.status

    outcomes: list[tuple[float, int, int]] = []
    with ThreadPoolExecutor(_SENDERS) as senders:
        for start in range(0, MUTATIONS, _BATCH):
            outcomes += senders.map(send, range(start, min(start + _BATCH, MUTATIONS)))
            service.assert_unharmed()
    seconds, number, _ = max(outcomes)
    accepted = sum(status == 200 for *_, status in outcomes)
    grown = memory_of(service.worker) - service.memory_before
    print(
        f"{len(outcomes)} mutations, {accepted} classified; the slowest, number {number} of "
        f"seed {SEED}, took {seconds:.2f} s; memory grew by {grown} MiB"
    )
    assert seconds < _MAX_SECONDS, (SEED, number)
    assert grown < _MAX_GROWTH_MIB
    # Both outcomes must occur, or the mutations test only one path.
    assert 0 < accepted < len(outcomes)
