"""All that can be chosen about a training, with its defaults, on one screen.

`scripts/train.py` makes its command line from this class; the run folder and the checkpoint keep
it as JSON. The defaults fine-tune every layer of a DenseNet-161 on one GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from model.data.data_folder import default_data_folder
from model.errors import PetalscopeError


class ConfigError(PetalscopeError):
    """An option is out of its range, or two of them contradict each other."""


@dataclass(frozen=True)
class TrainingConfig:
    """What to train, on what, and how."""

    data: Path = field(default_factory=default_data_folder)
    """Folder that holds train/ and valid/, each with one folder of photos a class."""
    train_data: tuple[Path, ...] = (Path("train"),)
    """Folders of photos to train on, found from DATA, each with folders of some of the classes."""
    outliers: tuple[Path, ...] = ()
    """Folders of photos of none of the classes, found from DATA, to be unsure about. Training takes
    half of each; evaluate.py can measure on the other half."""
    outlier_share: float = 0.1
    """Share of the photos of an epoch that are outliers, where there are any."""
    grounds: tuple[Path, ...] = ()
    """Folders of photos without flowers, found from DATA, in which degradation shows other photos
    small instead of on a plain ground. Training takes half of each, as of outliers."""
    leave_out: tuple[str, ...] = ()
    """Photos not to train on, as CLASS/NAME without a suffix: duplicates, wrong labels."""
    balance: float = 0.0
    """0 takes each photo once an epoch; 1 takes each class equally often, however few photos it
    has; values between go between."""
    names: Path | None = None
    """JSON file of category names, {"21": "fire lily", …}; by default DATA/cat_to_name.json."""
    output: Path | None = None
    """Run folder to write; by default runs/BACKBONE-TIME."""

    backbone: str = "densenet161"
    """Any timm image-classification model: densenet161, vgg19, tf_efficientnet_lite2, …"""
    weights: Path | None = None
    """Local file of the backbone's starting weights, instead of fetching them from timm's hub."""
    from_scratch: bool = False
    """Start from random weights."""
    start: Path | None = None
    """Checkpoint of the same architecture and classes to start from, head and all: to finish with
    larger photos, or to learn from more of them."""
    hidden_layers: tuple[int, ...] = ()
    """Widths of hidden layers in the head, such as 512 256; none for one linear layer."""
    dropout: float = 0.0
    """Probability of dropout in the head."""
    freeze_backbone: bool = False
    """Train the head alone."""
    frozen_groups: int = 0
    """How many of timm's layer groups, from the input on, keep their starting weights."""

    image_size: int | None = None
    """Side in pixels of the image that validation and serving see; by default the backbone's."""
    train_size: int | None = None
    """Side in pixels that training sees; by default IMAGE_SIZE. A smaller one trains faster."""
    start_size: int | None = None
    """Side in pixels that the first epoch sees, which then grows to TRAIN_SIZE by the last; by
    default TRAIN_SIZE throughout."""
    augmentation: Literal["none", "article", "light", "trivial", "rand"] = "trivial"
    """Policy: none; article (rotation, crop, flip); light (crop, flip, colour); light with
    TrivialAugmentWide or RandAugment instead of colour."""
    degradation: float = 0.0
    """Probability that a photo is spoilt: blurred, compressed, of low resolution, noisy, small on
    another ground, or many times side by side."""
    crop_scale: float = 0.25
    """Smallest part of a photo's area that a random crop takes."""
    crop_aspect: float = 4 / 3
    """Longest and shortest width of a random crop, as a multiple and part of its height: how far
    photos are stretched."""
    erasing: float = 0.0
    """Probability that a random rectangle of a photo is erased."""
    mixup: float = 0.0
    """Alpha of mixup; 0 for none. With cutmix too, each batch takes one of them."""
    cutmix: float = 0.0
    """Alpha of cutmix; 0 for none."""
    mixing: float = 1.0
    """Share of the batches that mixup or cutmix mixes, where either is on."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes."""

    epochs: int = 30
    """How many times to go through the training photos."""
    batch_size: int = 64
    """Photos in a step, over all processes."""
    optimizer: str = "adamw"
    """timm's name of an optimizer: adamw, sgd, adam, adadelta, lamb, …"""
    lr: float = 3e-4
    """Learning rate at its peak."""
    weight_decay: float = 0.05
    """Weight decay; never applied to biases and norms."""
    momentum: float = 0.9
    """Momentum of the optimizers that have one."""
    layer_decay: float | None = None
    """Factor on the learning rate from one layer group to the one below, such as 0.8."""
    clip_grad: float | None = 1.0
    """Largest norm of the gradient; None for no limit."""
    scheduler: str = "cosine"
    """timm's name of a schedule: cosine, step, multistep, poly, wsd, constant; none keeps LR."""
    warmup_epochs: float = 1.0
    """Epochs in which the learning rate rises to LR."""
    min_lr: float = 1e-6
    """Learning rate at the end."""
    decay_epochs: float = 10.0
    """Epochs between the steps of the step schedule."""
    decay_rate: float = 0.1
    """Factor at each step of the step schedule."""
    average_decay: float = 0.998
    """Decay of the moving average of the weights, which is what is kept; 0 for none."""

    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Mixed precision; auto is bf16 on a GPU that has it and on a CPU with AVX-512 BF16 or AMX, and
    none elsewhere."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes the GPUs that Accelerate was launched with."""
    workers: int | None = None
    """Processes that decode photos; by default one a core, eight at most."""
    seed: int = 0
    """Seed of the order of photos, of augmentation, dropout and the head's start."""
    half_precision_checkpoint: bool = False
    """Store the checkpoint's matrices as float16, half the size."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Named by its option on the command line.
        """
        positive = ("epochs", "batch_size", "lr", "decay_epochs", "decay_rate")
        _require(self, positive, lambda value: value > 0, "above 0")
        _require(
            self,
            ("image_size", "train_size", "start_size"),
            lambda value: value >= 16,
            "16 or more",
        )
        shares = ("dropout", "erasing", "label_smoothing", "average_decay", "outlier_share")
        _require(self, shares, lambda value: 0 <= value < 1, "from 0 to below 1")
        _require(self, ("crop_scale", "layer_decay"), lambda value: 0 < value <= 1, "in (0, 1]")
        _require(
            self, ("balance", "degradation", "mixing"), lambda value: 0 <= value <= 1, "0 to 1"
        )
        _require(self, ("crop_aspect",), lambda value: value >= 1, "1 or more")
        counts = ("warmup_epochs", "workers", "frozen_groups")
        at_least_0 = ("mixup", "cutmix", "weight_decay", "min_lr", *counts)
        _require(self, at_least_0, lambda value: value >= 0, "0 or more")
        _require(self, ("clip_grad",), lambda value: value > 0, "above 0")
        if not self.train_data:
            raise ConfigError("--train-data needs at least one folder.")
        if any(width < 1 for width in self.hidden_layers):
            raise ConfigError("--hidden-layers must be widths of 1 or more.")
        if sum(map(bool, (self.from_scratch, self.weights, self.start))) > 1:
            raise ConfigError(
                "--from-scratch, --weights and --start contradict each other; give one."
            )
        if self.scheduler != "none" and self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ConfigError(
                f"--warmup-epochs is {self.warmup_epochs}; "
                f"it must be below --epochs ({self.epochs})."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON-ready values."""
        return {name: _plain(value, str) for name, value in asdict(self).items()}

    def describe(self) -> dict[str, Any]:
        """Return the options as a checkpoint tells them: files by name, not where they lie."""
        values = asdict(self)
        del values["output"]
        return {name: _plain(value, lambda path: path.name) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Rebuild the options from `to_dict`, or from some of its values; the rest is default.

        Raises:
            TypeError: An option has no such name.
            ConfigError: A value is out of its range.
        """
        known = {item.name for item in fields(cls)}
        if unknown := values.keys() - known:
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        return cls(**{name: _typed(name, value) for name, value in values.items()})


_PATHS: Final = ("data", "names", "output", "weights", "start", "train_data", "outliers", "grounds")


def _plain(value: Any, name: Callable[[Path], str]) -> Any:
    if isinstance(value, tuple):
        return [_plain(item, name) for item in value]
    return name(value) if isinstance(value, Path) else value


def _typed(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_typed(name, item) for item in value)
    return Path(value) if name in _PATHS and value is not None else value


def _require(options: TrainingConfig, names: tuple[str, ...], test: Any, wanted: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not test(value):
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option} is {value}; it must be {wanted}.")
