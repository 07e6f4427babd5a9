"""Log lines at the start."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask

from app.context import context_of
from app.observability.start_log import log_start
from app.photo_limits import MIB
from tests.app.conftest import MakeApp

Start = Any


@pytest.fixture
def start(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that logs the start in a machine of `mib`, and returns the records."""

    def start(app: Flask, mib: int = 64 * 1024) -> list[logging.LogRecord]:
        monkeypatch.setattr("app.observability.start_log.usable_memory", lambda: mib * MIB)
        # The service's own handler writes the lines.
        monkeypatch.setattr(logging.getLogger("app"), "propagate", True)
        caplog.clear()
        log_start(context_of(app), "127.0.0.1:8000")
        return caplog.records

    return start


def test_the_first_line_has_the_device_and_the_limits(make_app: MakeApp, start: Start) -> None:
    app = make_app(device="cpu", max_megapixels=12, max_body_mib=7, max_in_flight=3)
    (line,) = start(app, 4096)
    expected = {
        "backend": "pytorch",
        "device": "cpu",
        "memory_mib": 4096,
        "max_megapixels": 12,
        "max_body_mib": 7,
        "max_in_flight": 3,
    }
    assert expected.items() <= line.fields.items()


def test_limits_that_need_more_memory_are_warned_of(make_app: MakeApp, start: Start) -> None:
    app = make_app(device="cpu", max_megapixels=500)
    _, warning = start(app, 8192)
    assert warning.levelname == "WARNING"
    assert "PETALSCOPE_MAX_MEGAPIXELS" in warning.getMessage()


@pytest.mark.parametrize(("device", "warnings"), [("auto", 1), ("cpu", 0)])
def test_a_missing_gpu_is_warned_of_unless_the_cpu_was_chosen(
    make_app: MakeApp, start: Start, monkeypatch: pytest.MonkeyPatch, device: str, warnings: int
) -> None:
    def fail() -> None:
        raise RuntimeError("Found no NVIDIA driver on your system.")

    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.init", fail)
    _, *others = start(make_app(device=device))
    assert [line.levelname for line in others] == ["WARNING"] * warnings
    for line in others:
        assert "PETALSCOPE_DEVICE" in line.getMessage()
        assert "NVIDIA driver" in line.getMessage()
