"""Training augmentations, with torchvision's transforms v2.

Photos are corrupted, cropped, flipped, changed by the policy, normalized and partly erased; batches
get mixup or cutmix.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image, ImageChops, ImageFilter, ImageOps
from torch.nn import functional
from torchvision.transforms import v2

from model.data.photo_folder import decode_photo
from model.imaging.transforms import EvaluationTransform
from model.training.config import TrainingConfig

_JITTER = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.02}
_ARTICLE_ROTATION = 30  # degrees, to either side
OOD_TARGET: Final = -1  # target of an out-of-distribution photo
_SIZE_STEP: Final = 16  # pixels
_MOST_NOISE: Final = 0.12  # standard deviation of values in [0, 1], as of a phone at night
_ROUNDNESS: Final = 3.0  # exponent of a superellipse: 2 is an ellipse, infinity a rectangle


def training_transform(
    options: TrainingConfig,
    evaluation: EvaluationTransform,
    size: int,
    backgrounds: Sequence[Path] = (),
) -> Callable[[Image.Image], Any]:
    """Build the transform of a training photo, normalized as in evaluation.

    It draws from torch's global CPU generator.

    Args:
        options: Options of the augmentations.
        evaluation: The evaluation transform; the policy "none" trains with it, at its own size.
        size: Side of the result, in pixels.
        backgrounds: Photos onto which corruption pastes shrunken training photos.

    Returns:
        Map from an upright RGB image to float32 (3, size, size).
    """
    if options.augmentation == "none":
        return validation_transform(evaluation)
    crop = v2.RandomResizedCrop(
        size,
        scale=(options.crop_scale, 1.0),
        ratio=(1 / options.crop_aspect, options.crop_aspect),
        interpolation=v2.InterpolationMode(evaluation.interpolation),
    )
    policies: dict[str, list[Callable[[Any], Any]]] = {
        "article": [v2.RandomRotation(_ARTICLE_ROTATION), crop, v2.RandomHorizontalFlip()],
        "light": [crop, v2.RandomHorizontalFlip(), v2.ColorJitter(**_JITTER)],
        "trivial": [crop, v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()],
        "rand": [crop, v2.RandomHorizontalFlip(), v2.RandAugment()],
    }
    steps: Callable[[Image.Image], Any] = v2.Compose(
        [
            *(
                [v2.RandomApply([_Corruption(backgrounds)], options.corruption_prob)]
                if options.corruption_prob
                else []
            ),
            *policies[options.augmentation],
            *_normalization(evaluation),
            *([v2.RandomErasing(options.reprob)] if options.reprob else []),
        ]
    )
    return steps


def validation_transform(evaluation: EvaluationTransform) -> Callable[[Image.Image], torch.Tensor]:
    """Return the map from an upright RGB image to a normalized input, float32 (3, crop, crop)."""
    transform: Callable[[Image.Image], torch.Tensor]
    transform = v2.Compose([evaluation, *_normalization(evaluation)])
    return transform


def epoch_size(options: TrainingConfig, evaluation: EvaluationTransform, epoch: int) -> int:
    """Return the training image side of an epoch, in pixels.

    It grows linearly over the epochs, which saves time (progressive learning, Tan & Le 2021,
    "EfficientNetV2"). Sizes before the last epoch are rounded to a multiple of 16.

    Args:
        options: Uses `progressive_start_size`, `train_size` and `epochs`.
        evaluation: Its crop is the default size.
        epoch: Counted from 0.
    """
    last = options.train_size or evaluation.crop
    first = options.progressive_start_size or last
    if options.epochs == 1:
        return last
    size = first + (last - first) * epoch / (options.epochs - 1)
    return last if epoch == options.epochs - 1 else round(size / _SIZE_STEP) * _SIZE_STEP


def soft_targets(targets: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Convert int64 targets (N,) to float32 probabilities (N, num_classes).

    OOD photos get the uniform distribution: outlier exposure (Hendrycks et al. 2019, "Deep anomaly
    detection with outlier exposure").
    """
    known = targets != OOD_TARGET
    soft = functional.one_hot(targets.clamp(min=0), num_classes).float()
    return torch.where(known[:, None], soft, 1.0 / num_classes)


