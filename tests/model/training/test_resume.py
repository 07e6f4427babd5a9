"""Signals that interrupt a run."""

from __future__ import annotations

import signal

import pytest

from model.training.resume import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_launcher_repeats_is_one_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert interrupt.requested
    assert signal.getsignal(number) is before


def test_a_later_signal_has_its_default_effect() -> None:
    with Interrupt(grace=0) as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
