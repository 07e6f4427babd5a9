"""One service for all hostile tests, as it is run: gunicorn and the bundled checkpoint on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversarial.service import HostileService
from tests.serving import serving

SETTINGS = {"PETALSCOPE_DEVICE": "cpu", "PETALSCOPE_MODEL_THREADS": "1"}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileService]:
    with serving(tmp_path_factory.mktemp("hostile"), **SETTINGS) as server:
        yield HostileService(server)
