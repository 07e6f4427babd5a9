"""Outputs of networks for folders of photos, and linear heads on their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from model.backends.base import Array
from model.backends.normalization import InputNormalization
from model.backends.torch_backend import TorchBackend
from model.checkpoint.metadata import Metadata
from model.classifier import Classifier
from model.data.ood_photos import ood_photos
from model.data.photo_folder import PhotoFolder, default_workers
from model.evaluation.datasets import OodPhotos, labelled_photos
from model.imaging.transforms import EvaluationTransform

_BATCH: Final = 32
_NEIGHBORS: Final = 10

Index = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Embedded:
    """Outputs of a network for a folder of photos.

    Attributes:
        features: Pooled features, float32 (N, F).
        logits: float32 (N, C), not divided by the temperature.
        targets: Class indices, int64 (N,); -1 for OOD photos.
    """

    features: Array
    logits: Array
    targets: Index


class _Network(nn.Module):
    """A network from pixels, uint8 (N, H, W, 3), to pooled features and logits."""

    def __init__(self, network: nn.Module, transform: EvaluationTransform) -> None:
        super().__init__()
        self.network = network.eval()
        self.normalize = InputNormalization(transform)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.network.forward_features(self.normalize(pixels))  # type: ignore[operator]
        pooled = self.network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return pooled, self.network.get_classifier()(pooled)  # type: ignore[operator]


class Embedder:
    """A network, run by OpenVINO, that returns pooled features and logits of folders.

    Args:
        network: Return value of `build_network`.
        metadata: Its classes and transform.
        precision: OpenVINO's inference precision: "f32", or "bf16", which CPUs with AMX run faster.
        mirrored: Mirror each photo.
    """

    def __init__(
        self,
        network: nn.Module,
        metadata: Metadata,
        *,
        precision: str = "f32",
        mirrored: bool = False,
    ) -> None:
        transform = metadata.transform
        # The data sets take the transform and the classes from a classifier.
        backend = TorchBackend(network, torch.device("cpu"), transform)
        self._classifier, self._mirrored = Classifier(backend, metadata), mirrored
        # Two photos, because torch.export would treat a batch of one as a constant.
        example = torch.zeros(2, transform.crop, transform.crop, 3, dtype=torch.uint8)
        exported = torch.export.export(
            _Network(network, transform), (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},)
        )
        model = openvino.convert_model(exported)
        self._model = openvino.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        )

    def labelled(self, folder: Path, most: int | None = None) -> Embedded:
        """Return the outputs for a folder of class folders.

        Args:
            folder: The folder.
            most: Number of photos to use at most, evenly chosen; None for all.
        """
        return self._run(labelled_photos(self._classifier, folder), folder.name, most)

    def ood(self, folder: Path, most: int | None = None) -> Embedded:
        """Return the outputs for a folder of OOD photos; see `labelled`."""
        return self._run(OodPhotos(self._classifier, ood_photos(folder)), folder.name, most)

    def _run(self, photos: PhotoFolder | OodPhotos, name: str, most: int | None) -> Embedded:
        count = min(most or len(photos), len(photos))
        chosen = Subset(photos, [index * len(photos) // count for index in range(count)])
        features, logits, targets = [], [], []
        loader = DataLoader(chosen, batch_size=_BATCH, num_workers=default_workers())
        for pixels, classes in tqdm(loader, desc=name, unit="batch", disable=None):
            found = self._model((pixels.flip(2) if self._mirrored else pixels).numpy())
            # OpenVINO reuses the memory of its outputs.
            features.append(found[0].copy())
            logits.append(found[1].copy())
            targets.append(classes.numpy())
        return Embedded(np.concatenate(features), np.concatenate(logits), np.concatenate(targets))


def linear_head(
    features: Array, targets: Index, weights: Array, penalty: float
) -> Callable[[Array], Array]:
    """Fit a softmax regression on standardized features.

    Args:
        features: float32 (N, F).
        targets: Class indices, int64 (N,).
        weights: Weight of each photo in the loss, (N,).
        penalty: Weight of half the sum of squares of the coefficients.

    Returns:
        A function from features, (M, F), to logits, (M, classes).
    """
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6

    def standardized(values: Array) -> torch.Tensor:
        return torch.from_numpy(((values - mean) / spread).astype(np.float32))

    inputs, classes = standardized(features), torch.from_numpy(targets)
    factors = torch.from_numpy((weights / weights.mean()).astype(np.float32))
    head = nn.Linear(features.shape[1], int(targets.max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = cross_entropy(head(inputs), classes, reduction="none") * factors
        loss = losses.mean() + penalty / 2 * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    head.requires_grad_(False)
    return lambda values: np.asarray(head(standardized(values)).numpy())


def balanced(targets: Index, weights: Array) -> Array:
    """Divide the weight of each photo by the square root of its class's total weight."""
    totals = np.bincount(targets, weights)
    return np.asarray(weights / np.sqrt(totals[targets]))


class TrainingFeatures:
    """Normalized features of the training photos, and scores of distances to them.

    Args:
        sets: Training photos of the classes, one set per source.
        ood: OOD training photos.
    """

    def __init__(self, sets: Sequence[Embedded], ood: Sequence[Embedded]) -> None:
        self._photos = _normalized(np.concatenate([item.features for item in sets]))
        self._ood = _normalized(np.concatenate([item.features for item in ood]))
        # One mean per class and source, because sources differ more than some classes.
        self._means = np.concatenate([_class_means(item) for item in sets])

    def nearest_mean(self, item: Embedded) -> Array:
        """Return the cosine similarity of the nearest class mean, (N,)."""
        return np.asarray((_normalized(item.features) @ self._means.T).max(axis=1))

    def neighbor(self, item: Embedded) -> Array:
        """Return the cosine similarity of the tenth nearest training photo, (N,)."""
        return _tenth(_normalized(item.features) @ self._photos.T)

    def neighbor_difference(self, item: Embedded) -> Array:
        """Return `neighbor` minus the same for the OOD training photos, (N,)."""
        return self.neighbor(item) - _tenth(_normalized(item.features) @ self._ood.T)


def _normalized(features: Array) -> Array:
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True))


def _class_means(item: Embedded) -> Array:
    features = _normalized(item.features)
    classes = np.unique(item.targets)
    return _normalized(
        np.stack([features[item.targets == index].mean(axis=0) for index in classes])
    )


def _tenth(similarities: Array) -> Array:
    return np.asarray(np.partition(similarities, -_NEIGHBORS, axis=1)[:, -_NEIGHBORS])
