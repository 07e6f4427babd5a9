"""Overlays of class activation maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from model import BUNDLED_CHECKPOINT
from model.backbones import build_network
from model.backends.torch_backend import TorchBackend
from model.checkpoint.metadata import Architecture
from model.classifier import Classifier
from model.imaging.activation_map import COLOUR, evidence, laid_over, overlay
from model.imaging.decode import decode_image
from model.imaging.transforms import EvaluationTransform

Array = npt.NDArray[np.float64]

SQUARE = EvaluationTransform(160, 160, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TRANSFORM = EvaluationTransform(100, 80, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def strength(picture: Image.Image) -> Array:
    """Return the opacity of the overlay's colour, without that of its black."""
    pixels: Array = np.asarray(picture).astype(np.float64)
    result: Array = pixels[..., 3] * pixels[..., 1] / COLOUR[1]
    return result


def darkness(picture: Image.Image) -> Array:
    """Return how dark the overlay makes a white photo, from 0 to 1."""
    photo = laid_over(Image.new("RGB", picture.size, "white"), picture)
    green: Array = np.asarray(photo.getchannel("G")).astype(np.float64)
    return 1 - green / 255


def lab(colour: Array) -> Array:
    """Convert sRGB, 0 to 1, to CIELAB of white D65."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / np.array([0.9505, 1, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_only_positive_activations_count() -> None:
    cells = np.array([[-2.0, 0.0], [1.0, 4.0]], dtype=np.float32)
    assert evidence(cells).tolist() == [[0, 0], [0.25, 1]]
    assert evidence(-np.ones((2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (250, 250), (2000, 100)])
def test_the_overlay_covers_the_crop_of_the_network(size: tuple[int, int]) -> None:
    picture = overlay(np.ones((4, 4), np.float32), size, TRANSFORM, longest_side=200)
    scale = 200 / max(size)
    assert picture.size == (round(size[0] * scale), round(size[1] * scale))
    # The soft edge is half as strong a few percent inside the crop.
    opacity = strength(picture)
    rows, columns = np.nonzero(opacity > opacity.max() / 2)
    view = 0.8 * min(size) * scale
    for places, side in ((columns, picture.width), (rows, picture.height)):
        assert 0.85 * view < places.max() - places.min() + 1 <= view + 1
        assert (places.max() + places.min() + 1) / 2 == pytest.approx(side / 2, abs=1)


@pytest.mark.parametrize("turned", [False, True])
def test_what_the_network_does_not_see_is_dark_with_a_soft_edge(turned: bool) -> None:
    size = (200, 300) if turned else (300, 200)
    picture = overlay(np.zeros((4, 4), np.float32), size, SQUARE, longest_side=300)
    dark = darkness(picture)
    if turned:
        dark = dark.T
    across = dark[100]
    assert np.all(dark == across)  # the crop has the whole height, which has no edge
    assert across[0] == across[49] == pytest.approx(0.5, abs=0.05)
    assert np.all(across[70:230] == 0)
    assert np.abs(np.diff(across)).max() < 0.1


def test_evidence_at_the_edge_of_the_crop_fades() -> None:
    picture = overlay(np.ones((4, 4), np.float32), (300, 200), SQUARE, longest_side=300)
    across = strength(picture)[100]
    assert across[150] > 190
    assert np.abs(np.diff(across)).max() < 30


@pytest.mark.parametrize(
    "petal",
    [
        *((240, 240, 238), (250, 210, 30), (240, 130, 20), (200, 25, 30), (235, 130, 180)),
        *((200, 40, 130), (120, 60, 160), (180, 150, 215), (60, 80, 200), (110, 160, 230)),
    ],
)
def test_the_colour_shows_on_petals_of_every_colour(petal: tuple[int, int, int]) -> None:
    photo = Image.new("RGB", (200, 200), petal)
    half = np.full((4, 4), 0.5, np.float32)
    half[0, 0] = 1
    marked = laid_over(photo, overlay(half, photo.size, SQUARE)).getpixel((150, 150))
    seen = np.array(marked, dtype=np.float64)
    difference = lab(seen / 255) - lab(np.array(petal) / 255)
    assert np.linalg.norm(difference) > 25


def test_the_overlay_keeps_the_orientation_of_the_map() -> None:
    cells = np.zeros((5, 5), np.float32)
    cells[0, 4] = 1
    opacity = strength(overlay(cells, (300, 200), TRANSFORM, longest_side=300))
    row, column = np.unravel_index(opacity.argmax(), opacity.shape)
    assert row < 60
    assert 190 < column < 240


def test_a_map_without_evidence_leaves_the_photo_unchanged() -> None:
    photo = Image.new("RGB", (60, 60), (10, 120, 40))
    nothing = overlay(np.zeros((3, 3), np.float32), photo.size, SQUARE)
    assert laid_over(photo, nothing).tobytes() == photo.tobytes()
    everywhere = laid_over(photo, overlay(np.ones((3, 3), np.float32), photo.size, SQUARE))
    assert everywhere.size == photo.size
    assert everywhere.tobytes() != photo.tobytes()


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet"])
def test_the_mean_of_a_map_is_its_logit_without_bias(backbone: str) -> None:
    torch.manual_seed(0)
    module = build_network(Architecture(backbone, 5))
    bias = module.get_classifier().bias.detach().numpy()  # type: ignore[operator]
    network = TorchBackend(module, torch.device("cpu"), SQUARE)
    batch = np.random.default_rng(0).integers(256, size=(3, 160, 160, 3)).astype(np.uint8)
    logits, maps = network.run(batch)
    assert maps is not None
    np.testing.assert_allclose(maps.mean(axis=(2, 3)) + bias, logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "architecture",
    [Architecture("test_efficientnet", 5, (8,)), Architecture("test_vit", 5)],
    ids=["hidden layers", "tokens"],
)
def test_other_kinds_of_heads_have_no_maps(architecture: Architecture) -> None:
    network = TorchBackend(build_network(architecture), torch.device("cpu"), SQUARE)
    assert network.run(np.zeros((2, 160, 160, 3), np.uint8)).activations is None


class RedAndGreen(nn.Module):
    """A network with fixed weights that classifies red and green by their mean color."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]))

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(images, 8)

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = features.mean(dim=(2, 3))
        return pooled if pre_logits else self.head(pooled)


