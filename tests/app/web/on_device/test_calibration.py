"""Probabilities, OOD scores and verdicts in JavaScript, compared with the service's."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from model.backends.base import Backend
from model.checkpoint.metadata import Architecture, Metadata
from model.classifier import Classifier
from model.imaging.transforms import EvaluationTransform
from model.ood import SCORES, OodRule, verdict
from tests.app.web.on_device import SCRIPTS
from tests.conftest import TINY_CLASSES
from tests.node import imported, run_in_node

IMPORTS = imported("resultOf, verdict", SCRIPTS / "calibration.js")
CLASSES = len(TINY_CLASSES)
METADATA = Metadata(
    Architecture("test_efficientnet", CLASSES),
    TINY_CLASSES,
    EvaluationTransform(96, 96, "bicubic", (0.5,) * 3, (0.5,) * 3),
    temperature=0.29,
)

Logits = npt.NDArray[np.float32]


def random_logits(count: int) -> Logits:
    rng = np.random.default_rng(1)
    return (rng.normal(size=(count, CLASSES)) * 3 - 1).astype(np.float32)


def results(
    metadata: Metadata, logits: Logits, top_k: int, *, missing: tuple[str, ...] = ()
) -> Any:
    """Return the results of both, those of JavaScript without the rule's `missing` values."""
    classifier = Classifier(cast(Backend, None), metadata)
    expected = [asdict(classifier.result(row, top_k)) for row in logits]
    values = json.loads(metadata.to_text())
    for name in missing:
        del values["ood_rule"][name]
    got = run_in_node(
        IMPORTS,
        f"const metadata = {json.dumps(values)};"
        f"return {json.dumps(logits.tolist())}.map((row) => "
        f"resultOf(Float32Array.from(row), metadata, {top_k}));",
    )
    return got, expected


def assert_same(got: Any, expected: Any) -> None:
    for one, other in zip(got, expected, strict=True):
        assert one["verdict"] == other["verdict"]
        names = [(item["class_id"], item["name"]) for item in one["predictions"]]
        assert names == [(item["class_id"], item["name"]) for item in other["predictions"]]
        assert [item["probability"] for item in one["predictions"]] == pytest.approx(
            [item["probability"] for item in other["predictions"]], rel=1e-6
        )
        if other["ood"] is None:
            assert one["ood"] is None
        else:
            assert one["ood"] == pytest.approx(other["ood"], rel=1e-5, abs=1e-5)  # float32


@pytest.mark.parametrize(
    "adjustment", [(), (0.1, -0.2, 0.3, 1e-3, 0, 2)], ids=["plain", "adjusted"]
)
@pytest.mark.parametrize("score", SCORES)
def test_results_are_those_of_the_service(score: str, adjustment: tuple[float, ...]) -> None:
    logits = random_logits(40)
    scores = OodRule(score, 0, adjustment).scores(logits, METADATA.temperature)
    first = Classifier(cast(Backend, None), METADATA).calibrated(logits).max(axis=1)
    rule = OodRule(
        score, float(np.quantile(scores, 0.3)), adjustment, float(np.quantile(first, 0.7))
    )
    got, expected = results(replace(METADATA, ood_rule=rule), logits, 3)
    assert {item["verdict"] for item in expected} == {"known", "unsure", "unknown"}
    assert_same(got, expected)


@pytest.mark.parametrize("above", [False, True])
def test_a_score_at_the_threshold_is_known(above: bool) -> None:
    logits = random_logits(1)
    score = OodRule("max_logit", 0).scores(logits, METADATA.temperature)[0]
    threshold = float(np.nextafter(score, np.float32(math.inf)) if above else score)
    rule = OodRule("max_logit", threshold, known_probability=0)
    got, expected = results(replace(METADATA, ood_rule=rule), logits, 1)
    assert got[0]["verdict"] == expected[0]["verdict"] == ("unknown" if above else "known")


def test_a_model_without_a_rule_is_unchecked() -> None:
    got, expected = results(METADATA, random_logits(3), CLASSES)
    assert [item["verdict"] for item in got] == ["unchecked"] * 3
    assert_same(got, expected)


def test_missing_values_of_the_rule_have_the_defaults_of_the_service() -> None:
    rule = OodRule("max_logit", -100)
    got, expected = results(
        replace(METADATA, ood_rule=rule),
        random_logits(40) / np.float32(8),  # no class is certain
        1,
        missing=("logit_adjustment", "known_probability"),
    )
    assert {item["verdict"] for item in expected} == {"known", "unsure"}
    assert_same(got, expected)


def test_equal_logits_keep_the_order_of_the_classes() -> None:
    got, expected = results(METADATA, np.array([[1, 2, 2, 0, 2, 1]], np.float32), CLASSES)
    assert_same(got, expected)


@pytest.mark.parametrize("logit", [80.0, -80.0, 3e4])
def test_extreme_logits_give_finite_probabilities(logit: float) -> None:
    row = np.zeros((1, CLASSES), np.float32)
    row[0, 2] = logit
    rule = OodRule("energy", 0)
    assert_same(*results(replace(METADATA, ood_rule=rule), row, CLASSES))


@pytest.mark.parametrize("probability", [0.5, 0.49, math.nan])
@pytest.mark.parametrize("score", [1.0, 0.99, math.nan, math.inf, -math.inf])
def test_verdicts_of_odd_numbers_are_those_of_the_service(score: float, probability: float) -> None:
    rule = OodRule("max_logit", 1.0)
    # NaN and Infinity are written alike in JSON of Python and in JavaScript.
    values = ", ".join(map(json.dumps, (asdict(rule), score, probability)))
    assert run_in_node(IMPORTS, f"return verdict({values});") == verdict(rule, score, probability)
