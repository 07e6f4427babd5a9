"""The training augmentations, in torchvision's transforms v2.

RGB image -> random crop, flip, policy -> [0, 1] -> normalised float32 3×H×W -> random erasing
batch     -> mixup or cutmix -> batch and soft targets
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import v2

from model.training.options import TrainingOptions
from model.transforms import EvaluationTransform

_JITTER = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.02}
_ARTICLE_ROTATION = 30  # degrees, to either side


def training_transform(
    options: TrainingOptions, evaluation: EvaluationTransform
) -> Callable[[Image.Image], Any]:
    """Build the transform of a training photo, to the mean and scale that `evaluation` has.

    It draws from torch's global CPU generator.
    """
    if options.augmentation == "none":
        return evaluation
    size = options.train_size or evaluation.crop
    crop = v2.RandomResizedCrop(
        size,
        scale=(options.crop_scale, 1.0),
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
            *policies[options.augmentation],
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(evaluation.mean, evaluation.std),
            *([v2.RandomErasing(options.erasing)] if options.erasing else []),
        ]
    )
    return steps


def batch_mixing(
    options: TrainingOptions, num_classes: int
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Build what is done to a whole batch: mixup, cutmix, either at random, or nothing.

    The result takes images (N, 3, H, W) and int64 targets (N,), and gives images and targets:
    float (N, num_classes) where mixed, as they were where not.
    """
    choices: list[Any] = []
    if options.mixup:
        choices.append(v2.MixUp(alpha=options.mixup, num_classes=num_classes))
    if options.cutmix:
        choices.append(v2.CutMix(alpha=options.cutmix, num_classes=num_classes))
    if not choices:
        return lambda images, targets: (images, targets)
    mixing: Callable[..., tuple[torch.Tensor, torch.Tensor]] = v2.RandomChoice(choices)
    return mixing


def denormalized(images: torch.Tensor, transform: EvaluationTransform) -> torch.Tensor:
    """Undo the normalisation of images (…, 3, H, W), to values in [0, 1] for looking at."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    return (images * std + mean).clamp(0, 1)
