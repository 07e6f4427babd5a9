"""Checkpoint files: saving, loading and damage."""

from __future__ import annotations

import dataclasses
import errno
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import model.checkpoint.format
from model.backbones import build_network, data_transform
from model.checkpoint.format import load_checkpoint, read_metadata, save_checkpoint
from model.checkpoint.labels import FlowerClass
from model.checkpoint.metadata import (
    FORMAT_VERSION,
    Architecture,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointVersionError,
    Metadata,
    MismatchedClassesError,
    MismatchedWeightsError,
    NotACheckpointError,
    NotANumberError,
    TruncatedCheckpointError,
    UnknownArchitectureError,
)
from model.ood import DEFAULT_KNOWN_PROBABILITY
from tests.conftest import TINY_CLASSES


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(7)
    return build_network(Architecture("test_efficientnet", len(TINY_CLASSES), (32, 16), 0.25))


@pytest.fixture(scope="module")
def metadata(network: nn.Module) -> Metadata:
    return Metadata(
        architecture=Architecture("test_efficientnet", len(TINY_CLASSES), (32, 16), 0.25),
        classes=TINY_CLASSES,
        transform=data_transform(network),
        temperature=1.4142135623730951,
        training={"lr": 1e-3, "optimizer": "adamw", "hidden_layers": [32, 16], "resume": None},
        metrics={"valid": {"n": 818, "top1": 0.985, "loss": 0.061}},
        versions={"torch": "2.14.1", "timm": "1.0.31"},
        revision="0123456789abcdef, with changes",
        created="2026-05-01T12:00:00+00:00",
    )


@pytest.fixture
def checkpoint(tmp_path: Path, network: nn.Module, metadata: Metadata) -> Path:
    path = tmp_path / "flowers.safetensors"
    save_checkpoint(path, network.state_dict(), metadata)
    return path


def change_metadata(path: Path, **changes: Any) -> None:
    """Change top-level values of the metadata; None removes a value."""
    with safetensors.safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["petalscope"])
    for name, value in changes.items():
        values[name] = value
        if value is None:
            del values[name]
    with_metadata(path, json.dumps(values))


def with_metadata(path: Path, text: str) -> None:
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, metadata={"petalscope": text})


def with_header(path: Path, text: str) -> None:
    """Write a file with this header and a few bytes of weights."""
    header = text.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))


def test_weights_and_metadata_are_loaded_bit_by_bit(
    checkpoint: Path, network: nn.Module, metadata: Metadata
) -> None:
    loaded, read = load_checkpoint(checkpoint)
    assert read == metadata
    assert read_metadata(checkpoint) == metadata
    before, after = network.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not loaded.training


def test_minimal_metadata_are_loaded_unchanged(
    tmp_path: Path, network: nn.Module, metadata: Metadata
) -> None:
    path = tmp_path / "minimal.safetensors"
    minimal = Metadata(metadata.architecture, metadata.classes, metadata.transform)
    save_checkpoint(path, network.state_dict(), minimal)
    assert load_checkpoint(path)[1] == minimal


def test_classes_keep_their_order_and_names(tmp_path: Path) -> None:
    # Sorted as text, like folders: class 21 has index 4.
    ids = sorted(["1", "2", "10", "21", "100"])
    classes = tuple(FlowerClass(class_id, f"flower {class_id} – «é»") for class_id in ids)
    architecture = Architecture("test_efficientnet", len(classes))
    small = build_network(architecture)
    path = tmp_path / "ordered.safetensors"
    save_checkpoint(
        path, small.state_dict(), Metadata(architecture, classes, data_transform(small))
    )
    loaded = load_checkpoint(path)[1].classes
    assert [flower.class_id for flower in loaded] == ["1", "10", "100", "2", "21"]
    assert loaded == classes


def test_the_metadata_are_a_json_object_with_a_version(checkpoint: Path) -> None:
    with safetensors.safe_open(checkpoint, "pt") as file:
        values = json.loads(file.metadata()["petalscope"])
    assert values["format_version"] == FORMAT_VERSION == 2
    assert values["classes"][4] == {"class_id": "21", "name": "fire lily"}


def test_half_precision_halves_the_file_and_keeps_the_logits(
    tmp_path: Path, network: nn.Module, metadata: Metadata
) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(whole, network.state_dict(), metadata)
    save_checkpoint(half, network.state_dict(), metadata, half_precision=True)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    for tensor in safetensors.torch.load_file(half).values():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float16 if tensor.dim() > 1 else torch.float32)
    loaded, _ = load_checkpoint(half)
    before, after = network.state_dict(), loaded.state_dict()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-6)
    images = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network.eval()(images), rtol=0, atol=0.01)


