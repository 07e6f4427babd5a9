"""Real photos through the running service, named by the bundled checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import serving

PHOTOS = 100
AT_LEAST = 95


@pytest.mark.slow
@pytest.mark.data
def test_the_bundled_model_names_real_photos_through_the_running_service(
    data_dir: Path, tmp_path: Path
) -> None:
    photos = sorted((data_dir / "valid").glob("*/*"))
    chosen = photos[:: len(photos) // PHOTOS][:PHOTOS]
    assert len(chosen) == PHOTOS
    right = 0
    with serving(tmp_path) as server:
        for path in chosen:
            status, answer = server.post(path.read_bytes())
            assert status == 200, (path, answer)
            right += answer["predictions"][0]["class_id"] == path.parent.name
    assert right >= AT_LEAST
