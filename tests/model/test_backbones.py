"""timm backbones: heads, initial weights and freezing."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from model.backbones import (
    BackboneError,
    UnknownBackboneError,
    build_network,
    data_transform,
    freeze_backbone,
    head_parameters,
    set_train_mode,
)
from model.checkpoint.metadata import Architecture

TINY = Architecture("test_efficientnet", 6)


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    """Save timm's smallest network with random weights and its own 1000 classes."""
    path = tmp_path / "tiny.safetensors"
    torch.manual_seed(1)
    network = timm.create_model("test_efficientnet")
    safetensors.torch.save_file(network.state_dict(), path)
    return path


def assert_initialized_from(network: nn.Module, path: Path, head: str) -> None:
    stored = safetensors.torch.load_file(path)
    weights = network.state_dict()
    backbone = [name for name in weights if not name.startswith(head)]
    assert len(backbone) > 10
    assert all(torch.equal(weights[name], stored[name]) for name in backbone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "features", "size"),
    [("densenet161", 2208, 224), ("vgg19", 4096, 224), ("tf_efficientnet_lite2", 1280, 260)],
)
@pytest.mark.parametrize("hidden_layers", [(), (512, 256)])
def test_the_backbones_of_the_recipes_build_with_either_head(
    backbone: str, features: int, size: int, hidden_layers: tuple[int, ...]
) -> None:
    # Networks on the device "meta" have shapes but no weights, so they build quickly.
    with torch.device("meta"):
        network = build_network(
            Architecture(backbone, 102, hidden_layers, 0.5 if hidden_layers else 0.0)
        ).eval()
        assert network(torch.empty(2, 3, size, size)).shape == (2, 102)
    assert data_transform(network).crop == size
    shapes = [tuple(parameter.shape) for parameter in head_parameters(network)]
    widths = [features, *hidden_layers, 102]
    expected = [[(n, m), (n,)] for m, n in itertools.pairwise(widths)]
    assert shapes == [shape for layer in expected for shape in layer]


def head_of(architecture: Architecture) -> list[str]:
    head = build_network(architecture).get_classifier()  # type: ignore[operator]
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    return [
        re.sub(r", (bias|inplace)=\w+|(in|out)_features=|p=", "", str(layer)) for layer in layers
    ]


def test_the_default_head_is_one_linear_layer() -> None:
    assert head_of(TINY) == ["Linear(256, 6)"]


def test_hidden_layers_are_followed_by_relu_and_dropout() -> None:
    assert head_of(Architecture("test_efficientnet", 6, (512, 128), 0.5)) == [
        "Linear(256, 512)",
        "ReLU()",
        "Dropout(0.5)",
        "Linear(512, 128)",
        "ReLU()",
        "Dropout(0.5)",
        "Linear(128, 6)",
    ]


def test_dropout_without_hidden_layers_precedes_the_linear_layer() -> None:
    assert head_of(Architecture("test_efficientnet", 6, (), 0.25)) == [
        "Dropout(0.25)",
        "Linear(256, 6)",
    ]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_convnext", "test_nfnet"])
def test_other_backbones_support_hidden_layers(backbone: str) -> None:
    network = build_network(Architecture(backbone, 6, (32,), 0.1)).eval()
    side = data_transform(network).crop
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, side, side)).shape == (1, 6)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["dpn48b", "deit_tiny_distilled_patch16_224", "levit_128s"])
def test_hidden_layers_need_a_backbone_with_one_linear_classifier(backbone: str) -> None:
    with torch.device("meta"):
        with pytest.raises(BackboneError, match=backbone):
            build_network(Architecture(backbone, 6, (32,)))
        network = build_network(Architecture(backbone, 6))
    freeze_backbone(network)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith(("classifier.", "head.", "head_dist.")) for name in trained)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_classes": 0},
        {"num_classes": -1},
        {"hidden_layers": (0,)},
        {"hidden_layers": (512, -1)},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dropout": float("nan")},
    ],
)
def test_an_architecture_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
        Architecture(**{"backbone": "test_efficientnet", "num_classes": 6, **wrong})  # type: ignore[arg-type]


def test_an_unknown_name_lists_the_nearest_ones() -> None:
    with pytest.raises(UnknownBackboneError, match=r"\bdensenet161\b") as error:
        build_network(Architecture("densnet161", 6))
    assert len(str(error.value).split(",")) <= 5


@pytest.mark.parametrize("name", ["", "qqqqqqqq", "hf-hub:timm/resnet18", "../resnet18"])
def test_a_name_like_no_other_is_unknown(name: str) -> None:
    with pytest.raises(UnknownBackboneError):
        build_network(Architecture(name, 6))


def test_a_name_may_have_the_tag_of_its_weights() -> None:
    with torch.device("meta"):
        network = build_network(Architecture("resnet18.tv_in1k", 6))
    assert len(head_parameters(network)[1]) == 6


def test_an_unknown_tag_lists_the_known_ones() -> None:
    with pytest.raises(UnknownBackboneError, match=r"resnet18\.tv_in1k"):
        build_network(Architecture("resnet18.tv_in2k", 6))


@pytest.mark.parametrize("hidden_layers", [(), (16,)])
def test_a_local_file_initializes_the_backbone_but_not_the_head(
    tiny_weights: Path, hidden_layers: tuple[int, ...]
) -> None:
    network = build_network(
        Architecture("test_efficientnet", 6, hidden_layers), weights=tiny_weights
    )
    assert_initialized_from(network, tiny_weights, "classifier.")
    assert len(head_parameters(network)[-1]) == 6
    # The network must not keep the tensors of the file in memory.
    assert "state_dict" not in network.pretrained_cfg  # type: ignore[operator]


