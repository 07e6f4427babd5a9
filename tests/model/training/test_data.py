"""Which photos an epoch shows, how often, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.data.photo_folder import PhotoFolderError
from model.imaging.transforms import EvaluationTransform
from model.training.augmentation import OUTLIER
from model.training.config import TrainingConfig
from model.training.data import (
    ResumableOrder,
    SeededPhotos,
    find_classes,
    sampling_weights,
    training_photos,
)

TRANSFORM = EvaluationTransform(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
Options = Callable[..., TrainingConfig]


def drawn(weights: list[float], epochs: int = 1) -> list[int]:
    order = ResumableOrder(weights, seed=3)
    indices: list[int] = []
    for epoch in range(epochs):
        order.start(epoch)
        indices += order
    return indices


def photos_of(targets: list[int]) -> SeededPhotos:
    samples = [(Path(f"{index}.webp"), target) for index, target in enumerate(targets)]
    return SeededPhotos(samples, lambda epoch: TRANSFORM, seed=0)


def test_equal_weights_show_each_photo_once() -> None:
    indices = drawn([0.3] * 1000)
    assert sorted(indices) == list(range(1000))
    assert indices != sorted(indices)


def test_weights_show_a_photo_as_often_as_they_say() -> None:
    weights = [1.0, 2.5, 0.25, 4.0, 0.25] * 20
    epochs = 400
    counts = Counter(drawn(weights, epochs))
    for first in range(5):
        alike = [counts[index] for index in range(first, len(weights), 5)]
        expected = weights[first] / sum(weights) * len(weights) * epochs
        assert sum(alike) / len(alike) == pytest.approx(expected, rel=0.05)
    once = Counter(drawn(weights))
    assert sum(once.values()) == len(weights)
    assert max(once.values()) <= 3  # 4 / 1.6 = 2.5, rounded up


def test_an_epoch_is_entered_anywhere_with_the_same_rest() -> None:
    order = ResumableOrder([1.0, 3.0, 2.0] * 10, seed=1)
    order.start(4)
    whole = list(order)
    order.start(4, skipped=13)
    assert list(order) == whole[13:]
    order.start(5)
    assert list(order) != whole


@pytest.mark.parametrize(("balance", "share"), [(0.0, 9 / 10), (0.5, 3 / 4), (1.0, 1 / 2)])
def test_balance_goes_from_photos_to_classes(balance: float, share: float) -> None:
    weights = sampling_weights(photos_of([0] * 9 + [1]), TrainingConfig(balance=balance))
    assert sum(weights[:9]) / sum(weights) == pytest.approx(share)


@pytest.mark.parametrize("balance", [0.0, 0.7])
def test_outliers_have_their_share(balance: float) -> None:
    photos = photos_of([0] * 7 + [1] * 2 + [OUTLIER] * 5)
    options = TrainingConfig(balance=balance, outlier_share=0.2)
    weights = sampling_weights(photos, options)
    assert sum(weights[9:]) / sum(weights) == pytest.approx(0.2)


def test_folders_are_joined_and_outliers_follow(tiny_options: Options, own_folder: Path) -> None:
    names = sorted(path.name for path in (own_folder / "train").iterdir())
    more = own_folder / "more" / names[-1]
    more.mkdir(parents=True)
    photo = next((own_folder / "train" / names[0]).iterdir())
    (more / f"another{photo.suffix}").write_bytes(photo.read_bytes())
    unknown = own_folder / "unknown"
    unknown.mkdir()
    for number in range(4):
        (unknown / f"{number}{photo.suffix}").write_bytes(photo.read_bytes())
    plain = tiny_options(data=own_folder)
    options = tiny_options(
        data=own_folder,
        train_data=(Path("train"), Path("more")),
        outliers=(Path("unknown"),),
        leave_out=(f"{names[0]}/{photo.stem}",),
    )
    classes = find_classes(options)
    assert classes == find_classes(plain)

    before = training_photos(plain, classes, TRANSFORM).samples
    after = training_photos(options, classes, TRANSFORM).samples

    assert set(before) - set(after) == {(photo, 0)}
    added = [sample for sample in after if sample not in set(before)]
    assert added == [
        (more / f"another{photo.suffix}", len(names) - 1),
        (unknown / f"0{photo.suffix}", OUTLIER),
        (unknown / f"2{photo.suffix}", OUTLIER),
    ]


def test_a_photo_to_leave_out_must_be_there(tiny_options: Options) -> None:
    options = tiny_options(leave_out=("1/no_such_photo",))
    with pytest.raises(PhotoFolderError, match="--leave-out names 1/no_such_photo"):
        training_photos(options, find_classes(options), TRANSFORM)


def test_augmentation_is_drawn_from_epoch_and_index(tiny_options: Options) -> None:
    options = tiny_options(degradation=1.0, crop_scale=0.1, erasing=0.5)
    photos = training_photos(options, find_classes(options), TRANSFORM)
    first = photos[3][0]
    torch.manual_seed(99)
    torch.testing.assert_close(photos[3][0], first, rtol=0, atol=0)
    photos.start(1)
    assert not torch.equal(photos[3][0], first)


def test_the_classes_of_all_folders_must_be_those_of_valid(
    tiny_options: Options, own_folder: Path
) -> None:
    (own_folder / "more" / "999").mkdir(parents=True)
    options = tiny_options(data=own_folder, train_data=(Path("train"), Path("more")))
    with pytest.raises(PhotoFolderError, match=r"differ in class 999"):
        find_classes(options)


def test_photos_grow_over_the_epochs(tiny_options: Options) -> None:
    options = tiny_options(start_size=32, train_size=64, epochs=3)
    photos = training_photos(options, find_classes(options), TRANSFORM)
    sides = []
    for epoch in range(3):
        photos.start(epoch)
        sides.append(tuple(photos[0][0].shape))
    assert sides == [(3, 32, 32), (3, 48, 48), (3, 64, 64)]
