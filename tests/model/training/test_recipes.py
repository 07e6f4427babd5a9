"""Recipes come with the project, and say no more than training understands."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from model.training.config import ConfigError, TrainingConfig
from model.training.recipes import read_recipe, recipe_names


def test_the_recipes_are_there() -> None:
    known = "afield, article, bundled, densenet161, dusk, everyday, finish, meadow, oxford"
    assert ", ".join(recipe_names()) == known
    assert read_recipe("bundled").backbone == "tf_efficientnet_lite2"
    assert read_recipe("densenet161").backbone == "densenet161"


def test_the_article_is_as_it_was() -> None:
    article = read_recipe("article")
    said = (article.backbone, article.freeze_backbone, article.optimizer, article.scheduler)
    assert said == ("densenet161", True, "adadelta", "step")
    assert (article.batch_size, article.epochs, article.average_decay) == (64, 30, 0.0)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_the_run_folder(name: str) -> None:
    recipe = read_recipe(name)
    assert TrainingConfig.from_dict(recipe.to_dict()) == recipe


def test_a_file_of_ones_own_sets_what_it_names(tmp_path: Path) -> None:
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


def test_a_recipe_may_change_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "article"\nepochs = 3\n', encoding="utf-8")
    assert read_recipe(str(path)) == replace(read_recipe("article"), epochs=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            "There is no recipe .*afield, article, bundled, densenet161, dusk, everyday, finish",
        ),
        ("colour = 1", "unknown options: colour"),
        ("lr = -1.0", "--lr is -1.0; it must be above 0"),
        ("lr = ", "cannot be used"),
        ('base = "nothing"', "no recipe"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_recipe(str(path))
