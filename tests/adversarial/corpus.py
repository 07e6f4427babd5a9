"""All kinds of hostile uploads, made by code: no file of them is kept."""

from __future__ import annotations

from typing import Final

from tests.adversarial.addresses import addresses
from tests.adversarial.forms import forms
from tests.adversarial.kinds import Kind
from tests.adversarial.metadata import metadata
from tests.adversarial.photos import photos
from tests.adversarial.requests import requests

CORPUS: Final[tuple[Kind, ...]] = (
    *photos(),
    *metadata(),
    *forms(),
    *requests(),
    *addresses(),
)
