"""Checkpoints: safetensors files with the weights and the metadata of a network.

The metadata is one JSON object under the key "petalscope" of the header; `read_metadata` reads it
without the weights. Nothing is pickled, because unpickling can execute code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from torch import nn

from model.atomic_write import atomic_write
from model.backbones import BackboneError, build_network
from model.backends.torch_backend import network_reference
from model.checkpoint.metadata import (
    JSON_DAMAGE,
    METADATA_KEY,
    CheckpointNotFoundError,
    Metadata,
    MismatchedWeightsError,
    NotACheckpointError,
    NotANumberError,
    TruncatedCheckpointError,
    UnknownArchitectureError,
    check_file,
    parse_metadata,
)

_LARGEST_HEADER: Final = 100_000_000  # as the safetensors format limits it


def save_checkpoint(
    path: Path,
    weights: Mapping[str, torch.Tensor],
    metadata: Metadata,
    *,
    half_precision: bool = False,
) -> None:
    """Write a checkpoint atomically, with the reference logits of its weights.

    Args:
        path: File to write; missing folders are created.
        weights: The network's state dict, on any device.
        metadata: The network's metadata; any reference is replaced.
        half_precision: Store matrices and kernels as float16, half the size. Vectors (biases,
            batch statistics) stay float32: some variances are too small for float16.

    Raises:
        NotANumberError: The network computes logits that are not finite.
        OSError: The file cannot be written.
    """
    tensors = {name: _stored(tensor, half_precision) for name, tensor in weights.items()}
    # Training must not continue with other random numbers because it saved a checkpoint.
    with torch.random.fork_rng(devices=[]):
        network = build_network(metadata.architecture).eval()
    network.load_state_dict(_float32(tensors))
    reference = network_reference(network, metadata.transform)
    header = {METADATA_KEY: replace(metadata, reference=reference).to_text()}
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=header)


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of a checkpoint without its weights.

    Args:
        path: A .safetensors file.

    Raises:
        CheckpointError: The header or the metadata are invalid; the subclass names the cause.
    """
    text = _read_header(path)
    if text is None:
        raise NotACheckpointError(
            f"{path} is a safetensors file without Petalscope's metadata, so its classes are "
            "unknown; bare weights can start a training (--pretrained-path) but cannot be served."
        )
    return parse_metadata(text, path)


def load_checkpoint(path: Path) -> tuple[nn.Module, Metadata]:
    """Rebuild a checkpoint's network on the CPU, in float32 and evaluation mode.

    Args:
        path: A .safetensors file.

    Returns:
        The network and its metadata.

    Raises:
        CheckpointError: The file cannot be used; the subclass names the cause.
    """
    metadata = read_metadata(path)
    try:
        stored = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise NotACheckpointError(f"The weights in {path} are damaged.") from error
    weights = _float32(stored)
    widths = (*metadata.architecture.hidden_layers, metadata.architecture.num_classes)
    if sum(map(math.prod, pairwise(widths))) > sum(map(torch.numel, weights.values())):
        # Checked before building, which would allocate these layers.
        raise MismatchedWeightsError(f"{path} holds fewer weights than its hidden layers have.")
    try:
        network = build_network(metadata.architecture)
    except BackboneError as error:
        raise UnknownArchitectureError(f"{path} cannot be rebuilt: {error}") from error
    except RuntimeError as error:
        # PyTorch raises it if memory runs out.
        raise UnknownArchitectureError(
            f"{path} cannot be rebuilt: its layers are too large for this machine."
        ) from error
    if (difference := _first_difference(network.state_dict(), weights)) is not None:
        raise MismatchedWeightsError(
            f"The weights in {path} are not those of {metadata.architecture.backbone} "
            f"with its head: {difference}."
        )
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise NotANumberError(
                f"{name} in {path} holds values that are infinite or not numbers; "
                "the training that wrote it diverged, or the file is damaged."
            )
    network.load_state_dict(weights)
    return network.eval(), metadata


def _stored(tensor: torch.Tensor, half_precision: bool) -> torch.Tensor:
    if half_precision and tensor.is_floating_point() and tensor.dim() > 1:
        tensor = tensor.half()
    # A clone, because safetensors refuses tensors that share memory, such as tied weights.
    return tensor.detach().cpu().contiguous().clone()


def _float32(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def _read_header(path: Path) -> str | None:
    """Check the header of a safetensors file; return Petalscope's metadata text, or None."""
    check_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise NotACheckpointError(f"{path} is not a safetensors file.")
            content = file.read(length)
    except OSError as error:
        raise CheckpointNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) < length and content[:1] in (b"", b"{"):
        raise TruncatedCheckpointError(f"{path} is truncated: it ends inside its header.")
    try:
        header = json.loads(content)
        text: str | None = header.pop("__metadata__", {}).get(METADATA_KEY)
        expected = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except JSON_DAMAGE:
        raise NotACheckpointError(f"{path} is not a safetensors file.") from None
    if (held := size - 8 - length) < expected:
        raise TruncatedCheckpointError(
            f"{path} is truncated: it should hold {expected:,} bytes of weights and holds {held:,}."
        )
    return text


def _first_difference(
    expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
) -> str | None:
    for name, tensor in expected.items():
        if name not in weights:
            return f"{name} is missing"
        if weights[name].shape != tensor.shape:
            return f"{name} has shape {_shape(weights[name])}, not {_shape(tensor)}"
    extra = sorted(weights.keys() - expected.keys())
    return f"{extra[0]} is not among them" if extra else None


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(str(length) for length in tensor.shape)
