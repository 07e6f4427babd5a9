"""Augmentation of photos, batches and targets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from model.imaging.transforms import EvaluationTransform
from model.training.augmentation import OOD_TARGET, batch_mixing, soft_targets, training_transform
from model.training.config import TrainingConfig

TRANSFORM = EvaluationTransform(32, 32, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_an_ood_photo_gets_the_uniform_distribution() -> None:
    soft = soft_targets(torch.tensor([2, OOD_TARGET, 0]), 4)
    assert soft.tolist() == [[0, 0, 1, 0], [0.25] * 4, [1, 0, 0, 0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [TrainingConfig(mixup=1.0, mixup_prob=0.5), TrainingConfig(cutmix=1.0, mixup_prob=0.5)],
    ids=["mixup", "cutmix"],
)
def test_mixing_applies_to_a_share_of_batches(options: TrainingConfig) -> None:
    mix = batch_mixing(options, 2)
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    targets = torch.eye(2)
    mixed = 0
    for seed in range(200):
        torch.manual_seed(seed)
        new_images, new_targets = mix(images, targets)
        torch.testing.assert_close(new_targets.sum(1), torch.ones(2))
        # The mean of a mixed image equals its share of the second class.
        torch.testing.assert_close(new_images.mean((1, 2, 3)), new_targets[:, 1])
        mixed += not torch.equal(new_targets, targets)
    assert 60 < mixed < 140


@pytest.mark.slow
def test_crop_aspect_limits_the_aspect_ratio() -> None:
    # A red gradient from left to right and a green one from top to bottom.
    ramp = Image.linear_gradient("L")
    photo = Image.merge("RGB", (ramp.rotate(90), ramp, Image.new("L", ramp.size)))

    def widest(crop_aspect: float) -> float:
        options = TrainingConfig(augmentation="light", crop_scale=0.1, crop_aspect=crop_aspect)
        crop = training_transform(options, TRANSFORM, 32)
        ratios = []
        for seed in range(40):
            torch.manual_seed(seed)
            across, down = crop(photo)[:2].amax((1, 2)) - crop(photo)[:2].amin((1, 2))
            ratios.append(float(across / down))
        return max(ratios)

    assert widest(3.0) > 1.5 * widest(1.0)


@pytest.mark.slow
def test_a_corrupted_photo_keeps_its_size() -> None:
    photo = Image.effect_mandelbrot((90, 60), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    corrupt = training_transform(
        TrainingConfig(corruption_prob=1.0, augmentation="light"), TRANSFORM, 48
    )
    plain = training_transform(
        TrainingConfig(corruption_prob=0.0, augmentation="light"), TRANSFORM, 48
    )
    for seed in range(40):
        torch.manual_seed(seed)
        corrupted = corrupt(photo)
        assert corrupted.shape == (3, 48, 48)
        assert corrupted.dtype == torch.float32
        assert corrupted.abs().max() <= 1
    torch.manual_seed(0)
    first = plain(photo)
    torch.manual_seed(0)
    assert not torch.equal(corrupt(photo), first)


@pytest.mark.slow
def test_noise_is_among_the_corruptions() -> None:
    photo = Image.new("RGB", (64, 64), "gray")  # stays uniform under all other corruptions
    corrupt = training_transform(
        TrainingConfig(corruption_prob=1.0, augmentation="light"), TRANSFORM, 64
    )
    deviations = []
    for seed in range(60):
        torch.manual_seed(seed)
        deviations.append(float(corrupt(photo).std(dim=(1, 2)).max()))
    noisy = [deviation for deviation in deviations if deviation > 0.02]
    assert len(noisy) in range(4, 20)
    assert 0.1 < max(noisy) < 0.3  # values range from -1 to 1


@pytest.mark.slow
def test_a_pasted_photo_is_small_with_round_corners(tmp_path: Path) -> None:
    photo, background = (Image.new("RGB", (64, 48), color) for color in ("white", "black"))
    background.resize((30, 90)).save(tmp_path / "background.png")
    options = TrainingConfig(
        corruption_prob=1.0, augmentation="light", crop_scale=1.0, crop_aspect=1.0
    )
    corrupt = training_transform(options, TRANSFORM, 32, [tmp_path / "background.png"])
    shares = []
    for seed in range(60):
        torch.manual_seed(seed)
        bright = (corrupt(photo)[1] > 0).float()
        if bright.min() == 0:  # only pasting darkens a white photo
            shares.append(float(bright.mean()))
            corners = bright[:, bright.any(0)][bright.any(1)][[0, 0, -1, -1], [0, -1, 0, -1]]
            assert corners.min() == 0
    assert len(shares) in range(4, 25)
    assert max(shares) < 0.75