def batch_mixing(
    options: TrainingConfig, num_classes: int
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Build the batch transform: mixup, cutmix, one of them at random, or the identity.

    Mixup: Zhang et al. 2018, "mixup: Beyond empirical risk minimization". CutMix: Yun et al. 2019,
    "CutMix: Regularization strategy to train strong classifiers".

    Args:
        options: Uses `mixup`, `cutmix` and `mixup_prob`.
        num_classes: Number of classes.

    Returns:
        Map from float32 images (N, 3, H, W) and float32 targets (N, num_classes) to mixed ones of
        the same shapes.
    """
    choices: list[Any] = []
    if options.mixup:
        choices.append(v2.MixUp(alpha=options.mixup, num_classes=num_classes))
    if options.cutmix:
        choices.append(v2.CutMix(alpha=options.cutmix, num_classes=num_classes))
    if not choices:
        return lambda images, targets: (images, targets)
    mixing: Callable[..., tuple[torch.Tensor, torch.Tensor]] = v2.RandomApply(
        [v2.RandomChoice(choices)], options.mixup_prob
    )
    return mixing


class _Corruption(v2.Transform):  # type: ignore[misc]  # torchvision is not typed
    """Corruptions of photos taken in a hurry and sent by messengers: blur, noise, artifacts."""

    def __init__(self, backgrounds: Sequence[Path]) -> None:
        super().__init__()
        self._backgrounds = backgrounds
        self._kinds: list[Callable[[Image.Image], Image.Image]] = [
            v2.GaussianBlur(kernel_size=9, sigma=(0.5, 2.5)),
            _jpeg,
            _low_resolution,
            _noisy,
            self._paste_on_photo if backgrounds else _paste_on_color,
            _tiled,
        ]

    def forward(self, image: Image.Image) -> Image.Image:
        """Apply one random corruption to an RGB image."""
        return self._kinds[int(torch.randint(len(self._kinds), ()))](image)

    def _paste_on_photo(self, image: Image.Image) -> Image.Image:
        """Paste the shrunken photo with soft edges onto another photo."""
        chosen = self._backgrounds[int(torch.randint(len(self._backgrounds), ()))]
        background = ImageOps.fit(decode_photo(chosen), image.size)
        small, left, top = _shrunk(image)
        # A superellipse, because straight edges would reveal the pasting to the network.
        across, down = (
            torch.linspace(-1, 1, side).abs() ** _ROUNDNESS for side in (small.width, small.height)
        )
        inside = (down[:, None] + across < 1).to(torch.uint8).mul(255)
        mask = Image.fromarray(inside.numpy())
        softened = mask.filter(ImageFilter.GaussianBlur(_uniform(0, min(small.size) / 20)))
        background.paste(small, (left, top), ImageChops.darker(mask, softened))
        return background


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


def _jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(_uniform(10, 60)))
    return Image.open(file).convert("RGB")


def _low_resolution(image: Image.Image) -> Image.Image:
    factor = _uniform(0.15, 0.5)
    small = image.resize([max(1, round(side * factor)) for side in image.size])
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _noisy(image: Image.Image) -> Image.Image:
    pixels = v2.functional.to_dtype(v2.functional.pil_to_tensor(image), scale=True)
    noisy = v2.functional.gaussian_noise(pixels, sigma=_uniform(0, _MOST_NOISE))
    result: Image.Image = v2.functional.to_pil_image(noisy)
    return result


def _paste_on_color(image: Image.Image) -> Image.Image:
    """Paste the shrunken photo onto its own mean color."""
    background = image.resize((1, 1), Image.Resampling.BOX).resize(image.size)
    small, left, top = _shrunk(image)
    background.paste(small, (left, top))
    return background


def _shrunk(image: Image.Image) -> tuple[Image.Image, int, int]:
    """Return a shrunken photo and a random position (left, top) inside its original frame."""
    factor = _uniform(0.35, 0.8)
    small = image.resize([max(1, round(side * factor)) for side in image.size])
    left, top = (
        round(_uniform(0, whole - part)) for whole, part in zip(image.size, small.size, strict=True)
    )
    return small, left, top


def _tiled(image: Image.Image) -> Image.Image:
    """Tile the photo and its mirror image, like a bed of small flowers."""
    count = int(torch.randint(2, 5, ()))
    small = image.resize([max(1, round(side / count)) for side in image.size])
    mirrored = ImageOps.mirror(small)
    bed = Image.new("RGB", (count * small.width, count * small.height))
    for column in range(count):
        for row in range(count):
            tile = mirrored if (column + row) % 2 else small
            bed.paste(tile, (column * small.width, row * small.height))
    return bed.resize(image.size)


def _normalization(evaluation: EvaluationTransform) -> list[Callable[[Any], Any]]:
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(evaluation.mean, evaluation.std),
    ]


def denormalized(images: torch.Tensor, transform: EvaluationTransform) -> torch.Tensor:
    """Undo the normalization of float32 images (…, 3, H, W), to values in [0, 1] for display."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    return (images * std + mean).clamp(0, 1)
