"""Class activation overlays for the predictions of a photo."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from app.context import current_context
from app.http.problems import Code, Problem
from app.inference.pipeline import Classification
from model.imaging.activation_map import overlay


def explain_predictions(classification: Classification) -> Iterator[Image.Image]:
    """Yield the class activation map of each prediction, as an overlay for the upright photo.

    Raises:
        Problem: 422 if the model has no class activation maps.
    """
    metadata = current_context().classifier.metadata
    if classification.activations is None:
        raise Problem(
            Code.EXPLAIN_UNSUPPORTED,
            "This model has no class activation maps, because its head is not one linear layer on "
            "averaged features. Remove the parameter explain.",
        )
    index = {item.class_id: number for number, item in enumerate(metadata.classes)}
    for prediction in classification.result.predictions:
        yield overlay(
            classification.activations[index[prediction.class_id]],
            classification.photo.size,
            metadata.transform,
        )
