"""Evaluation of a classifier on folders of photos."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.backends.torch_backend import TorchBackend
from model.checkpoint.format import load_checkpoint
from model.classifier import Classifier
from model.data.photo_folder import PhotoFolder, UnreadablePhotoError
from model.evaluation.corruptions import CORRUPTIONS
from model.evaluation.datasets import OodPhotos, labelled_photos
from model.evaluation.evaluate import EvaluationError, compute_logits, evaluate, evaluate_all
from model.evaluation.metrics import compute_metrics
from model.evaluation.multi_photo import compute_multi_photo_metrics
from model.evaluation.ood_metrics import compute_ood_metrics
from model.imaging.decode import decode_image
from model.ood import OodRule, ood_scores
from tests.conftest import TINY_CLASSES, flower_image
from tests.fake_checkpoint import always, save_fake_checkpoint

CLASS_IDS = [item.class_id for item in TINY_CLASSES]  # 1, 10, 100, 2, 21, 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder with two photos of class 21 and one of class 100."""
    for seed, name in enumerate(("21/a.png", "21/b.png", "100/c.png")):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        flower_image((180, 200), seed).save(tmp_path / "set" / name)
    return tmp_path / "set"


@pytest.mark.slow
@pytest.mark.parametrize("index", range(6))
def test_each_class_is_measured_under_its_own_id(tmp_path: Path, index: int) -> None:
    for class_id in CLASS_IDS:
        (tmp_path / "set" / class_id).mkdir(parents=True)
        flower_image((180, 200)).save(tmp_path / "set" / class_id / "photo.png")
    path = save_fake_checkpoint(tmp_path / "fake.safetensors", always(index))
    classifier = Classifier.load(path, "cpu")
    metrics = evaluate(classifier, labelled_photos(classifier, tmp_path / "set"), workers=0)
    assert metrics.n == 6
    for class_id in CLASS_IDS:
        row = metrics.per_class[class_id]
        if class_id == CLASS_IDS[index]:
            assert (row.accuracy, row.confused_with) == (1, None)
        else:
            assert (row.accuracy, row.confused_with) == (0, CLASS_IDS[index])


def test_a_folder_without_some_classes_keeps_the_checkpoints_indices(
    tiny_checkpoint: Path, folder: Path
) -> None:
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    photos = labelled_photos(classifier, folder)
    logits, targets = compute_logits(classifier, photos, workers=0)
    assert logits.shape == (3, 6)
    # In the order of `samples`: folder "100" before folder "21".
    assert targets.tolist() == [
        CLASS_IDS.index(Path(path).parent.name) for path, _ in photos.samples
    ]
    assert sorted(targets.tolist()) == [2, 4, 4]
    metrics = evaluate(classifier, photos, workers=0)
    assert list(metrics.per_class) == ["100", "21"]


@pytest.mark.slow
def test_logits_match_the_service_for_any_batch_size_and_workers(
    tiny_checkpoint: Path, folder: Path
) -> None:
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    photos = labelled_photos(classifier, folder)
    side = classifier.metadata.transform.resize
    inputs = [
        classifier.preprocess(decode_image(Path(path).read_bytes(), target_side=side))
        for path, _ in photos.samples
    ]
    served = torch.cat([torch.from_numpy(classifier.logits(values[None])) for values in inputs])
    assert served.std(dim=0).max() > 1e-3  # equal logits would hide a wrong order
    for batch_size, workers in ((1, 0), (2, 1), (32, 0)):
        logits, _ = compute_logits(classifier, photos, batch_size=batch_size, workers=workers)
        torch.testing.assert_close(logits, served, atol=1e-5, rtol=1e-5)


