"""Conversion of flowers to the response models."""

from __future__ import annotations

import pytest
from flask import Flask

from app.catalog.flowers import describe_class
from app.http.api_version import api_url
from app.schemas.serialization import serialize_flower, serialize_prediction
from model.checkpoint.labels import FlowerClass

MAP = "data:image/png;base64,AA=="


@pytest.mark.parametrize("class_id", ["18", "wild_rose", "o'keefe", "crème & co", "50%", "a?b#c"])
def test_a_flower_has_the_url_of_its_page(app: Flask, class_id: str) -> None:
    item = FlowerClass(class_id, "peruvian lily")
    with app.test_request_context("/v1/predict"):
        flower = describe_class(item)
        url = api_url("flowers.flower", slug=flower.slug)
        assert serialize_flower(flower).url == url
        assert serialize_prediction(item, 0.5).url == url


def test_predictions_of_one_class_differ_in_their_probability(app: Flask) -> None:
    item = FlowerClass("18", "peruvian lily")
    with app.test_request_context("/predict"):
        one, other = serialize_prediction(item, 0.25), serialize_prediction(item, 0.5, MAP)
    assert (one.probability, one.activation_map) == (0.25, None)
    assert (other.probability, other.activation_map) == (0.5, MAP)
    assert one.translations == other.translations != {}


def test_a_class_with_another_name_is_not_that_of_the_catalog(app: Flask) -> None:
    with app.test_request_context("/predict"):
        known = serialize_prediction(FlowerClass("18", "peruvian lily"), 0.5)
        own = serialize_prediction(FlowerClass("18", "my lily"), 0.5)
    assert known.scientific_name is not None
    assert (own.name, own.scientific_name, own.toxicity) == ("my lily", None, None)
