"""Where to read on about a flower.

scientific name or common name -> the addresses of searches at Wikipedia and GBIF
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from app.web.translations import text

_ENGLISH_WIKIPEDIA: Final = "https://en.wikipedia.org/w/index.php"
_GBIF: Final = "https://www.gbif.org/species/search"


def wikipedia(scientific_name: str | None, name: str) -> str:
    """Return where Wikipedia looks for a flower: in the reader's language by a scientific name."""
    # The data set's names are English.
    site = text("language.wikipedia") if scientific_name else _ENGLISH_WIKIPEDIA
    return f"{site}?{urlencode({'search': scientific_name or name})}"


def gbif(scientific_name: str) -> str:
    """Return where GBIF looks for a taxon; it knows none of cultivars."""
    taxon = scientific_name.partition(" '")[0]
    return f"{_GBIF}?{urlencode({'q': taxon})}"
