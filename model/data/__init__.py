"""Data sets of photos. The default one is DATA/train, DATA/valid and DATA/cat_to_name.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DATA_VARIABLE: Final = "PETALSCOPE_DATA"
NAMES_FILE: Final = "cat_to_name.json"
_DEFAULT_DATA: Final = Path("data/oxford102")


def default_data_folder() -> Path:
    """Return $PETALSCOPE_DATA, or data/oxford102 if it is not set."""
    return Path(os.environ.get(DATA_VARIABLE) or _DEFAULT_DATA)
