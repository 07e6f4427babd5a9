"""Folders on the local disk and on an object store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.bulk.storage import Location
from tests.object_store import BUCKET, running_object_store

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def object_store() -> Iterator[None]:
    with running_object_store():
        yield


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Return an empty folder, on the local disk and on an object store in turn."""
    if request.param == "local":
        return Location.parse(str(tmp_path / "folder"))
    request.getfixturevalue("object_store")
    return Location.parse(f"s3://{BUCKET}/{next(_NUMBERS)}")
