"""Accuracy of the running service with the bundled checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import serving

PHOTOS = 100
MIN_CORRECT = 95


@pytest.mark.slow
@pytest.mark.data
def test_the_service_names_real_photos_correctly(data_dir: Path, tmp_path: Path) -> None:
    photos = sorted((data_dir / "valid").glob("*/*"))
    chosen = photos[:: len(photos) // PHOTOS][:PHOTOS]
    assert len(chosen) == PHOTOS
    correct = 0
    with serving(tmp_path, PETALSCOPE_DEVICE="auto") as server:
        for path in chosen:
            status, result = server.post(path.read_bytes())
            assert status == 200, (path, result)
            correct += result["predictions"][0]["class_id"] == path.parent.name
    assert correct >= MIN_CORRECT
