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


@pytest.mark.parametrize(
    "options",
    [TrainingConfig(mixup=1.0, mixup_prob=0.5), TrainingConfig(cutmix=1.0, mixup_prob=0.5)],
    ids=["mixup", "cutmix"],
)
def test_mixing_takes_its_share_of_batches(options: TrainingConfig) -> None:
    mix = batch_mixing(options, 2)
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    targets = torch.eye(2)
    mixed = 0
    for seed in range(200):
        torch.manual_seed(seed)
        new_images, new_targets = mix(images, targets)
        torch.testing.assert_close(new_targets.sum(1), torch.ones(2))
        # Here an image's mean is its share of the second class.
        torch.testing.assert_close(new_images.mean((1, 2, 3)), new_targets[:, 1])
        mixed += not torch.equal(new_targets, targets)
    assert 60 < mixed < 140


def test_crop_aspect_limits_the_aspect_ratio() -> None:
    # Two colours that turn into each other from left to right, and two others from top to bottom.
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


def test_a_corrupted_photo_keeps_its_size() -> None:
    photo = Image.effect_mandelbrot((90, 60), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    spoil = training_transform(
        TrainingConfig(corruption_prob=1.0, augmentation="light"), TRANSFORM, 48
    )
    plain = training_transform(
        TrainingConfig(corruption_prob=0.0, augmentation="light"), TRANSFORM, 48
    )
    for seed in range(40):
        torch.manual_seed(seed)
        spoilt = spoil(photo)
        assert spoilt.shape == (3, 48, 48)
        assert spoilt.dtype == torch.float32
        assert spoilt.abs().max() <= 1
    torch.manual_seed(0)
    first = plain(photo)
    torch.manual_seed(0)
    assert not torch.equal(spoil(photo), first)


def test_noise_is_among_the_corruptions() -> None:
    photo = Image.new("RGB", (64, 64), "grey")  # flat, which every other kind leaves it
    spoil = training_transform(
        TrainingConfig(corruption_prob=1.0, augmentation="light"), TRANSFORM, 64
    )
    deviations = []
    for seed in range(60):
        torch.manual_seed(seed)
        deviations.append(float(spoil(photo).std(dim=(1, 2)).max()))
    noisy = [deviation for deviation in deviations if deviation > 0.02]
    assert len(noisy) in range(4, 20)
    assert 0.1 < max(noisy) < 0.3  # of values from -1 to 1


def test_a_pasted_photo_is_small_with_round_corners(tmp_path: Path) -> None:
    photo, ground = (Image.new("RGB", (64, 48), colour) for colour in ("white", "black"))
    ground.resize((30, 90)).save(tmp_path / "ground.png")
    options = TrainingConfig(
        corruption_prob=1.0, augmentation="light", crop_scale=1.0, crop_aspect=1.0
    )
    spoil = training_transform(options, TRANSFORM, 32, [tmp_path / "ground.png"])
    shares = []
    for seed in range(60):
        torch.manual_seed(seed)
        bright = (spoil(photo)[1] > 0).float()
        if bright.min() == 0:  # of the six kinds the only one that darkens what is white
            shares.append(float(bright.mean()))
            corners = bright[:, bright.any(0)][bright.any(1)][[0, 0, -1, -1], [0, -1, 0, -1]]
            assert corners.min() == 0
    assert len(shares) in range(4, 25)
    assert max(shares) < 0.75