def test_tensors_of_any_layout_and_shared_ones_are_stored(
    tmp_path: Path, network: nn.Module, metadata: Metadata
) -> None:
    path = tmp_path / "layout.safetensors"
    weights = dict(network.state_dict())
    stem = weights["conv_stem.weight"]
    weights["conv_stem.weight"] = nn.Parameter(stem.to(memory_format=torch.channels_last))
    tied = next(name for name in weights if name.endswith("running_mean"))
    weights[tied.replace("mean", "var")] = weights[tied]
    save_checkpoint(path, weights, metadata)
    stored = safetensors.torch.load_file(path)
    assert torch.equal(stored["conv_stem.weight"], stem)
    assert torch.equal(stored[tied], stored[tied.replace("mean", "var")])


@pytest.mark.cuda
def test_weights_on_a_gpu_load_on_a_cpu(
    tmp_path: Path, network: nn.Module, metadata: Metadata
) -> None:
    path = tmp_path / "gpu.safetensors"
    weights = {name: tensor.cuda() for name, tensor in network.state_dict().items()}
    save_checkpoint(path, weights, metadata)
    loaded = load_checkpoint(path)[0].state_dict()
    assert all(torch.equal(loaded[name], weights[name].cpu()) for name in weights)
    assert {tensor.device.type for tensor in loaded.values()} == {"cpu"}


