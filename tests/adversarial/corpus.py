"""The corpus of adversarial requests. Code generates every one; no files are stored."""

from __future__ import annotations

from typing import Final

from tests.adversarial.cases import Case
from tests.adversarial.image_cases import image_cases
from tests.adversarial.metadata_cases import metadata_cases
from tests.adversarial.multipart_cases import multipart_cases
from tests.adversarial.protocol_cases import protocol_cases
from tests.adversarial.url_cases import url_cases

CORPUS: Final[tuple[Case, ...]] = (
    *image_cases(),
    *metadata_cases(),
    *multipart_cases(),
    *protocol_cases(),
    *url_cases(),
)
