"""Recipes: tested sets of training options, one TOML file each.

A key is a field of `TrainingConfig`; missing keys keep their defaults. The key `base` names another
recipe whose values this one overrides.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from model.training.config import ConfigError, TrainingConfig

_SUFFIX = ".toml"


def recipe_names() -> list[str]:
    """Return the names of the bundled recipes, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def read_recipe(name: str) -> TrainingConfig:
    """Read a bundled recipe by name, or any TOML file by path.

    Raises:
        ConfigError: The recipe does not exist, is unreadable, or has an unknown option or a value
            of the wrong type or range.
    """
    try:
        values = _values(name)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"The recipe {name} is invalid: {error}.") from error
    try:
        return TrainingConfig.from_dict(values)
    except ConfigError as error:
        # The error names the option; the recipe's name says where to fix it.
        raise ConfigError(f"Recipe {name}: {error}") from error


def _values(name: str) -> dict[str, Any]:
    bundled = recipe_names()
    source = resources.files(__name__) / f"{name}{_SUFFIX}" if name in bundled else Path(name)
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            f"There is no recipe {name!r}; use {', '.join(bundled)}, or the path of a TOML file."
        ) from None
    base = values.pop("base", None)
    return values if base is None else {**_values(str(base)), **values}
