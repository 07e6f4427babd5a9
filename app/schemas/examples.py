"""Examples of the response models, for the OpenAPI document."""

from __future__ import annotations

from typing import Final

from app.schemas.responses import (
    Architecture,
    ClassificationResult,
    Flower,
    Flowers,
    Label,
    Labels,
    Model,
    ModelMetadata,
    Ood,
    OodRule,
    Prediction,
    ServiceInfo,
    Status,
    Transform,
    TranslatedFlower,
    TranslatedName,
)

REQUEST_ID: Final = "0f5a3c1e9b7d4286a1c0e4d2b3f59687"
_CHECKPOINT: Final = "tf_efficientnet_lite2.onnx"
_BACKBONE: Final = "tf_efficientnet_lite2"
_VERSION: Final = "0123456789ab"
_CLASSES: Final = (
    Label(class_id="18", name="peruvian lily"),
    Label(class_id="6", name="tiger lily"),
)

SERVICE_INFO: Final = ServiceInfo(
    name="Petalscope",
    version="0.1.0",
    links={"predict": "/predict", "openapi": "/openapi.json"},
)
CLASSIFICATION_RESULT: Final = ClassificationResult(
    predictions=(
        Prediction(
            class_id="18",
            name="peruvian lily",
            display_name="Peruvian lily",
            translations={"de": TranslatedName(display_name="Inkalilie")},
            probability=0.97,
            scientific_name="Alstroemeria",
            url="/flowers/18-peruvian-lily",
        ),
        Prediction(
            class_id="6",
            name="tiger lily",
            display_name="Tiger lily",
            translations={"de": TranslatedName(display_name="Tigerlilie")},
            probability=0.02,
            scientific_name="Lilium lancifolium",
            url="/flowers/6-tiger-lily",
        ),
    ),
    verdict="known",
    ood=Ood(score=11.2, threshold=7.5, is_known=True),
    model=Model(architecture=_BACKBONE, checkpoint=_CHECKPOINT, version=_VERSION),
    request_id=REQUEST_ID,
)
LABELS: Final = Labels(labels=_CLASSES)
FLOWER: Final = Flower(
    class_id="18",
    name="peruvian lily",
    display_name="Peruvian lily",
    scientific_name="Alstroemeria",
    rank="genus",
    family="Alstroemeriaceae",
    synonyms=(),
    other_names=("lily of the Incas", "alstroemeria"),
    note="A name for the whole genus and its garden hybrids.",
    translations={
        "de": TranslatedFlower(
            display_name="Inkalilie",
            other_names=("Alstroemerie",),
            note="Ein Name für die ganze Gattung und ihre Gartenhybriden.",
        )
    },
    url="/flowers/18-peruvian-lily",
)
FLOWERS: Final = Flowers(flowers=(FLOWER,), sources={"names": "Nilsback and Zisserman (2008)."})
MODEL_METADATA: Final = ModelMetadata(
    format_version=2,
    architecture=Architecture(backbone=_BACKBONE, num_classes=2, hidden_layers=(), dropout=0),
    classes=_CLASSES,
    transform=Transform(
        resize=288,
        crop=288,
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    temperature=0.9,
    training={"epochs": 18},
    metrics={"valid": {"n": 818, "top1": 0.98}},
    versions={"torch": "2.14.0"},
    revision="0123456",
    created="2026-11-24T12:00:00+00:00",
    ood_rule=OodRule(score="max_logit", threshold=7.5, logit_adjustment=(), known_probability=0.7),
    checkpoint=_CHECKPOINT,
    version=_VERSION,
    device="cpu",
)
ALIVE: Final = Status(status="alive")
READY: Final = Status(status="ready")
