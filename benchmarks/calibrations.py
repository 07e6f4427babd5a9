"""Benchmark of calibrations: what more parameters than one temperature gain.

Each photo is calibrated by parameters fitted without it, in five folds.

python -m benchmarks.calibrations --data data/oxford102 --calibration-data valid ../everyday_dev
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch.nn.functional import cross_entropy, logsigmoid
from torchmetrics.functional.classification import binary_calibration_error

from benchmarks.environments import ROOT
from benchmarks.results_file import print_table, write_csv
from model import BUNDLED_CHECKPOINT
from model.classifier import Classifier
from model.evaluation.datasets import labelled_photos
from model.evaluation.evaluate import compute_logits
from model.evaluation.metrics import CALIBRATION_BINS, compute_metrics
from model.training.calibration import LabelledLogits, fit_temperature, folds_of

_BIAS_PENALTY: Final = 0.02  # on the squares of vector scaling's biases
_LEAST: Final = 1e-4  # isotonic regression gives 0 and 1, whose log loss may be infinite

# Returns the confidence of each photo, (N,), from its logits, (N, C).
Calibrated = Callable[[torch.Tensor], torch.Tensor]
Fit = Callable[[Sequence[LabelledLogits]], Calibrated]


def temperature(sets: Sequence[LabelledLogits]) -> Calibrated:
    """Fit one temperature, as the checkpoint has."""
    divisor = fit_temperature(sets)
    return lambda logits: (logits / divisor).softmax(dim=1).amax(dim=1)


def vector_scaling(sets: Sequence[LabelledLogits]) -> Calibrated:
    """Fit a temperature and one bias per class, with a penalty on the biases."""
    scale = torch.tensor(1 / fit_temperature(sets), requires_grad=True)
    bias = torch.zeros(sets[0].logits.shape[1], requires_grad=True)

    def loss() -> torch.Tensor:
        losses = [cross_entropy(item.logits * scale + bias, item.targets) for item in sets]
        return torch.stack(losses).mean() + _BIAS_PENALTY * bias.square().sum()

    _minimize([scale, bias], loss)

    def confidence(logits: torch.Tensor) -> torch.Tensor:
        # Of the class that the classifier shows, even if the biases rank another one first.
        shown = logits.argmax(dim=1, keepdim=True)
        return (logits * scale + bias).softmax(dim=1).gather(1, shown).squeeze(1).detach()

    return confidence


def platt_scaling(sets: Sequence[LabelledLogits]) -> Calibrated:
    """Fit a line on the log-odds of the temperature's confidence."""
    first = temperature(sets)
    line = torch.tensor([1.0, 0.0], requires_grad=True)

    def odds(logits: torch.Tensor) -> torch.Tensor:
        return line[0] * torch.logit(first(logits), eps=1e-6) + line[1]

    def loss() -> torch.Tensor:
        signs = [item.is_correct.float() * 2 - 1 for item in sets]
        losses = [-logsigmoid(s * odds(i.logits)).mean() for s, i in zip(signs, sets, strict=True)]
        return torch.stack(losses).mean()

    _minimize([line], loss)
    return lambda logits: odds(logits).sigmoid().detach()


def isotonic(sets: Sequence[LabelledLogits]) -> Calibrated:
    """Fit a rising step function of the temperature's confidence."""
    first = temperature(sets)
    confidence = torch.cat([first(item.logits) for item in sets]).numpy()
    correct = torch.cat([item.is_correct for item in sets]).numpy()
    # Each set counts the same, as in `fit_temperature`.
    weights = np.concatenate([np.full(len(item.targets), 1 / len(item.targets)) for item in sets])
    order = np.argsort(confidence, kind="stable")
    steps = isotonic_regression(correct[order].astype(float), weights=weights[order]).x

    def stepped(logits: torch.Tensor) -> torch.Tensor:
        found = np.interp(first(logits).numpy(), confidence[order], steps)
        return torch.from_numpy(found.astype(np.float32))

    return stepped


CALIBRATIONS: Final[Mapping[str, Fit]] = {
    "temperature": temperature,
    "vector scaling": vector_scaling,
    "Platt scaling": platt_scaling,
    "isotonic regression": isotonic,
}


def cross_fitted(fit: Fit, sets: Sequence[LabelledLogits]) -> list[torch.Tensor]:
    """Return the confidence of each photo by a calibration fitted without it, (N,) per set.

    Args:
        fit: One of `CALIBRATIONS`.
        sets: Sets of at least five photos.
    """
    found = [torch.zeros(len(item.targets)) for item in sets]
    for fitted, folds in folds_of(sets):
        calibrated = fit(fitted)
        for confidence, item, fold in zip(found, sets, folds, strict=True):
            confidence[fold] = calibrated(item.logits[fold])
    return found


def compare(sets: Sequence[LabelledLogits]) -> list[dict[str, Any]]:
    """Return a row per calibration and set: ECE, its value by chance, and the log loss."""
    class_ids = [str(index) for index in range(sets[0].logits.shape[1])]
    divisor = fit_temperature(sets)
    measured = [compute_metrics(item.logits, item.targets, class_ids, divisor) for item in sets]
    rows: list[dict[str, Any]] = []
    for name, fit in CALIBRATIONS.items():
        for item, metrics, confidence in zip(sets, measured, cross_fitted(fit, sets), strict=True):
            clipped = confidence.clamp(_LEAST, 1 - _LEAST)
            ece = binary_calibration_error(clipped, item.is_correct.int(), CALIBRATION_BINS)
            rows.append(
                {
                    "calibration": name,
                    "set": item.name,
                    "photos": metrics.n,
                    "ece": float(ece),
                    "ece_by_chance": metrics.ece_by_chance,
                    "log_loss": _log_loss(clipped, item.is_correct),
                }
            )
    return rows


def _minimize(parameters: list[torch.Tensor], loss: Callable[[], torch.Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _log_loss(confidence: torch.Tensor, correct: torch.Tensor) -> float:
    return -float(torch.where(correct, confidence, 1 - confidence).log().mean())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Compare calibrations of a checkpoint.")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument(
        "--calibration-data", type=Path, nargs="+", default=[Path("valid"), Path("../everyday_dev")]
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    classifier = Classifier.load(options.checkpoint, "cpu")
    sets = []
    for folder in options.calibration_data:
        photos = labelled_photos(classifier, options.data / folder)
        sets.append(LabelledLogits(folder.name, *compute_logits(classifier, photos)))
    rows = compare(sets)
    write_csv(options.output / "calibrations.csv", rows)
    print_table(rows, ".4f")


if __name__ == "__main__":
    main()
