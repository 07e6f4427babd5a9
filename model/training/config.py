"""Options of a training run, with their defaults and ranges.

`scripts/train.py` builds its command line from this class; the run folder and the checkpoint keep
it as JSON. The defaults fine-tune every layer of a DenseNet-161 on one GPU.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from model.data import default_data_folder
from model.errors import PetalscopeError, join_names

_MAX_IMAGE_SIZE: Final = 2048


class ConfigError(PetalscopeError):
    """An option that is out of range, or two that contradict each other."""


@dataclass(frozen=True)
class TrainingConfig:
    """Data, network, augmentation and optimization of a training run."""

    data: Path = field(default_factory=default_data_folder)
    """Data folder with train/ and valid/, each with one folder of photos per class; or, with
    --valid-fraction, with the class folders themselves."""
    valid_fraction: float | None = None
    """Split the class folders of DATA into train/ and valid/: the fraction of each class for
    validation, such as 0.2. Links to the photos of both parts are written to OUTPUT/data."""
    split_seed: int = 0
    """Random seed of the split; runs with the same seed and photos have the same split."""
    train_data: tuple[Path, ...] = (Path("train"),)
    """Folders of training photos, relative to DATA. Each may hold only some of the classes."""
    train_data_weights: tuple[float, ...] = ()
    """Sampling factor of each folder of --train-data; by default 1 each."""
    class_balance: float = 0.0
    """0 samples photos uniformly; 1 samples the classes of a folder uniformly; values between
    interpolate: a class with n photos gets n^(1 - CLASS_BALANCE)."""
    check_photos: Literal["stop", "skip", "no"] = "stop"
    """Decode every photo before training: stop if any is unreadable, or skip those; no starts
    without the check."""
    exclude: tuple[str, ...] = ()
    """Photos to skip, as CLASS/NAME without suffix: duplicates, wrong labels."""
    ood_data: tuple[Path, ...] = ()
    """Folders of out-of-distribution photos, relative to DATA, for outlier exposure. All photos are
    used."""
    ood_data_half: tuple[Path, ...] = ()
    """The same, but trains on half of each folder and leaves the other half to evaluate.py."""
    ood_fraction: float = 0.1
    """Fraction of out-of-distribution photos in an epoch, if there are any."""
    paste_backgrounds: tuple[Path, ...] = ()
    """Folders of photos, relative to DATA, as backgrounds for shrunken training photos
    (--corruption-prob); by default a plain color. Half of each is used, as with --ood-data-half."""
    category_names: Path | None = None
    """JSON file of class names, {"21": "fire lily", …}; by default DATA/cat_to_name.json or,
    without this file, the names of the class folders."""
    output: Path | None = None
    """Run folder to write; by default runs/BACKBONE-TIME."""

    backbone: str = "densenet161"
    """Any timm image classification model: densenet161, vgg19, tf_efficientnet_lite2, …"""
    pretrained_path: Path | None = None
    """Local file of the backbone's pretrained weights; by default timm downloads them."""
    from_scratch: bool = False
    """Start from random weights."""
    initial_checkpoint: Path | None = None
    """Petalscope checkpoint to start from, including its head; same architecture and classes."""
    hidden_layers: tuple[int, ...] = ()
    """Widths of the head's hidden layers, such as 512 256; by default one linear layer."""
    dropout: float = 0.0
    """Dropout probability in the head."""
    freeze_backbone: bool = False
    """Train only the head."""
    freeze_groups: int = 0
    """Number of timm's layer groups to freeze, counted from the input."""

    image_size: int | None = None
    """Image side in pixels for validation and serving; by default the backbone's."""
    train_size: int | None = None
    """Image side in pixels for training; by default IMAGE_SIZE. Smaller is faster."""
    progressive_start_size: int | None = None
    """Image side in pixels in the first epoch; grows to TRAIN_SIZE in the last. By default
    TRAIN_SIZE throughout."""
    augmentation: Literal["none", "article", "light", "trivial", "rand"] = "trivial"
    """Policy: none; article (rotation, crop, flip); light (crop, flip, color jitter); trivial or
    rand (light with TrivialAugmentWide or RandAugment instead of color jitter)."""
    corruption_prob: float = 0.0
    """Probability of one corruption per photo: blur, JPEG artifacts, low resolution, noise,
    shrinking onto a background, or tiling."""
    crop_scale: float = 0.25
    """Smallest area of a random crop, as a fraction of the photo."""
    crop_aspect: float = 4 / 3
    """Largest aspect ratio of a random crop; the smallest is its inverse."""
    reprob: float = 0.0
    """Random erasing probability."""
    mixup: float = 0.0
    """Mixup alpha; 0 disables it. With cutmix too, each batch gets one of them."""
    cutmix: float = 0.0
    """Cutmix alpha; 0 disables it."""
    mixup_prob: float = 1.0
    """Probability that a batch gets mixup or cutmix, if either is enabled."""
    label_smoothing: float = 0.1
    """Label smoothing."""
    teacher: Path | None = None
    """Petalscope checkpoint of the same classes whose predictions are learned as well (knowledge
    distillation); usually of a larger architecture."""
    distillation_weight: float = 0.5
    """Weight of the teacher's predictions in the loss; the labels have the rest."""
    distillation_temperature: float = 1.0
    """Temperature of the teacher's and the network's predictions in the distillation loss."""

    epochs: int = 30
    """Number of epochs."""
    batch_size: int = 64
    """Photos per step, over all processes."""
    optimizer: str = "adamw"
    """timm optimizer: adamw, sgd, adam, adadelta, lamb, …; PyTorch's names such as SGD work too."""
    lr: float = 3e-4
    """Peak learning rate."""
    weight_decay: float = 0.05
    """Weight decay; never applied to biases and norms."""
    momentum: float = 0.9
    """Momentum, for optimizers that have one."""
    layer_decay: float | None = None
    """Layer-wise learning rate decay, from one layer group to the one below, such as 0.8."""
    clip_grad: float | None = 1.0
    """Maximum gradient norm; None disables clipping."""
    scheduler: str = "cosine"
    """timm schedule: cosine, step, multistep, poly, wsd, constant; none keeps LR. PyTorch's names
    such as StepLR work too."""
    warmup_epochs: float = 1.0
    """Epochs of linear warmup to LR, at most half of EPOCHS."""
    min_lr: float = 1e-6
    """Final learning rate."""
    decay_epochs: float = 10.0
    """Epochs between the steps of the step schedule."""
    decay_rate: float = 0.1
    """Factor at each step of the step schedule."""
    model_ema_decay: float = 0.998
    """Decay of the exponential moving average of the weights, which the checkpoint keeps; 0
    disables it."""

    keep_epoch: Literal["best", "last"] = "best"
    """Epoch to keep in the checkpoint: the best on valid, or the last, which suits a valid set that
    is easier than users' photos."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Mixed precision; auto means bf16 where the GPU, or a CPU with AVX-512 BF16 or AMX, supports
    it, and no otherwise."""
    device: Literal["auto", "cpu"] = "auto"
    """auto uses the GPUs that Accelerate was launched with."""
    workers: int | None = None
    """Data loading processes; by default one per core, at most eight."""
    seed: int = 0
    """Random seed of photo order, augmentation, dropout and head initialization."""
    checkpoint_dtype: Literal["float32", "float16"] = "float32"
    """Data type of the stored weight matrices; float16 halves the file."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: An option is out of range; the message names it as on the command line.
        """
        positive = (
            "epochs", "batch_size", "lr", "decay_epochs", "decay_rate", "distillation_temperature",
        )  # fmt: skip
        _require(self, positive, lambda value: 0 < value < math.inf, "above 0 and finite")
        _require(
            self,
            ("image_size", "train_size", "progressive_start_size"),
            lambda value: 16 <= value <= _MAX_IMAGE_SIZE,
            f"from 16 to {_MAX_IMAGE_SIZE}",
        )
        _require(
            self, ("seed", "split_seed"), lambda value: 0 <= value < 2**32, "from 0 to 2^32 - 1"
        )
        _require(self, ("valid_fraction",), lambda value: 0 < value < 1, "above 0 and below 1")
        fractions = ("dropout", "reprob", "label_smoothing", "model_ema_decay", "ood_fraction")
        _require(self, fractions, lambda value: 0 <= value < 1, "from 0 to below 1")
        _require(self, ("crop_scale", "layer_decay"), lambda value: 0 < value <= 1, "in (0, 1]")
        probabilities = ("class_balance", "corruption_prob", "mixup_prob", "distillation_weight")
        _require(self, probabilities, lambda value: 0 <= value <= 1, "0 to 1")
        _require(self, ("crop_aspect",), lambda value: value >= 1, "1 or more")
        counts = ("warmup_epochs", "workers", "freeze_groups")
        at_least_0 = ("mixup", "cutmix", "weight_decay", "min_lr", *counts)
        _require(self, at_least_0, lambda value: value >= 0, "0 or more")
        _require(self, ("clip_grad",), lambda value: value > 0, "above 0")
        if not self.train_data:
            raise ConfigError("--train-data needs at least one folder.")
        if self.train_data_weights and len(self.train_data_weights) != len(self.train_data):
            raise ConfigError(
                f"--train-data-weights has {len(self.train_data_weights)} values; give one for "
                f"each of the {len(self.train_data)} folders of --train-data."
            )
        if any(not 0 < weight < math.inf for weight in self.train_data_weights):
            raise ConfigError("--train-data-weights must be finite and above 0.")
        if any(width < 1 for width in self.hidden_layers):
            raise ConfigError("--hidden-layers must be widths of 1 or more.")
        if sum(map(bool, (self.from_scratch, self.pretrained_path, self.initial_checkpoint))) > 1:
            raise ConfigError(
                "--from-scratch, --pretrained-path and --initial-checkpoint contradict each "
                "other; give one."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON-ready values."""
        return {name: _plain(value, str) for name, value in asdict(self).items()}

    def describe(self) -> dict[str, Any]:
        """Return the options for the checkpoint metadata: file names without their folders."""
        values = asdict(self)
        del values["output"]
        return {name: _plain(value, lambda path: path.name) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Build options from the values of `to_dict`, or from some of them; the rest are defaults.

        Raises:
            ConfigError: An option name is unknown, or a value has the wrong type or is out of
                range; the message names the option.
        """
        known = {item.name for item in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ConfigError(f"There is no option {join_names(unknown)}.")
        try:
            # As JSON, because strict types then still take text as a path and a list as a tuple.
            return TypeAdapter(cls).validate_json(json.dumps(values, default=str), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"{_option(str(first['loc'][0]))} is {first['input']!r}: {first['msg']}."
            ) from None


def _plain(value: Any, name: Callable[[Path], str]) -> Any:
    if isinstance(value, tuple):
        return [_plain(item, name) for item in value]
    return name(value) if isinstance(value, Path) else value


def _require(options: TrainingConfig, names: tuple[str, ...], test: Any, allowed: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not test(value):
            raise ConfigError(f"{_option(name)} is {value}; it must be {allowed}.")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