def test_a_failure_while_writing_leaves_only_the_old_file(
    checkpoint: Path, network: nn.Module, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(tensors: Any, path: Path, **options: Any) -> None:
        Path(path).write_bytes(b"half a fi")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = checkpoint.read_bytes()
    monkeypatch.setattr(safetensors.torch, "save_file", fill_the_disk)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - identified by its errno
        save_checkpoint(checkpoint, network.state_dict(), metadata)
    assert caught.value.errno == errno.ENOSPC
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_metadata_that_json_cannot_represent_keep_the_old_file(
    checkpoint: Path, network: nn.Module, metadata: Metadata
) -> None:
    before = checkpoint.read_bytes()
    wrong = dataclasses.replace(metadata, training={"data": object()})
    with pytest.raises(TypeError):
        save_checkpoint(checkpoint, network.state_dict(), wrong)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_metadata_are_read_without_the_weights(
    checkpoint: Path, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_weights(checkpoint, {"ballast": torch.zeros(20_000_000, dtype=torch.uint8)})
    monkeypatch.setattr(model.checkpoint.format, "build_network", None)
    monkeypatch.setattr(safetensors.torch, "load_file", None)
    tracemalloc.start()
    try:
        assert read_metadata(checkpoint) == metadata
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_saving_does_not_change_the_random_state(
    tmp_path: Path, network: nn.Module, metadata: Metadata
) -> None:
    before = torch.random.get_rng_state()
    save_checkpoint(tmp_path / "new.safetensors", network.state_dict(), metadata)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_network_whose_logits_are_not_finite_is_not_saved(
    checkpoint: Path, network: nn.Module, metadata: Metadata
) -> None:
    before = checkpoint.read_bytes()
    weights = {**network.state_dict(), "classifier.6.bias": torch.full((6,), float("nan"))}
    with pytest.raises(NotANumberError):
        save_checkpoint(checkpoint, weights, metadata)
    assert checkpoint.read_bytes() == before


def refusal(path: Path, kind: type[CheckpointError], *, metadata_too: bool = True) -> str:
    """Check that a file is refused with exactly this error class, and return the message."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert type(caught.value) is kind
    if metadata_too:
        with pytest.raises(kind):
            read_metadata(path)
    message = str(caught.value)
    assert str(path) in message
    assert message[-1] == "."
    assert "Error" not in message
    assert "Traceback" not in message
    return message


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    refusal(tmp_path / "none.safetensors", CheckpointNotFoundError)


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    refusal(tmp_path, CheckpointNotFoundError)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\x02\0\0\0\0\0\0\0",
        b"<html>404 Not Found</html>",
        np.random.default_rng(0).bytes(4000),
        (64).to_bytes(8, "little") + np.random.default_rng(1).bytes(4000),
        pickle.dumps({"classifier.weight": [0.0] * 100}),
    ],
    ids=["empty", "a byte", "a length", "html", "random", "random header", "pickle"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    kind = TruncatedCheckpointError if content[:1] == b"\x02" else NotACheckpointError
    refusal(path, kind)


def test_a_file_of_torch_save_is_refused_and_never_unpickled(
    tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(pickle, "load", None)
    refusal(path, NotACheckpointError)


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "3",
        '"text"',
        "null",
        '{"a": 1}',
        '{"a": null}',
        '{"a": {"data_offsets": 3}}',
        '{"a": {"data_offsets": ["x", "y"]}}',
        '{"a": {"data_offsets": [0, Infinity]}}',
        '{"__metadata__": null}',
        '{"__metadata__": "petalscope"}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
    ids=lambda header: header[:40],
)
def test_an_invalid_header_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "invalid.safetensors"
    with_header(path, header)
    refusal(path, NotACheckpointError)


@pytest.mark.parametrize("left", [8, 9, 100, 2000])
def test_a_file_cut_in_its_header_is_truncated(checkpoint: Path, left: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:left])
    refusal(checkpoint, TruncatedCheckpointError)


@pytest.mark.parametrize("lost", [1, 100, 100_000])
def test_a_file_cut_in_its_weights_is_truncated(checkpoint: Path, lost: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-lost])
    refusal(checkpoint, TruncatedCheckpointError)


def test_a_file_with_trailing_bytes_is_damaged(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes() + bytes(100))
    refusal(checkpoint, NotACheckpointError, metadata_too=False)


def test_weights_without_metadata_name_the_option_that_accepts_them(
    tmp_path: Path, network: nn.Module
) -> None:
    path = tmp_path / "bare.safetensors"
    safetensors.torch.save_file(network.state_dict(), path, metadata={"format": "pt"})
    refusal(path, NotACheckpointError)
    safetensors.torch.save_file(network.state_dict(), path)
    assert "--pretrained-path" in refusal(path, NotACheckpointError)


def test_another_format_version_is_refused(checkpoint: Path) -> None:
    change_metadata(checkpoint, format_version=1)
    refusal(checkpoint, CheckpointVersionError)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"text"', '{"format_version": 2}', "[" * 100_000, "{}"],
    ids=lambda text: text[:20] or "empty",
)
def test_damaged_metadata_are_refused(checkpoint: Path, text: str) -> None:
    with_metadata(checkpoint, text)
    refusal(checkpoint, NotACheckpointError)


ARCHITECTURE = {"backbone": "test_efficientnet", "num_classes": 6, "hidden_layers": [32, 16]}


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": None},
        {"classes": None},
        {"transform": None},
        {"temperature": None},
        {"created": None},
        {"architecture": []},
        {"architecture": {"backbone": "test_efficientnet"}},
        {"architecture": {**ARCHITECTURE, "dropout": 1.5}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.1, "num_classes": float("inf")}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.1, "hidden_layers": [0]}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.1, "backbone": "x" * 100_000}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.1, "num_classes": 0}, "classes": []},
        {"classes": ["fire lily"]},
        {"classes": 6},
        {"transform": {"resize": 1}},
        {"temperature": "warm"},
        {"temperature": [1.0]},
        {"training": 3},
        {"metrics": "good"},
    ],
    ids=str,
)
def test_metadata_with_a_missing_or_wrong_value_are_refused(
    checkpoint: Path, change: dict[str, Any]
) -> None:
    change_metadata(checkpoint, **change)
    refusal(checkpoint, NotACheckpointError)


TRANSFORM = {
    "resize": 160,
    "crop": 160,
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}
RULE = {"score": "energy", "threshold": 1.0, "logit_adjustment": []}
NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "change",
    [
        *({"temperature": value} for value in (0.0, -1.0, 5e-324, 1e300, NAN, INFINITY, True)),
        *({"classes": [{"class_id": "1", "name": name}] * 6} for name in ("\ud800", "a \udfff")),
        {"classes": [{"class_id": "1", "name": "rose"}] * 6},
        {"classes": [{"class_id": number, "name": "rose"} for number in range(6)]},
        {"metrics": {"valid": {"loss": INFINITY}}},
        {"metrics": {"a\n" * 1000: "good"}},
        {"training": {"lr": NAN}},
        {"training": {"note": "\ud800"}},
        *({"transform": {**TRANSFORM, "crop": size, "resize": size}} for size in (10**9, -1, 1.5)),
        {"transform": {**TRANSFORM, "interpolation": "lanczos"}},
        {"transform": {**TRANSFORM, "mean": [0.5, 0.5]}},
        {"transform": {**TRANSFORM, "std": [0.5, 0.5, 5e-324]}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.0, "hidden_layers": [10**13]}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.0, "hidden_layers": [1] * 1000}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.0, "num_classes": 10**9}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.0, "num_classes": "6"}},
        {"architecture": {**ARCHITECTURE, "dropout": 0.0, "backbone": 7}},
        *({"ood_rule": {**RULE, "threshold": value}} for value in (NAN, -INFINITY, 1e300, "1")),
        {"ood_rule": {**RULE, "score": "magic"}},
        {"ood_rule": {**RULE, "logit_adjustment": [1e300] * 6}},
        {"ood_rule": {"threshold": 1.0}},
        {"ood_rule": []},
        {"reference": {"logits": [0.0] * 6, "tolerance": 1e300}},
        {"reference": {"logits": [NAN] * 6, "tolerance": 0.1}},
        {"reference": {"logits": [1e308, -1e308] * 3, "tolerance": 0.1}},
        {"reference": {"logits": "0", "tolerance": 0.1}},
    ],
    ids=lambda change: str(change)[:60].encode("ascii", "backslashreplace").decode(),
)
def test_adversarial_metadata_are_refused_in_one_line(
    checkpoint: Path, change: dict[str, Any]
) -> None:
    change_metadata(checkpoint, **change)
    message = refusal(checkpoint, NotACheckpointError)
    assert "\n" not in message
    assert len(message) < 500


def test_a_rule_without_a_known_probability_has_the_default(checkpoint: Path) -> None:
    change_metadata(checkpoint, ood_rule=RULE)
    rule = read_metadata(checkpoint).ood_rule
    assert rule is not None
    assert rule.known_probability == DEFAULT_KNOWN_PROBABILITY


def test_a_reference_of_other_classes_is_refused(checkpoint: Path) -> None:
    change_metadata(checkpoint, reference={"logits": [0.5] * 7, "tolerance": 0.1})
    refusal(checkpoint, MismatchedClassesError)


def test_another_number_of_classes_than_logits_is_refused(checkpoint: Path) -> None:
    classes = [{"class_id": str(i), "name": "rose"} for i in range(7)]
    change_metadata(checkpoint, classes=classes)
    refusal(checkpoint, MismatchedClassesError)


def test_a_rule_of_other_classes_is_refused(checkpoint: Path) -> None:
    change_metadata(
        checkpoint, ood_rule={"score": "energy", "threshold": 1, "logit_adjustment": [0.5] * 7}
    )
    assert "logit_adjustment" in refusal(checkpoint, MismatchedClassesError)


def test_an_unknown_architecture_names_the_nearest(checkpoint: Path) -> None:
    change_metadata(
        checkpoint, architecture={**ARCHITECTURE, "dropout": 0.25, "backbone": "test_eficientnet"}
    )
    message = refusal(checkpoint, UnknownArchitectureError, metadata_too=False)
    assert "test_efficientnet" in message


def test_a_backbone_that_does_not_support_the_head_is_refused(checkpoint: Path) -> None:
    change_metadata(
        checkpoint, architecture={**ARCHITECTURE, "dropout": 0.25, "backbone": "dpn48b"}
    )
    refusal(checkpoint, UnknownArchitectureError, metadata_too=False)


def test_layers_larger_than_the_file_are_not_built(checkpoint: Path) -> None:
    huge = {**ARCHITECTURE, "dropout": 0.25, "hidden_layers": [65_536] * 8}
    change_metadata(checkpoint, architecture=huge)
    mismatch(checkpoint)


def mismatch(path: Path) -> str:
    return refusal(path, MismatchedWeightsError, metadata_too=False)


def with_weights(path: Path, change: dict[str, torch.Tensor | None]) -> None:
    tensors: dict[str, torch.Tensor | None] = dict(safetensors.torch.load_file(path))
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    kept = {name: tensor for name, tensor in {**tensors, **change}.items() if tensor is not None}
    safetensors.torch.save_file(kept, path, metadata=metadata)


def test_a_weight_of_another_shape_is_named_with_both_shapes(checkpoint: Path) -> None:
    with_weights(checkpoint, {"conv_stem.weight": torch.zeros(24, 3, 5, 5)})
    message = mismatch(checkpoint)
    assert "conv_stem.weight" in message
    assert "24×3×5×5" in message


def test_a_head_of_another_width_is_named(checkpoint: Path) -> None:
    change_metadata(
        checkpoint, architecture={**ARCHITECTURE, "dropout": 0.25, "hidden_layers": [32, 17]}
    )
    message = mismatch(checkpoint)
    assert "classifier.3.weight" in message
    assert "17×32" in message


def test_a_backbone_that_does_not_fit_the_weights_is_named(checkpoint: Path) -> None:
    change_metadata(
        checkpoint, architecture={**ARCHITECTURE, "dropout": 0.25, "backbone": "test_resnet"}
    )
    assert "test_resnet" in mismatch(checkpoint)


def test_a_missing_weight_is_named(checkpoint: Path) -> None:
    with_weights(checkpoint, {"classifier.6.bias": None})
    assert "classifier.6.bias" in mismatch(checkpoint)


def test_an_extra_weight_is_named(checkpoint: Path) -> None:
    with_weights(checkpoint, {"classifier.9.bias": torch.zeros(3)})
    assert "classifier.9.bias" in mismatch(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_not_finite_are_refused(
    checkpoint: Path, value: float, dtype: torch.dtype
) -> None:
    head = safetensors.torch.load_file(checkpoint)["classifier.6.weight"]
    head[2, 3] = value
    with_weights(checkpoint, {"classifier.6.weight": head.to(dtype)})
    message = refusal(checkpoint, NotANumberError, metadata_too=False)
    assert "classifier.6.weight" in message
