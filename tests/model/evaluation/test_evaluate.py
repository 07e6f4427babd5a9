"""What an evaluation promises: every photo, its own class, the service's way to logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.backends.torch_backend import TorchBackend
from model.checkpoint.format import load_checkpoint
from model.classifier import Classifier
from model.data.photo_folder import UnreadablePhotoError
from model.evaluation.corruptions import CORRUPTIONS
from model.evaluation.evaluate import (
    EvaluationError,
    UnknownPhotos,
    compute_logits,
    evaluate,
    evaluate_all,
    labelled_photos,
)
from model.evaluation.metrics import measure
from model.evaluation.multi_photo import measure_multi_photo
from model.evaluation.ood_metrics import measure_ood
from model.imaging.decode import decode_image
from model.ood import OodRule, ood_scores
from tests.conftest import TINY_CLASSES, flower_image
from tests.fake_checkpoint import always, save_rigged_checkpoint

CLASS_IDS = [item.class_id for item in TINY_CLASSES]  # 1, 10, 100, 2, 21, 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos of class 21, one of class 100, none of the four others."""
    for seed, name in enumerate(("21/a.png", "21/b.png", "100/c.png")):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        flower_image((180, 200), seed).save(tmp_path / "set" / name)
    return tmp_path / "set"


@pytest.mark.parametrize("index", range(6))
def test_each_class_is_measured_under_its_own_id(tmp_path: Path, index: int) -> None:
    for class_id in CLASS_IDS:
        (tmp_path / "set" / class_id).mkdir(parents=True)
        flower_image((180, 200)).save(tmp_path / "set" / class_id / "photo.png")
    path = save_rigged_checkpoint(tmp_path / "rigged.safetensors", always(index))
    classifier = Classifier.load(path, "cpu")
    measures = evaluate(classifier, labelled_photos(classifier, tmp_path / "set"), workers=0)
    assert measures.n == 6
    for class_id in CLASS_IDS:
        row = measures.per_class[class_id]
        if class_id == CLASS_IDS[index]:
            assert (row.accuracy, row.taken_for) == (1, None)
        else:
            assert (row.accuracy, row.taken_for) == (0, CLASS_IDS[index])


def test_a_folder_that_lacks_classes_keeps_the_indices_of_the_checkpoint(
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
    measures = evaluate(classifier, photos, workers=0)
    assert list(measures.per_class) == ["100", "21"]


def test_logits_are_those_of_the_service_whatever_the_batches_and_workers(
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
    assert served.std(dim=0).max() > 1e-3  # else a shuffle would not show
    for batch_size, workers in ((1, 0), (2, 1), (32, 0)):
        logits, _ = compute_logits(classifier, photos, batch_size=batch_size, workers=workers)
        torch.testing.assert_close(logits, served, atol=1e-5, rtol=1e-5)


def test_loss_and_calibration_are_taken_at_the_checkpoints_temperature(
    tmp_path: Path, folder: Path
) -> None:
    path = save_rigged_checkpoint(tmp_path / "warm.safetensors", always(4), temperature=4.0)
    classifier = Classifier.load(path, "cpu")
    measures = evaluate(classifier, labelled_photos(classifier, folder), workers=0)
    expected = measure(torch.tensor([always(4)] * 3), torch.tensor([2, 4, 4]), CLASS_IDS, 4.0)
    assert measures.loss == pytest.approx(expected.loss, abs=1e-5)
    assert measures.ece == pytest.approx(expected.ece, abs=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_photo_stops_the_evaluation_and_is_named(
    tiny_checkpoint: Path, folder: Path, workers: int
) -> None:
    broken = folder / "21" / "b.png"
    broken.write_bytes(broken.read_bytes()[:500])
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    with pytest.raises(UnreadablePhotoError) as caught:
        evaluate(classifier, labelled_photos(classifier, folder), workers=workers)
    assert str(caught.value).startswith(f"{broken}: The PNG image is truncated")
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_change_is_made_before_the_transform(
    tiny_checkpoint: Path, folder: Path, workers: int
) -> None:
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    change = CORRUPTIONS["central half of each side"]
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


def test_all_is_measured_by_the_logits_of_its_own_photos(
    tiny_checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    classifier = Classifier.load(tiny_checkpoint, "cpu")
    other = tmp_path / "other.png"
    Image.new("RGB", (180, 180), "white").save(other)
    photos = labelled_photos(classifier, folder)
    known = compute_logits(classifier, photos, workers=0)[0].numpy()
    strange = compute_logits(classifier, UnknownPhotos(classifier, [other]), workers=0)[0].numpy()
    # Between the two lowest scores: one of the three photos of the classes is called unknown.
    scores = np.sort(ood_scores("max_logit", known, classifier.metadata.temperature))
    rule = OodRule("max_logit", float(scores[:2].mean()))
    metadata = replace(classifier.metadata, ood_rule=rule)
    found = evaluate_all(
        Classifier(classifier.network, metadata),
        {"first": folder, "second": folder},
        {"other": [other, other]},
        robustness=True,
        workers=0,
    )
    assert found.called_unknown == pytest.approx({"first": 1 / 3, "second": 1 / 3})
    wrong = known[known.argmax(axis=1) != np.array(photos.targets)]
    of_wrong = float((ood_scores("max_logit", wrong, metadata.temperature) < scores[1]).mean())
    assert len(wrong) > 0
    assert found.wrong_called_unknown == pytest.approx({"first": of_wrong, "second": of_wrong})
    assert found.pairs["first"] == measure_multi_photo(
        *compute_logits(classifier, photos, workers=0)
    )
    measures = found.unknown["other"]
    twice = np.concatenate([strange, strange])
    assert measures.n == 2
    assert measures == measure_ood(known, twice, metadata.temperature, rule)
    assert list(found.robustness) == list(CORRUPTIONS)
    for name, change in CORRUPTIONS.items():
        changed = evaluate(classifier, labelled_photos(classifier, folder, change), workers=0)
        assert found.robustness[name] == changed.top1


def test_a_network_that_gives_no_numbers_is_not_measured(
    tiny_checkpoint: Path, folder: Path
) -> None:
    network, metadata = load_checkpoint(tiny_checkpoint)
    bias = network.get_parameter("classifier.bias")
    bias.data.fill_(float("inf"))
    side = metadata.transform.crop
    classifier = Classifier(TorchBackend(network, torch.device("cpu"), side), metadata)
    with pytest.raises(EvaluationError, match="3 of 3 photos"):
        evaluate(classifier, labelled_photos(classifier, folder), workers=0)
