"""Fixture of the service under attack: gunicorn and the bundled checkpoint on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversarial.attacked_service import AttackedService
from tests.serving import serving

SETTINGS = {"PETALSCOPE_MODEL_THREADS": "1"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedService]:
    with serving(tmp_path_factory.mktemp("adversarial"), **SETTINGS) as server:
        service = AttackedService(server)
        yield service
        # Here and not in a last test, because each worker that runs these tests has a service.
        service.assert_healthy()
