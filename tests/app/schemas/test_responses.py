"""Response models, compared with the classes that they are built from."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_type_hints

import pytest
from pydantic import ValidationError

from app import create_app
from app.catalog import flowers as catalog
from app.http.json_body import JsonBody
from app.schemas import responses
from app.settings import Settings
from model import classifier
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import Metadata
from model.ood import OodRule
from tests.fake_checkpoint import save_fake_checkpoint

PARTS: Final = get_type_hints(Metadata)
# Used only at load.
NOT_SENT: Final = {"reference"}


@pytest.mark.parametrize(
    ("source", "body", "extra"),
    [
        (Metadata, responses.ModelMetadata, {"format_version", "checkpoint", "version", "device"}),
        (PARTS["architecture"], responses.Architecture, set()),
        (PARTS["transform"], responses.Transform, set()),
        (OodRule, responses.OodRule, set()),
        (FlowerClass, responses.Label, set()),
        (catalog.Flower, responses.Flower, {"url", "picture"}),
        (catalog.CommonNames, responses.TranslatedFlower, set()),
        (classifier.ClassificationResult, responses.PhotoResult, set()),
        (classifier.OodResult, responses.Ood, set()),
    ],
)
def test_a_response_has_every_field_of_its_source(
    source: Any, body: type[JsonBody], extra: set[str]
) -> None:
    sent = {item.name for item in fields(source)} - NOT_SENT
    assert set(body.model_fields) == sent | extra


def test_model_returns_the_ood_rule(tmp_path: Path) -> None:
    rule = OodRule("max_logit", 5.0, tuple(map(float, range(6))))
    path = save_fake_checkpoint(tmp_path / "fake.safetensors", [0.0] * 6, ood_rule=rule)
    app = create_app(Settings(checkpoint=path, device="cpu"))
    returned = app.test_client().get("/model").get_json()["ood_rule"]
    assert returned == json.loads(json.dumps(vars(rule)))


def test_bodies_cannot_change() -> None:
    label = responses.Label(class_id="18", name="peruvian lily")
    with pytest.raises(ValidationError):
        label.name = "rose"