def test_loss_and_ece_use_the_checkpoints_temperature(tmp_path: Path, folder: Path) -> None:
    path = save_fake_checkpoint(tmp_path / "warm.safetensors", always(4), temperature=4.0)
    classifier = Classifier.load(path, "cpu")
    metrics = evaluate(classifier, labelled_photos(classifier, folder), workers=0)
    expected = compute_metrics(
        torch.tensor([always(4)] * 3), torch.tensor([2, 4, 4]), CLASS_IDS, 4.0
    )
    assert metrics.loss == pytest.approx(expected.loss, abs=1e-5)
    assert metrics.ece == pytest.approx(expected.ece, abs=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_photo_stops_the_evaluation_and_is_named(
    tiny_checkpoint: Path, folder: Path, workers: int
) -> None:
    damaged = folder / "21" / "b.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    with pytest.raises(UnreadablePhotoError) as caught:
        evaluate(classifier, labelled_photos(classifier, folder), workers=workers)
    assert str(caught.value).startswith(f"{damaged}: ")
    assert "Traceback" not in str(caught.value)


def test_photos_can_be_sent_to_a_worker_process(tiny_checkpoint: Path, folder: Path) -> None:
    """Workers that are not forked, as on macOS, receive them by pickle."""
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    sets: list[PhotoFolder | OodPhotos] = [OodPhotos(classifier, [folder / "21" / "a.png"])]
    for corruption in (None, *CORRUPTIONS.values()):
        sets.append(labelled_photos(classifier, folder, corruption))
    for photos in sets:
        sent = pickle.dumps(photos)
        assert len(sent) < 100_000  # without the network
        torch.testing.assert_close(pickle.loads(sent)[0][0], photos[0][0], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_corruption_precedes_the_transform(
    tiny_checkpoint: Path, folder: Path, workers: int
) -> None:
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    change = CORRUPTIONS["center crop, × 0.5"]
    photos = labelled_photos(classifier, folder, change)
    side = classifier.metadata.transform.resize
    inputs = [
        classifier.preprocess(change(decode_image(Path(path), target_side=side)))
        for path, _ in photos.samples
    ]
    expected = torch.cat([torch.from_numpy(classifier.logits(item[None])) for item in inputs])
    changed, _ = compute_logits(classifier, photos, workers=workers)
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=1e-5)
    unchanged, _ = compute_logits(classifier, labelled_photos(classifier, folder), workers=0)
    assert (changed - unchanged).abs().max() > 1e-3


@pytest.mark.slow
def test_each_metric_is_computed_from_the_logits_of_its_own_photos(
    tiny_checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    white = tmp_path / "white.png"
    Image.new("RGB", (180, 180), "white").save(white)
    photos = labelled_photos(classifier, folder)
    logits, targets = compute_logits(classifier, photos, workers=0)
    known, classes = logits.numpy(), targets.numpy()
    ood = compute_logits(classifier, OodPhotos(classifier, [white]), workers=0)[0].numpy()
    # Between the two lowest scores, so that one of the three photos is flagged OOD.
    scores = np.sort(ood_scores("max_logit", known, classifier.metadata.temperature))
    rule = OodRule("max_logit", float(scores[:2].mean()))
    metadata = replace(classifier.metadata, ood_rule=rule)
    found = evaluate_all(
        Classifier(classifier.network, metadata),
        {"first": folder, "second": folder},
        {"other": [white, white]},
        corrupted="second",
        workers=0,
    )
    assert list(found.sets) == ["first", "second"]
    for metrics in found.sets.values():
        assert metrics.classification.n == 3
        assert metrics.verdicts is not None
        assert metrics.verdicts.unknown == pytest.approx(1 / 3)
        assert metrics.multi_photo == compute_multi_photo_metrics(
            known, classes, classes, metadata.temperature, rule
        )
        assert [item.photos for item in metrics.multi_photo] == [2]
    twice = np.concatenate([ood, ood])
    both = {"first": known, "second": known}
    expected = compute_ood_metrics(both, twice, metadata.temperature, rule)
    other = found.ood["other"]
    assert (other.n, other.verdicts, other.against) == (2, expected.verdicts, expected.against)
    assert [item.combined_top1 for item in other.multi_photo] == [None]
    assert list(other.multi_photo_against) == ["first", "second"]
    assert list(found.corruptions) == ["second"]
    assert list(found.corruptions["second"]) == list(CORRUPTIONS)
    for name, corruption in CORRUPTIONS.items():
        corrupted = labelled_photos(classifier, folder, corruption)
        assert found.corruptions["second"][name] == evaluate(classifier, corrupted, workers=0).top1


@pytest.mark.slow
def test_logits_that_are_not_finite_are_an_error(tiny_checkpoint: Path, folder: Path) -> None:
    network, metadata = load_checkpoint(tiny_checkpoint)
    bias = network.get_parameter("classifier.bias")
    bias.data.fill_(float("inf"))
    backend = TorchBackend(network, torch.device("cpu"), metadata.transform)
    classifier = Classifier(backend, metadata)
    with pytest.raises(EvaluationError):
        evaluate(classifier, labelled_photos(classifier, folder), workers=0)
