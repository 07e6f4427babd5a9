"""Bundled recipes and recipe files."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from model.training.config import ConfigError, TrainingConfig
from model.training.recipes import read_recipe, recipe_names


def test_the_recipes_are_listed_by_name() -> None:
    assert recipe_names() == [
        "densenet161",
        "densenet161_frozen",
        "lite2",
        "lite2_finish",
    ]


def test_the_frozen_recipe_matches_the_article() -> None:
    recipe = read_recipe("densenet161_frozen")
    assert (recipe.backbone, recipe.freeze_backbone) == ("densenet161", True)
    assert (recipe.optimizer, recipe.scheduler) == ("adadelta", "step")
    assert (recipe.batch_size, recipe.epochs, recipe.model_ema_decay) == (64, 30, 0.0)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_can_be_saved_and_loaded(name: str) -> None:
    recipe = read_recipe(name)
    assert TrainingConfig.from_dict(recipe.to_dict()) == recipe


def test_a_file_sets_only_the_options_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('backbone = "resnet18"\ntrain_data = ["train", "more"]\n', encoding="utf-8")
    recipe, default = read_recipe(str(path)), TrainingConfig()
    assert recipe.train_data == (Path("train"), Path("more"))
    changed = {
        item.name
        for item in fields(recipe)
        if getattr(recipe, item.name) != getattr(default, item.name)
    }
    assert changed == {"backbone", "train_data"}


def test_a_recipe_may_extend_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "lite2"\nepochs = 3\n', encoding="utf-8")
    assert read_recipe(str(path)) == replace(read_recipe("lite2"), epochs=3)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (None, "densenet161_frozen"),  # names the bundled recipes
        ("color = 1", "color"),
        ("lr = -1.0", "--lr"),
        ("lr = ", "mine.toml"),
        ('base = "nothing"', "nothing"),
        ("train_data_weights = [1.0, 2.0]", "--train-data-weights"),
        ("train_data_weights = [0.0]", "--train-data-weights"),
        ("train_data_weights = [inf]", "--train-data-weights"),
        ('epochs = "many"', "--epochs"),
        ("epochs = 1.5", "--epochs"),
        ("epochs = true", "--epochs"),
        ("image_size = 2026-11-30", "--image-size"),
        ("from_scratch = 1", "--from-scratch"),
        ('train_data = "train"', "--train-data"),
        ("hidden_layers = [16, 'x']", "--hidden-layers"),
        ('device = "gpu"', "--device"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path: Path, content: str | None, fragment: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=fragment):
        read_recipe(str(path))
