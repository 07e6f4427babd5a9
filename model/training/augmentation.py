"""The training augmentations, in torchvision's transforms v2.

RGB image -> spoilt -> random crop, flip, policy -> [0, 1] -> normalised 3×H×W -> random erasing
batch     -> soft targets -> mixup or cutmix -> batch and soft targets
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
OOD_TARGET: Final = -1  # the target of a photo that is of none of the classes
_SIZE_STEP: Final = 16  # pixels
_MOST_NOISE: Final = 0.12  # standard deviation, of values up to 1: a phone's at night
_ROUNDNESS: Final = 3.0  # exponent of a superellipse: 2 is an ellipse, more is nearer a rectangle


def training_transform(
    options: TrainingConfig,
    evaluation: EvaluationTransform,
    size: int,
    grounds: Sequence[Path] = (),
) -> Callable[[Image.Image], Any]:
    """Build the transform of a training photo, to the mean and scale that `evaluation` has.

    It draws from torch's global CPU generator.

    Args:
        options: Which augmentations.
        evaluation: The transform of evaluation, which "none" trains with, at its own size.
        size: Side of the result in pixels.
        grounds: Photos before which corruption_prob shows some of the others small.
    """
    if options.augmentation == "none":
        return evaluation
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
                [v2.RandomApply([_Degradation(grounds)], options.corruption_prob)]
                if options.corruption_prob
                else []
            ),
            *policies[options.augmentation],
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(evaluation.mean, evaluation.std),
            *([v2.RandomErasing(options.reprob)] if options.reprob else []),
        ]
    )
    return steps


def epoch_size(options: TrainingConfig, evaluation: EvaluationTransform, epoch: int) -> int:
    """Return the side in pixels that training sees in an epoch, counted from 0.

    Small photos first, for speed, as in EfficientNetV2's progressive learning (Tan & Le 2021).
    """
    last = options.train_size or evaluation.crop
    first = options.progressive_start_size or last
    if options.epochs == 1:
        return last
    size = first + (last - first) * epoch / (options.epochs - 1)
    return last if epoch == options.epochs - 1 else round(size / _SIZE_STEP) * _SIZE_STEP


def soft_targets(targets: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Turn int64 targets (N,) into float32 probabilities (N, num_classes).

    An outlier belongs to each class alike: outlier exposure (Hendrycks et al. 2019).
    """
    known = targets != OOD_TARGET
    soft = functional.one_hot(targets.clamp(min=0), num_classes).float()
    return torch.where(known[:, None], soft, 1.0 / num_classes)


def batch_mixing(
    options: TrainingConfig, num_classes: int
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Build what is done to a whole batch: mixup, cutmix, either at random, or nothing.

    The result takes images (N, 3, H, W) and float targets (N, num_classes), and gives both mixed.
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


class _Degradation(v2.Transform):  # type: ignore[misc]  # torchvision is not typed
    """Spoil a photo as a hurried user's camera, crop and messenger do."""

    def __init__(self, grounds: Sequence[Path]) -> None:
        super().__init__()
        self._grounds = grounds
        self._kinds: list[Callable[[Image.Image], Image.Image]] = [
            v2.GaussianBlur(kernel_size=9, sigma=(0.5, 2.5)),
            _compressed,
            _coarse,
            _noisy,
            self._elsewhere if grounds else _distant,
            _repeated,
        ]

    def forward(self, image: Image.Image) -> Image.Image:
        """Spoil an RGB image in one way, drawn at random."""
        return self._kinds[int(torch.randint(len(self._kinds), ()))](image)

    def _elsewhere(self, image: Image.Image) -> Image.Image:
        """Show the middle of the photo small, with soft edges, in another photo."""
        chosen = self._grounds[int(torch.randint(len(self._grounds), ()))]
        ground = ImageOps.fit(decode_photo(chosen), image.size)
        small, left, top = _shrunk(image)
        # A superellipse: flowers are round, and straight edges would give the trick away.
        across, down = (
            torch.linspace(-1, 1, side).abs() ** _ROUNDNESS for side in (small.width, small.height)
        )
        inside = (down[:, None] + across < 1).to(torch.uint8).mul(255)
        mask = Image.fromarray(inside.numpy())
        softened = mask.filter(ImageFilter.GaussianBlur(_uniform(0, min(small.size) / 20)))
        ground.paste(small, (left, top), ImageChops.darker(mask, softened))
        return ground


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


def _compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(_uniform(10, 60)))
    return Image.open(file).convert("RGB")


def _coarse(image: Image.Image) -> Image.Image:
    factor = _uniform(0.15, 0.5)
    small = image.resize([max(1, round(side * factor)) for side in image.size])
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _noisy(image: Image.Image) -> Image.Image:
    pixels = v2.functional.to_dtype(v2.functional.pil_to_tensor(image), scale=True)
    noisy = v2.functional.gaussian_noise(pixels, sigma=_uniform(0, _MOST_NOISE))
    result: Image.Image = v2.functional.to_pil_image(noisy)
    return result


def _distant(image: Image.Image) -> Image.Image:
    """Show the photo small on a ground of its own mean colour."""
    ground = image.resize((1, 1), Image.Resampling.BOX).resize(image.size)
    small, left, top = _shrunk(image)
    ground.paste(small, (left, top))
    return ground


def _shrunk(image: Image.Image) -> tuple[Image.Image, int, int]:
    """Return the photo smaller, and where in one of its own size it shall lie (left, top)."""
    factor = _uniform(0.35, 0.8)
    small = image.resize([max(1, round(side * factor)) for side in image.size])
    left, top = (
        round(_uniform(0, whole - part)) for whole, part in zip(image.size, small.size, strict=True)
    )
    return small, left, top


def _repeated(image: Image.Image) -> Image.Image:
    """Show a bed of small flowers: the photo and its mirror image side by side, in rows."""
    count = int(torch.randint(2, 5, ()))
    small = image.resize([max(1, round(side / count)) for side in image.size])
    mirrored = ImageOps.mirror(small)
    bed = Image.new("RGB", (count * small.width, count * small.height))
    for column in range(count):
        for row in range(count):
            tile = mirrored if (column + row) % 2 else small
            bed.paste(tile, (column * small.width, row * small.height))
    return bed.resize(image.size)


def denormalized(images: torch.Tensor, transform: EvaluationTransform) -> torch.Tensor:
    """Undo the normalisation of images (…, 3, H, W), to values in [0, 1] for looking at."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    return (images * std + mean).clamp(0, 1)