def test_the_file_may_have_any_suffix(tiny_weights: Path) -> None:
    renamed = tiny_weights.rename(tiny_weights.with_suffix(".bin"))
    assert_initialized_from(build_network(TINY, weights=renamed), renamed, "classifier.")


@pytest.mark.slow
@pytest.mark.parametrize("hidden_layers", [(), (16,)])
def test_a_checkpoint_of_the_project_initializes_the_backbone(
    tmp_path: Path, hidden_layers: tuple[int, ...]
) -> None:
    path = tmp_path / "ours.safetensors"
    ours = build_network(Architecture("test_efficientnet", 9, hidden_layers))
    safetensors.torch.save_file(ours.state_dict(), path, metadata={"petalscope": "{}"})
    assert_initialized_from(build_network(TINY, weights=path), path, "classifier.")


def test_tensor_names_of_the_original_are_converted_by_timm(tmp_path: Path) -> None:
    path = tmp_path / "original.safetensors"
    weights = timm.create_model("test_convnext").state_dict()
    renamed = {}
    for name, tensor in weights.items():
        name = re.sub(r"stages.(\d+).downsample.", r"downsample_layers.\1.", name)
        name = name.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".")
        name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        renamed[name.replace("head.norm", "norm").replace("head.fc", "head")] = tensor
    assert renamed.keys() != weights.keys()
    safetensors.torch.save_file(renamed, path)
    network = build_network(Architecture("test_convnext", 6), weights=path).state_dict()
    assert all(
        torch.equal(network[name], weights[name])
        for name in weights
        if not name.startswith("head.fc.")
    )


@pytest.mark.parametrize("other", ["test_resnet", "test_vit", "test_efficientnet_gn"])
def test_weights_of_another_architecture_are_refused(tmp_path: Path, other: str) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(timm.create_model(other).state_dict(), path)
    with pytest.raises(BackboneError, match=r"other\.safetensors"):
        build_network(TINY, weights=path)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_partly_matching_weights_are_refused(tiny_weights: Path, change: str) -> None:
    tensors = safetensors.torch.load_file(tiny_weights)
    if change == "missing":
        del tensors["conv_stem.weight"]
    elif change == "extra":
        tensors["blocks.9.0.conv.weight"] = torch.zeros(3)
    else:
        tensors["conv_stem.weight"] = torch.zeros(3)
    safetensors.torch.save_file(tensors, tiny_weights)
    with pytest.raises(BackboneError, match="test_efficientnet"):
        build_network(TINY, weights=tiny_weights)


def test_weights_without_num_batches_tracked_are_accepted(tiny_weights: Path) -> None:
    tensors = safetensors.torch.load_file(tiny_weights)
    safetensors.torch.save_file(
        {name: tensor for name, tensor in tensors.items() if "num_batches_" not in name},
        tiny_weights,
    )
    weights = build_network(TINY, weights=tiny_weights).state_dict()
    assert torch.equal(weights["conv_stem.weight"], tensors["conv_stem.weight"])


@pytest.mark.parametrize("damage", ["cut", "empty", "no weights", "pickle", "text"])
def test_a_damaged_weights_file_is_refused(tiny_weights: Path, damage: str) -> None:
    if damage == "cut":
        tiny_weights.write_bytes(tiny_weights.read_bytes()[:-1000])
    elif damage == "empty":
        tiny_weights.write_bytes(b"")
    elif damage == "no weights":
        safetensors.torch.save_file({}, tiny_weights)
    elif damage == "pickle":
        torch.save({"conv_stem.weight": torch.zeros(3)}, tiny_weights)
    else:
        tiny_weights.write_text("<html>404</html>")
    with pytest.raises(BackboneError, match=r"tiny\.safetensors"):
        build_network(TINY, weights=tiny_weights)


def test_a_missing_weights_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"none\.safetensors"):
        build_network(TINY, weights=tmp_path / "none.safetensors")


def test_without_internet_the_error_names_the_option_for_local_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match="--pretrained-path"):
        build_network(TINY, pretrained=True)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "test_vit"])
def test_training_a_frozen_backbone_changes_only_the_head(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_network(Architecture(backbone, 6, (16,), 0.5))
    freeze_backbone(network)
    head = {name for name, p in network.named_parameters() if p.requires_grad}
    assert len(head) == len(head_parameters(network)) == 4
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(head_parameters(network), lr=0.1)
    side = data_transform(network).crop
    for _ in range(2):
        set_train_mode(network)
        network(torch.randn(4, 3, side, side)).square().mean().backward()
        optimizer.step()
    changed = {
        name
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == head


def test_a_frozen_backbone_gives_the_same_features_in_training_mode() -> None:
    network = build_network(Architecture("test_efficientnet", 6, (), 0.5))
    freeze_backbone(network)
    set_train_mode(network)
    assert network.get_classifier().training  # type: ignore[operator]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        training = network.forward_features(images)  # type: ignore[operator]
        network.eval()
        assert torch.equal(training, network.forward_features(images))  # type: ignore[operator]


def test_an_unfrozen_network_updates_its_batch_statistics() -> None:
    network = build_network(TINY)
    set_train_mode(network)
    assert all(module.training for module in network.modules())
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}
    network(torch.randn(4, 3, 64, 64))
    assert any(not torch.equal(tensor, before[name]) for name, tensor in network.named_buffers())


def test_the_transform_comes_from_the_backbone_or_another_size() -> None:
    with torch.device("meta"):
        network = build_network(Architecture("tf_efficientnet_lite2", 6))
    transform = data_transform(network)
    assert (transform.resize, transform.crop) == (292, 260)
    assert transform.interpolation == "bicubic"
    assert transform.mean == transform.std == (0.5, 0.5, 0.5)
    assert data_transform(network, image_size=224).crop == 224
