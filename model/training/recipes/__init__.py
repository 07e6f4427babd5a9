"""Recipes: options of a training that are known to work, as data; one TOML file each.

    NAME -> NAME.toml -> TrainingConfig, its other options at their defaults

A key is the name of an option of `TrainingConfig`; a comment says why it has its value. With the
key `base`, a recipe is another one, by name, but for what it sets itself.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from model.training.config import ConfigError, TrainingConfig

_SUFFIX = ".toml"


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the project."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def read_recipe(name: str) -> TrainingConfig:
    """Read a recipe of the project by its name, or any TOML file by its path.

    Raises:
        ConfigError: There is no such recipe, it cannot be read, or an option in it is unknown or
            out of its range.
    """
    try:
        return TrainingConfig.from_dict(_values(name))
    except (FileNotFoundError, IsADirectoryError):
        known = ", ".join(recipe_names())
        raise ConfigError(
            f"There is no recipe {name!r}; give {known}, or the path of a TOML file."
        ) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"The recipe {name} cannot be used: {error}.") from error


def _values(name: str) -> dict[str, Any]:
    known = resources.files(__name__) / f"{name}{_SUFFIX}"
    source = known if name in recipe_names() else Path(name)
    values = tomllib.loads(source.read_text(encoding="utf-8"))
    base = values.pop("base", None)
    return values if base is None else {**_values(str(base)), **values}
