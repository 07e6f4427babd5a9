"""Classification of images to ranked predictions."""

from __future__ import annotations

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from PIL import Image

import model.classifier
from model.backends.base import DeviceError
from model.backends.normalization import InputNormalization
from model.backends.torch_backend import TorchBackend, resolve_device
from model.checkpoint.format import load_checkpoint, save_checkpoint
from model.checkpoint.metadata import CheckpointNotFoundError
from model.classifier import Classifier, Prediction
from model.ood import OodRule
from tests.conftest import TINY_CLASSES, flower_image

IMAGES = [flower_image((200 + 20 * seed, 180), seed) for seed in range(6)]


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint, "cpu")


def batch_of(classifier: Classifier, images: list[Image.Image]) -> npt.NDArray[np.uint8]:
    return np.stack([classifier.preprocess(image) for image in images])


def rankings(classifier: Classifier, top_k: int) -> list[list[Prediction]]:
    return [result.predictions for result in classifier.predict(IMAGES, top_k)]


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(
    classifier: Classifier,
) -> None:
    batch = batch_of(classifier, IMAGES)
    logits = classifier.logits(batch)
    assert logits.shape == (6, 6)
    assert logits.dtype == np.float32
    exponents = np.exp(logits.astype(np.float64) / 0.5)
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    probabilities = classifier.probabilities(batch)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(classifier.calibrated(logits), probabilities, rtol=1e-6)


def test_the_logits_are_those_of_the_checkpoints_network(
    classifier: Classifier, tiny_checkpoint: Path
) -> None:
    network, metadata = load_checkpoint(tiny_checkpoint)
    batch = np.stack([metadata.transform(image) for image in IMAGES])
    with torch.inference_mode():
        inputs = InputNormalization(metadata.transform)(torch.from_numpy(batch))
        expected = network(inputs).numpy()
    np.testing.assert_allclose(classifier.logits(batch), expected, rtol=1e-4, atol=1e-5)


def test_a_low_temperature_sharpens_and_a_high_one_flattens(tiny_checkpoint: Path) -> None:
    network, metadata = load_checkpoint(tiny_checkpoint)
    served = TorchBackend(network, torch.device("cpu"), metadata.transform)
    largest = []
    for temperature in (0.1, 1.0, 10.0):
        warm = dataclasses.replace(metadata, temperature=temperature)
        classifier = Classifier(served, warm)
        largest.append(classifier.probabilities(batch_of(classifier, IMAGES[:1])).max())
    assert largest[0] > largest[1] > largest[2] > 1 / 6


def test_all_probabilities_of_an_image_sum_to_1(classifier: Classifier) -> None:
    for ranking in rankings(classifier, top_k=6):
        assert sum(prediction.probability for prediction in ranking) == pytest.approx(1, abs=1e-6)
        assert {prediction.class_id for prediction in ranking} == {
            flower.class_id for flower in TINY_CLASSES
        }


def test_combined_photos_have_the_mean_log_probabilities_and_the_combined_score(
    classifier: Classifier,
) -> None:
    logits = classifier.logits(batch_of(classifier, IMAGES[:3]))
    rule = OodRule("max_logit", 0.0)
    metadata = dataclasses.replace(classifier.metadata, ood_rule=rule)
    result = Classifier(classifier.network, metadata).combined_result(logits, top_k=6)
    means = np.exp(np.log(classifier.calibrated(logits).astype(np.float64)).mean(axis=0))
    ids = [flower.class_id for flower in TINY_CLASSES]
    for prediction in result.predictions:
        expected = (means / means.sum())[ids.index(prediction.class_id)]
        assert prediction.probability == pytest.approx(expected, rel=1e-5)
    assert result.ood is not None
    (score,) = rule.combined_scores(logits[None], metadata.temperature)
    assert result.ood.score == pytest.approx(score)
    assert classifier.combined_result(logits[:1]) == classifier.result(logits[0])


