"""All kinds of hostile uploads, made by code: no file of them is kept."""

from __future__ import annotations

from typing import Final

from tests.hostile.addresses import addresses
from tests.hostile.forms import forms
from tests.hostile.kinds import Kind
from tests.hostile.metadata import metadata
from tests.hostile.photos import photos
from tests.hostile.requests import requests

CORPUS: Final[tuple[Kind, ...]] = (
    *photos(),
    *metadata(),
    *forms(),
    *requests(),
    *addresses(),
)
