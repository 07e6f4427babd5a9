"""Where in its photo each of the names was seen.

Classification: photo, predictions, activations -> an overlay for each prediction
"""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from app.context import current_context
from app.http.problems import Code, Problem
from app.inference.pipeline import Classification
from model.imaging.activation_map import overlay


def explain_predictions(classification: Classification) -> Iterator[Image.Image]:
    """Draw the class activation map of each prediction, to be laid over the upright photo.

    Each is drawn when it is asked for.

    Raises:
        Problem: 422, for a model whose head has no such maps.
    """
    metadata = current_context().classifier.metadata
    if classification.activations is None:
        raise Problem(
            Code.EXPLAIN_UNSUPPORTED,
            "The parameter explain is 1, but this model cannot tell where it looked: its head is "
            "not one linear layer on averaged features. Leave the parameter out.",
        )
    index = {item.class_id: number for number, item in enumerate(metadata.classes)}
    for prediction in classification.result.predictions:
        yield overlay(
            classification.activations[index[prediction.class_id]],
            classification.photo.size,
            metadata.transform,
        )
