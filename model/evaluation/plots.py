"""Plots: confusion matrix, reliability diagram and prediction charts.

Importing this module imports matplotlib, which takes about a second; import it only to draw. The
figures are drawn by Agg without pyplot and need no display.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from model.checkpoint.labels import FlowerClass
from model.classifier import ClassificationResult, Prediction
from model.errors import PetalscopeError
from model.evaluation.metrics import ClassificationMetrics, wilson_interval

_DOTS_PER_INCH: Final = 150
_GREEN: Final = "#2f7d57"
_RED: Final = "#c0392b"
_GREY: Final = "#8a8f94"
# Both scales start above white, so that one photo of a large class stays visible.
_CORRECT_COLORS: Final = LinearSegmentedColormap.from_list("correct", ["#dcefe4", _GREEN])
_ERROR_COLORS: Final = LinearSegmentedColormap.from_list("error", ["#f6b3a9", "#8e1b10"])
_PHOTO_COLUMNS: Final = 4
_MIN_CELLS: Final = 10
_LONGEST_LABEL: Final = 40  # characters
_MAX_ROWS_LABELLED_ONCE: Final = 30  # rows, above which labels on one side alone are hard to follow


class PictureError(PetalscopeError):
    """A picture that cannot be written."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix.

    Raises:
        PictureError: The file cannot be written.
    """
    try:
        with warnings.catch_warnings():
            # Class names may be in a script that matplotlib's font does not have.
            warnings.filterwarnings("ignore", "Glyph")
            figure.savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.2)
    except OSError as error:
        raise PictureError(f"The picture {path} cannot be written: {error.strerror}.") from error


def confusion_matrix(
    metrics: ClassificationMetrics, classes: Sequence[FlowerClass], title: str
) -> Figure:
    """Draw the confusion matrix: correct counts green, errors red, empty cells white.

    Colors are fractions of a row. Rows are the classes of the set; columns are these and all
    other predicted classes.

    Args:
        metrics: Metrics of the set.
        classes: All classes in index order.
        title: Title of the figure.
    """
    confusion = metrics.confusion.numpy()
    rows = np.flatnonzero(confusion.sum(axis=1))
    columns = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    counts = confusion[np.ix_(rows, columns)]
    fractions = counts / counts.sum(axis=1, keepdims=True)
    correct = rows[:, None] == columns
    size = [3.5 + 0.2 * max(len(side), _MIN_CELLS) for side in (columns, rows)]
    figure = Figure(figsize=(size[0], size[1]), layout="constrained")
    axes = figure.add_subplot()
    for kind, colors in ((correct, _CORRECT_COLORS), (~correct, _ERROR_COLORS)):
        visible = np.ma.masked_where((counts == 0) | ~kind, fractions)
        axes.imshow(visible, cmap=colors, vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        dark = fractions[row, column] > (0.7 if correct[row, column] else 0.4)
        axes.text(
            column,
            row,
            str(counts[row, column]),
            color="white" if dark else "black",
            size=8,
            ha="center",
            va="center",
        )
    axes.set_xticks(
        range(len(columns)), _labels(classes, columns), rotation=90, size=8, parse_math=False
    )
    axes.set_yticks(range(len(rows)), _labels(classes, rows), size=8, parse_math=False)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e6e8", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    if len(rows) > _MAX_ROWS_LABELLED_ONCE:
        axes.tick_params(labeltop=True, labelright=True)
    axes.set_xlabel("prediction", size=12)
    axes.set_ylabel("true class", size=12)
    axes.set_title(title, size=13, loc="left", pad=12, parse_math=False)
    return figure


def reliability_diagram(metrics: ClassificationMetrics, title: str) -> Figure:
    """Draw accuracy by confidence with 95 % intervals, above a histogram of confidence.

    Args:
        metrics: Metrics of the set.
        title: Title of the figure.
    """
    figure = Figure(figsize=(7, 8.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = [item for item in metrics.bins if item.n]
    width = metrics.bins[0].upper - metrics.bins[0].lower
    left = [item.lower for item in bins]
    accuracy = [item.accuracy for item in bins]
    bounds = [wilson_interval(round(item.accuracy * item.n), item.n) for item in bins]
    upper.bar(left, accuracy, width, align="edge", color=_GREEN, edgecolor="white", alpha=0.75)
    upper.vlines(
        [item.confidence for item in bins],
        [low for low, _ in bounds],
        [high for _, high in bounds],
        color="#1b4a33",
        linewidth=1.5,
        label="95 % interval",
    )
    upper.plot(
        [item.confidence for item in bins],
        accuracy,
        "o",
        color="#1b4a33",
        markersize=5,
        label="accuracy at mean confidence",
        clip_on=False,
    )
    upper.plot([0, 1], [0, 1], "--", color=_GREY, label="perfectly calibrated")
    upper.set_ylabel("accuracy")
    upper.set_ylim(0, 1.02)
    # Above the axes, where no bar can overlap it.
    upper.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=9)
    ece = f"ECE {100 * metrics.ece:.2f} %"
    figure.suptitle(f"{title}\n{ece}", size=11, x=0.01, ha="left", parse_math=False)
    lower.bar(left, [item.n for item in bins], width, align="edge", color=_GREY, edgecolor="white")
    lower.set_yscale("log")
    lower.set_ylim(0.7, 3 * metrics.n)
    for item in bins:
        middle = (item.lower + item.upper) / 2
        lower.text(middle, item.n * 1.15, str(item.n), ha="center", size=8)
    lower.set_ylabel("predictions (log scale)")
    lower.set_xlabel("confidence (probability of the top-1 class)")
    lower.set_xlim(0, 1)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    lower.xaxis.set_major_formatter(PercentFormatter(1))
    upper.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def prediction_charts(photos: Sequence[tuple[Image.Image, ClassificationResult]]) -> Figure:
    """Draw photos, each with its top-1 name and verdict above a bar chart of its predictions.

    Args:
        photos: RGB images with their results, at least one; four to a row.
    """
    columns = min(len(photos), _PHOTO_COLUMNS)
    rows = math.ceil(len(photos) / columns)
    bars = max(len(result.predictions) for _, result in photos)
    heights = (4.0, 0.6 + 0.4 * bars)  # inches: the photo, its chart
    figure = Figure(figsize=(5 * columns, sum(heights) * rows))
    figure.set_layout_engine("constrained", h_pad=0.15)
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=heights * rows)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (image, result) in enumerate(photos):
        row, column = divmod(index, columns)
        photo: Axes = grid[2 * row, column]
        photo.imshow(np.asarray(image))
        title = f"{result.predictions[0].name}\nverdict: {result.verdict}"
        photo.set_title(title, size=14, parse_math=False)
        _draw_bars(grid[2 * row + 1, column], result.predictions)
    return figure


def _labels(classes: Sequence[FlowerClass], indices: npt.NDArray[np.int64]) -> list[str]:
    labels = [classes[index].label for index in indices.tolist()]
    return [
        label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"
        for label in labels
    ]


def _draw_bars(axes: Axes, predictions: Sequence[Prediction]) -> None:
    axes.set_axis_on()
    names = [prediction.name for prediction in predictions]
    probabilities = [prediction.probability for prediction in predictions]
    positions = range(len(predictions))
    axes.barh(positions, probabilities, color=[_GREEN] + [_GREY] * (len(predictions) - 1))
    for position, probability in zip(positions, probabilities, strict=True):
        inside = probability > 0.8
        axes.text(
            probability - 0.01 if inside else probability + 0.01,
            position,
            f"{probability:.1%}",
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else "black",
            size=9,
        )
    axes.set_yticks(positions, names, parse_math=False)
    axes.set_ylim(len(predictions) - 0.5, -0.5)  # top-1 first
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("probability")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
