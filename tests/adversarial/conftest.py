"""The service under attack: gunicorn and the bundled checkpoint on a CPU, once per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversarial.attacked_service import AttackedService
from tests.serving import serving

SETTINGS = {"PETALSCOPE_DEVICE": "cpu", "PETALSCOPE_MODEL_THREADS": "1"}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedService]:
    with serving(tmp_path_factory.mktemp("adversarial"), **SETTINGS) as server:
        yield AttackedService(server)
