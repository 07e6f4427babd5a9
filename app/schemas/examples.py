"""Examples of the responses, for the OpenAPI document.

They name classes of the served model, so that the document of a service for other flowers does not
show those of the bundled model.
"""

from __future__ import annotations

from typing import Final

from app.catalog.flowers import describe_class
from app.context import AppContext
from app.schemas import responses
from app.schemas.serialization import (
    serialize_flower,
    serialize_flowers,
    serialize_labels,
    serialize_model,
    serialize_prediction,
)
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import FORMAT_VERSION

REQUEST_ID: Final = "0f5a3c1e9b7d4286a1c0e4d2b3f59687"
_PROBABILITIES: Final = (0.97, 0.02)

SERVICE_INFO: Final = responses.ServiceInfo(
    name="Petalscope",
    version="0.1.0",
    links={"predict": "/predict", "openapi": "/openapi.json"},
)
FEEDBACK_RECEIPT: Final = responses.FeedbackReceipt(
    deletion_code="3f9c0a7be21d64588c05", has_photo=True
)
ALIVE: Final = responses.Status(status="alive")
READY: Final = responses.Status(status="ready")


def classification_result(service: AppContext) -> responses.ClassificationResult:
    """Return a result with the first classes of the model."""
    return responses.ClassificationResult(
        predictions=tuple(
            serialize_prediction(item, probability)
            for item, probability in zip(_classes(service), _PROBABILITIES, strict=False)
        ),
        verdict="known",
        ood=responses.Ood(score=11.2, threshold=7.5, is_known=True),
        model=serialize_model(service),
        request_id=REQUEST_ID,
    )


def labels(service: AppContext) -> responses.Labels:
    """Return the first classes of the model."""
    return responses.Labels(labels=serialize_labels(_classes(service)))


def slug(service: AppContext) -> str:
    """Return the last part of the URL of the model's first class."""
    return describe_class(_classes(service)[0]).slug


def flower(service: AppContext) -> responses.Flower:
    """Return the catalog entry of the model's first class."""
    return serialize_flower(describe_class(_classes(service)[0]))


def flowers(service: AppContext) -> responses.Flowers:
    """Return a list of the model's first class."""
    return serialize_flowers([describe_class(_classes(service)[0])])


def model_metadata(service: AppContext) -> responses.ModelMetadata:
    """Return metadata with the first classes of the model."""
    classes, model = _classes(service), service.model
    return responses.ModelMetadata(
        format_version=FORMAT_VERSION,
        architecture=responses.Architecture(
            backbone=model["architecture"],
            num_classes=len(classes),
            hidden_layers=(),
            dropout=0,
        ),
        classes=serialize_labels(classes),
        transform=responses.Transform(
            resize=288,
            crop=288,
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        temperature=0.9,
        training={"epochs": 18},
        metrics={"valid": {"n": 400, "top1": 0.98}},
        versions={"torch": "2.14.0"},
        revision="0123456",
        created="2026-11-24T12:00:00+00:00",
        ood_rule=responses.OodRule(
            score="max_logit", threshold=7.5, logit_adjustment=(), known_probability=0.7
        ),
        checkpoint=model["checkpoint"],
        version=model["version"],
        device="cpu",
    )


def _classes(service: AppContext) -> tuple[FlowerClass, ...]:
    return service.classifier.metadata.classes[: len(_PROBABILITIES)]
