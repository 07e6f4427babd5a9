"""ONNX export of a checkpoint.

input  images       uint8 (N, H, W, 3), RGB, from the evaluation transform; the graph normalizes
output logits       float32 (N, classes)
output activations  float32 (N, classes, h, w), if the head is linear
metadata_props["petalscope"]  the metadata, as JSON
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx
import torch
from torch import nn

from model.atomic_write import atomic_write
from model.backends.normalization import InputNormalization
from model.backends.reference import reference_input
from model.backends.torch_backend import example_input, map_head, network_reference
from model.checkpoint.metadata import METADATA_KEY, Metadata
from model.imaging.transforms import EvaluationTransform

INPUT: Final = "images"
_OPSET: Final = 17  # read by ONNX Runtime since 1.12, on phones too


def export(network: nn.Module, metadata: Metadata, path: Path) -> None:
    """Write a network as an ONNX file, atomically.

    Args:
        network: Network of `checkpoint.format.load_checkpoint`, on the CPU in evaluation mode.
        metadata: Its metadata; the reference is computed if missing.
        path: File to write; missing folders are created.

    Raises:
        NotANumberError: The network's logits are not finite.
        OSError: The file cannot be written.
    """
    transform = metadata.transform
    if metadata.reference is None:
        metadata = replace(metadata, reference=network_reference(network, transform))
    head = map_head(network, example_input(transform.crop))
    names = ["logits"] if head is None else ["logits", "activations"]
    exported = _Graph(network, head, transform).eval()
    example = torch.from_numpy(reference_input(transform))
    with torch.inference_mode():
        outputs = exported(example)
    with atomic_write(path) as temporary:
        with warnings.catch_warnings():
            # The tracing exporter is deprecated, but writes a plain graph without more packages.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                exported,
                (example,),
                str(temporary),
                input_names=[INPUT],
                output_names=names,
                dynamic_axes={name: {0: "n"} for name in (INPUT, *names)},
                opset_version=_OPSET,
                dynamo=False,
            )
        model = onnx.load(str(temporary))
        for described, output in zip(model.graph.output, outputs, strict=True):
            # Tracing gives names instead of lengths to the axes of the maps.
            lengths = described.type.tensor_type.shape.dim[1:]
            for length, known in zip(lengths, output.shape[1:], strict=True):
                length.dim_value = known
        onnx.checker.check_model(model)
        onnx.save(model, str(temporary))
        write_metadata(temporary, metadata)


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Replace the metadata of an ONNX file.

    Args:
        path: The file.
        metadata: The new metadata.

    Raises:
        OSError: The file cannot be written.
    """
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_text()})
    onnx.save(model, str(path))


class _Graph(nn.Module):
    """A network from pixels to logits and, if it has a head for them, class activation maps."""

    def __init__(
        self, network: nn.Module, head: nn.Linear | None, transform: EvaluationTransform
    ) -> None:
        super().__init__()
        self._normalize = InputNormalization(transform)
        self._network = network
        self._head = head

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images = self._normalize(pixels)
        if self._head is None:
            return (self._network(images),)
        features = self._network.forward_features(images)  # type: ignore[operator]
        logits = self._network.forward_head(features)  # type: ignore[operator]
        kernel = self._head.weight[:, :, None, None]
        return logits, nn.functional.conv2d(features, kernel)