@pytest.mark.parametrize("size", [(600, 400), (400, 600)])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("below", [False, True])
def test_a_class_map_is_on_its_flower(size: tuple[int, int], right: bool, below: bool) -> None:
    # The network sees the middle 320×320 px: a red flower in one quarter, a green one in the
    # opposite quarter.
    corner = ((size[0] - 320) // 2, (size[1] - 320) // 2)
    quarters = []
    for at_right, at_bottom in ((right, below), (not right, not below)):
        left, top = corner[0] + 160 * at_right, corner[1] + 160 * at_bottom
        quarters.append((left, top, left + 160, top + 160))
    photo = Image.new("RGB", size, (128, 128, 128))
    for color, (left, top, *_) in zip(("red", "lime"), quarters, strict=True):
        photo.paste(color, (left + 40, top + 40, left + 120, top + 120))
    network = TorchBackend(RedAndGreen(), torch.device("cpu"), TRANSFORM)
    maps = network.run(TRANSFORM(photo)[None]).activations
    assert maps is not None
    for cells, quarter in zip(maps[0], quarters, strict=True):
        picture = overlay(cells, size, TRANSFORM, longest_side=600)
        inside = strength(picture.crop(quarter)).sum() / strength(picture).sum()
        assert inside > 0.95


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_the_map_is_on_a_real_flower_in_a_corner(data_dir: Path, corner: tuple[int, int]) -> None:
    classifier = Classifier.load(BUNDLED_CHECKPOINT, "cpu")
    transform = classifier.metadata.transform
    half = transform.resize // 2
    class_ids = [item.class_id for item in classifier.metadata.classes]
    shares = []
    for path in sorted((data_dir / "valid" / "54").iterdir())[:3]:
        canvas = Image.new("RGB", (2 * half, 2 * half), (128, 128, 128))
        canvas.paste(decode_image(path).resize((half, half)), (corner[0] * half, corner[1] * half))
        activations = next(classifier.outputs([classifier.preprocess(canvas)])).activations
        assert activations is not None
        cells = activations[class_ids.index("54")]
        opacity = strength(overlay(cells, canvas.size, transform, 2 * half))
        part = opacity[corner[1] * half :, corner[0] * half :][:half, :half]
        shares.append(part.sum() / opacity.sum())
    assert np.mean(shares) > 0.6
