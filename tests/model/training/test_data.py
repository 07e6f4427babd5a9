"""Selection, sampling frequency and order of the training photos."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.data.photo_folder import PhotoFolderError
from model.imaging.transforms import EvaluationTransform
from model.training.augmentation import OOD_TARGET
from model.training.config import TrainingConfig
from model.training.data import (
    ResumableOrder,
    Sample,
    SeededPhotos,
    sampling_weights,
    training_photos,
    valid_photos,
)
from model.training.data_folders import find_classes

TRANSFORM = EvaluationTransform(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
Options = Callable[..., TrainingConfig]


def drawn(weights: list[float], epochs: int = 1) -> list[int]:
    order = ResumableOrder(weights, seed=3)
    indices: list[int] = []
    for epoch in range(epochs):
        order.start(epoch)
        indices += order
    return indices


def photos_of(targets: list[int], sources: list[int] | None = None) -> SeededPhotos:
    samples = [
        Sample(Path(f"{index}.webp"), target, source)
        for index, (target, source) in enumerate(
            zip(targets, sources or [0] * len(targets), strict=True)
        )
    ]
    return SeededPhotos(samples, lambda epoch: TRANSFORM, seed=0)


def test_equal_weights_show_each_photo_once() -> None:
    indices = drawn([0.3] * 1000)
    assert sorted(indices) == list(range(1000))
    assert indices != sorted(indices)


def test_photos_are_sampled_in_proportion_to_their_weights() -> None:
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


def test_an_epoch_can_be_resumed_at_any_photo() -> None:
    order = ResumableOrder([1.0, 3.0, 2.0] * 10, seed=1)
    order.start(4)
    whole = list(order)
    order.start(4, skipped=13)
    assert list(order) == whole[13:]
    order.start(5)
    assert list(order) != whole


@pytest.mark.parametrize(("balance", "share"), [(0.0, 9 / 10), (0.5, 3 / 4), (1.0, 1 / 2)])
def test_class_balance_interpolates_between_photos_and_classes(
    balance: float, share: float
) -> None:
    weights = sampling_weights(photos_of([0] * 9 + [1]), TrainingConfig(class_balance=balance))
    assert sum(weights[:9]) / sum(weights) == pytest.approx(share)


@pytest.mark.parametrize("balance", [0.0, 0.7])
def test_ood_photos_get_their_fraction(balance: float) -> None:
    photos = photos_of([0] * 7 + [1] * 2 + [OOD_TARGET] * 5)
    options = TrainingConfig(class_balance=balance, ood_fraction=0.2)
    weights = sampling_weights(photos, options)
    assert sum(weights[9:]) / sum(weights) == pytest.approx(0.2)


def test_a_class_is_balanced_within_each_folder_and_folders_are_weighted() -> None:
    # Groups (class, folder) of 4, 1 and 9 photos.
    photos = photos_of([0] * 4 + [1] + [0] * 9, [0] * 5 + [1] * 9)
    options = TrainingConfig(
        train_data=(Path("a"), Path("b")), train_data_weights=(1.0, 2.0), class_balance=0.5
    )
    weights = sampling_weights(photos, options)
    groups = [sum(weights[:4]), weights[4], sum(weights[5:])]
    assert groups == pytest.approx([4**0.5, 1, 2 * 9**0.5])


def test_folder_weights_do_not_change_the_ood_fraction() -> None:
    photos = photos_of([0] * 3 + [1] * 4 + [OOD_TARGET] * 2, [0] * 3 + [1] * 4 + [0] * 2)
    options = TrainingConfig(
        train_data=(Path("a"), Path("b")), train_data_weights=(1.0, 5.0), ood_fraction=0.3
    )
    weights = sampling_weights(photos, options)
    assert sum(weights[7:]) / sum(weights) == pytest.approx(0.3)


@pytest.mark.slow
def test_training_folders_are_merged_and_ood_photos_appended(
    tiny_options: Options, own_folder: Path
) -> None:
    names = sorted(path.name for path in (own_folder / "train").iterdir())
    more = own_folder / "more" / names[-1]
    more.mkdir(parents=True)
    photo = next((own_folder / "train" / names[0]).iterdir())
    (more / f"another{photo.suffix}").write_bytes(photo.read_bytes())
    halved = own_folder / "halved"
    halved.mkdir()
    for number in range(4):
        (halved / f"{number}{photo.suffix}").write_bytes(photo.read_bytes())
    whole = own_folder / "whole"
    whole.mkdir()
    for number in range(2):
        (whole / f"{number}{photo.suffix}").write_bytes(photo.read_bytes())
    plain = tiny_options(data=own_folder)
    options = tiny_options(
        data=own_folder,
        train_data=(Path("train"), Path("more")),
        ood_data=(Path("whole"),),
        ood_data_half=(Path("halved"),),
        exclude=(f"{names[0]}/{photo.stem}",),
    )
    classes = find_classes(options)
    assert classes == find_classes(plain)

    before = training_photos(plain, classes, TRANSFORM).samples
    after = training_photos(options, classes, TRANSFORM).samples

    assert set(before) - set(after) == {(photo, 0, 0)}
    added = [sample for sample in after if sample not in set(before)]
    assert added == [
        (more / f"another{photo.suffix}", len(names) - 1, 1),
        (whole / f"0{photo.suffix}", OOD_TARGET, 0),
        (whole / f"1{photo.suffix}", OOD_TARGET, 0),
        (halved / f"0{photo.suffix}", OOD_TARGET, 0),
        (halved / f"2{photo.suffix}", OOD_TARGET, 0),
    ]


def test_an_excluded_photo_must_exist(tiny_options: Options) -> None:
    options = tiny_options(exclude=("1/no_such_photo",))
    with pytest.raises(PhotoFolderError, match="1/no_such_photo"):
        training_photos(options, find_classes(options), TRANSFORM)


def test_augmentation_depends_only_on_epoch_and_index(tiny_options: Options) -> None:
    options = tiny_options(corruption_prob=1.0, crop_scale=0.1, reprob=0.5)
    photos = training_photos(options, find_classes(options), TRANSFORM)
    first = photos[3][0]
    torch.manual_seed(99)
    torch.testing.assert_close(photos[3][0], first, rtol=0, atol=0)
    photos.start(1)
    assert not torch.equal(photos[3][0], first)


@pytest.mark.parametrize("augmentation", ["none", "article", "light", "trivial", "rand"])
def test_photos_can_be_sent_to_a_worker_process(
    tiny_options: Options, own_folder: Path, augmentation: str
) -> None:
    options = tiny_options(
        data=own_folder,
        augmentation=augmentation,
        corruption_prob=1.0,
        paste_backgrounds=(Path("valid"),),
        reprob=0.5,
    )
    for photos in (
        training_photos(options, find_classes(options), TRANSFORM),
        valid_photos(options, find_classes(options), TRANSFORM),
    ):
        sent = pickle.loads(pickle.dumps(photos))
        torch.testing.assert_close(sent[3][0], photos[3][0], rtol=0, atol=0)


def test_all_folders_must_have_the_classes_of_valid(
    tiny_options: Options, own_folder: Path
) -> None:
    (own_folder / "more" / "999").mkdir(parents=True)
    options = tiny_options(data=own_folder, train_data=(Path("train"), Path("more")))
    with pytest.raises(PhotoFolderError, match="999"):
        find_classes(options)


def test_photos_grow_over_the_epochs(tiny_options: Options) -> None:
    options = tiny_options(progressive_start_size=32, train_size=64, epochs=3)
    photos = training_photos(options, find_classes(options), TRANSFORM)
    sides = []
    for epoch in range(3):
        photos.start(epoch)
        sides.append(tuple(photos[0][0].shape))
    assert sides == [(3, 32, 32), (3, 48, 48), (3, 64, 64)]
