"""Links to searches for a flower on Wikipedia and GBIF."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from app.web.translations import text

_ENGLISH_WIKIPEDIA: Final = "https://en.wikipedia.org/w/index.php"
_GBIF: Final = "https://www.gbif.org/species/search"


def wikipedia(scientific_name: str | None, name: str) -> str:
    """Return the URL of a Wikipedia search; common names are searched in English."""
    # Common names in the data set are English.
    site = text("language.wikipedia") if scientific_name else _ENGLISH_WIKIPEDIA
    return f"{site}?{urlencode({'search': scientific_name or name})}"


def gbif(scientific_name: str) -> str:
    """Return the URL of a GBIF search, without the cultivar, which GBIF does not index."""
    taxon = scientific_name.partition(" '")[0]
    return f"{_GBIF}?{urlencode({'q': taxon})}"