def test_extreme_logits_still_give_probabilities(classifier: Classifier) -> None:
    rows = [[1e4, -1e4, 0.0, 0.0, 0.0, 0.0], [-1e30, -1e30, 0, 0, 0, 0]]
    logits = np.array(rows, dtype=np.float32)
    probabilities = classifier.calibrated(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert probabilities[0, 0] == 1


def test_predictions_are_ranked_by_probability(classifier: Classifier) -> None:
    row = np.array([0.0625, 0.125, 0.03125, 0.25, 0.5, 0.03125], np.float32)
    assert classifier.rank(row, top_k=3) == [
        Prediction("21", "fire lily", 0.5),
        Prediction("2", "hard-leaved pocket orchid", 0.25),
        Prediction("10", "globe thistle", 0.125),
    ]


def test_every_class_has_the_name_of_its_own_index(classifier: Classifier) -> None:
    for index, flower in enumerate(TINY_CLASSES):
        first = classifier.rank(np.eye(6, dtype=np.float32)[index], top_k=1)
        assert first == [Prediction(flower.class_id, flower.name, 1.0)]


def test_ties_keep_the_order_of_the_classes(classifier: Classifier) -> None:
    row = np.array([0.1, 0.2, 0.2, 0.1, 0.2, 0.2], np.float32)
    ids = [prediction.class_id for prediction in classifier.rank(row, top_k=6)]
    assert ids == ["10", "100", "21", "5", "1", "2"]


@pytest.mark.parametrize("top_k", [1, 2, 6])
def test_top_k_sets_the_number_of_predictions(classifier: Classifier, top_k: int) -> None:
    some = rankings(classifier, top_k)
    assert [len(ranking) for ranking in some] == [top_k] * 6
    assert some == [ranking[:top_k] for ranking in rankings(classifier, 6)]


@pytest.mark.parametrize("top_k", [0, -1, 7])
def test_top_k_out_of_range_is_refused(classifier: Classifier, top_k: int) -> None:
    with pytest.raises(ValueError, match="top_k"):
        classifier.predict(IMAGES[:1], top_k)


def test_no_images_give_no_results(classifier: Classifier) -> None:
    assert classifier.predict([]) == []


def test_probabilities_do_not_depend_on_the_batch(classifier: Classifier) -> None:
    together = classifier.probabilities(batch_of(classifier, IMAGES))
    alone = [classifier.probabilities(batch_of(classifier, [image]))[0] for image in IMAGES]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_different_images_have_different_probabilities(classifier: Classifier) -> None:
    rows = classifier.probabilities(batch_of(classifier, IMAGES))
    assert len(np.unique(rows.round(6), axis=0)) == len(IMAGES)


@pytest.mark.slow
def test_eight_threads_get_the_same_probabilities_as_one(classifier: Classifier) -> None:
    def classify(index: int) -> npt.NDArray[np.float32]:
        return classifier.probabilities(batch_of(classifier, [IMAGES[index]]))

    expected = np.concatenate([classify(index) for index in range(len(IMAGES))])
    turns = [index % len(IMAGES) for index in range(96)]
    with ThreadPoolExecutor(8) as pool:
        results = np.concatenate(list(pool.map(classify, turns)))
    np.testing.assert_allclose(results, expected[turns], rtol=0, atol=1e-6)


def test_the_version_is_the_digest_of_the_file(
    classifier: Classifier, tiny_checkpoint: Path
) -> None:
    digest = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    assert len(classifier.version) == 12
    assert digest.startswith(classifier.version)


def test_half_precision_weights_run_in_single_precision(
    classifier: Classifier, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    network, metadata = load_checkpoint(tiny_checkpoint)
    save_checkpoint(half, network.state_dict(), metadata, half_precision=True)
    assert torch.float16 in {t.dtype for t in safetensors.torch.load_file(half).values()}
    served = Classifier.load(half, "cpu")
    batch = batch_of(served, IMAGES)
    assert served.logits(batch).dtype == np.float32
    np.testing.assert_allclose(
        served.probabilities(batch), classifier.probabilities(batch), rtol=0, atol=0.01
    )
    assert served.version != classifier.version


def test_a_missing_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        Classifier.load(tmp_path / "none.safetensors", "cpu")


@pytest.mark.parametrize(
    "name", ["", "tpu", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cuda:٣"]
)
def test_an_unknown_device_is_an_error(name: str, tiny_checkpoint: Path) -> None:
    with pytest.raises(DeviceError):
        resolve_device(name)
    with pytest.raises(DeviceError):
        Classifier.load(tiny_checkpoint, name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_a_missing_gpu_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=name):
        resolve_device(name)


def test_a_gpu_index_out_of_range_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("cuda") == torch.device("cuda")
    with pytest.raises(DeviceError, match="cuda:2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(("available", "expected"), [(False, "cpu"), (True, "cuda")])
def test_auto_uses_a_gpu_if_there_is_one(
    available: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device("cpu") == torch.device("cpu")


def test_the_number_of_threads_is_set_if_given_or_limited_by_a_quota(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    for quota in (0, 2):
        monkeypatch.setattr(model.classifier, "quota_threads", lambda quota=quota: quota)
        Classifier.load(tiny_checkpoint, "cpu")
        Classifier.load(tiny_checkpoint, "cpu", threads=3)
    assert counts == [3, 2, 3]


@pytest.mark.cuda
def test_a_gpu_gives_the_probabilities_of_the_cpu(
    classifier: Classifier, tiny_checkpoint: Path
) -> None:
    on_gpu = Classifier.load(tiny_checkpoint, "cuda")
    assert on_gpu.network.device.startswith("cuda")
    assert on_gpu.version == classifier.version
    batch = batch_of(classifier, IMAGES)
    assert on_gpu.logits(batch).dtype == np.float32
    np.testing.assert_allclose(
        on_gpu.probabilities(batch), classifier.probabilities(batch), rtol=0, atol=5e-3
    )
