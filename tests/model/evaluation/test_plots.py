"""Plots of metrics and predictions."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from PIL import Image

from model.checkpoint.labels import FlowerClass
from model.classifier import ClassificationResult, Prediction
from model.evaluation import plots
from model.evaluation.metrics import ClassificationMetrics, compute_metrics
from tests.conftest import TINY_CLASSES, flower_image

CLASS_IDS = [item.class_id for item in TINY_CLASSES]  # 1, 10, 100, 2, 21, 5


def measured(predicted: list[int], targets: list[int], classes: int = 6) -> ClassificationMetrics:
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), classes).float() * 4
    ids = CLASS_IDS if classes == 6 else [str(index) for index in range(classes)]
    return compute_metrics(logits, torch.tensor(targets), ids)


def cells(axes: Axes) -> dict[tuple[int, int], str]:
    """Return the text of each cell by (row, column)."""
    found = {}
    for text in axes.texts:
        column, row = text.get_position()
        found[round(row), round(column)] = text.get_text()
    return found


def labels(axes: Axes, axis: str) -> list[str]:
    ticks = axes.get_yticklabels() if axis == "y" else axes.get_xticklabels()
    return [tick.get_text() for tick in ticks]


def test_the_confusion_matrix_has_true_classes_in_rows() -> None:
    # Two of three fire lilies (index 4) are predicted as class 2 (index 3), which has no photos.
    figure = plots.confusion_matrix(measured([4, 3, 3, 1], [4, 4, 4, 1]), TINY_CLASSES, "title")
    (axes,) = figure.axes
    assert labels(axes, "y") == ["globe thistle (10)", "fire lily (21)"]
    assert labels(axes, "x") == [
        "globe thistle (10)",
        "hard-leaved pocket orchid (2)",
        "fire lily (21)",
    ]
    assert cells(axes) == {(0, 0): "1", (1, 1): "2", (1, 2): "1"}
    assert axes.get_title(loc="left") == "title"


def test_class_names_may_be_in_any_script_and_of_any_length(tmp_path: Path) -> None:
    names = ("バラ", "$x_1$ ^", "Märzenbecher", "गुलाब", "x" * 250, "rose")
    classes = [FlowerClass(name, name) for name in names]
    figure = plots.confusion_matrix(measured([0, 1, 2, 3, 4], [1, 2, 3, 4, 5]), classes, "title")
    plots.save(figure, tmp_path / "matrix.png")  # a warning would fail the test
    (axes,) = figure.axes
    shown = labels(axes, "x")
    assert [*shown[:4], shown[5]] == [*names[:4], names[5]]
    assert len(shown[4]) == 40


def test_errors_are_red_and_correct_predictions_green() -> None:
    figure = plots.confusion_matrix(measured([4, 3, 1], [4, 4, 1]), TINY_CLASSES, "")
    (axes,) = figure.axes
    seen = {}
    for image in axes.images:
        assert isinstance(image, AxesImage)
        values = np.ma.masked_array(image.get_array())
        colors = image.to_rgba(values)
        for row, column in np.argwhere(~np.ma.getmaskarray(values)):
            seen[int(row), int(column)] = colors[row, column]
    # Columns are classes 10, 2 and 21; rows are 10 and 21.
    assert set(seen) == {(0, 0), (1, 1), (1, 2)}
    assert all(seen[cell][1] > seen[cell][0] for cell in ((0, 0), (1, 2)))
    assert seen[1, 1][0] > seen[1, 1][1] + 0.2


@pytest.mark.slow
def test_102_class_names_do_not_overlap_and_one_error_is_visible(tmp_path: Path) -> None:
    classes = [FlowerClass(str(index), "hard-leaved pocket orchid") for index in range(102)]
    predicted = list(range(102))
    predicted[50] = 7
    figure = plots.confusion_matrix(measured(predicted, list(range(102)), 102), classes, "")
    plots.save(figure, tmp_path / "matrix.png")
    (axes,) = figure.axes
    # The labels on the left; those on the right follow.
    boxes = [tick.get_window_extent() for tick in axes.get_yticklabels()[:102]]
    assert all(lower.y1 <= upper.y0 for upper, lower in itertools.pairwise(boxes))
    with Image.open(tmp_path / "matrix.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    reddish = (pixels[..., 0] > 130) & (pixels[..., 0] - pixels[..., 1] > 60)
    assert reddish.sum() > 100


def test_the_reliability_diagram_draws_each_bin_with_its_count() -> None:
    # Ten predictions with the same confidence, seven of them correct.
    metrics = measured([0] * 10, [0] * 7 + [1] * 3)
    figure = plots.reliability_diagram(metrics, "title")
    upper, lower = figure.axes
    (bar,) = upper.patches
    (filled,) = [item for item in metrics.bins if item.n]
    assert bar.get_height() == pytest.approx(0.7)  # type: ignore[attr-defined]
    assert bar.get_x() == pytest.approx(filled.lower)  # type: ignore[attr-defined]
    assert [text.get_text() for text in lower.texts] == ["10"]
    assert f"{100 * metrics.ece:.2f} %" in figure.get_suptitle()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_each_photo_is_above_its_own_chart(count: int, tmp_path: Path) -> None:
    photos = [
        (
            flower_image((80, 60), seed),
            ClassificationResult(
                [
                    Prediction("21", f"first {seed}", 0.7),
                    Prediction("2", "second", 0.05 + seed / 100),
                ],
                "unsure",
                None,
            ),
        )
        for seed in range(count)
    ]
    figure = plots.prediction_charts(photos)
    drawn = [axes for axes in figure.axes if axes.images]
    charts = [axes for axes in figure.axes if axes.patches]
    titles = [axes.get_title().splitlines() for axes in drawn]
    assert [name for name, _ in titles] == [f"first {seed}" for seed in range(count)]
    assert all("unsure" in verdict for _, verdict in titles)
    figure.canvas.draw()
    for seed in range(count):
        np.testing.assert_array_equal(drawn[seed].images[0].get_array(), photos[seed][0])
        above, below = drawn[seed].get_position(), charts_of(charts, f"first {seed}").get_position()
        assert above.y0 > below.y0
        assert above.x0 < below.x1
        assert above.x1 > below.x0
        bars = charts_of(charts, f"first {seed}").patches
        assert [bar.get_width() for bar in bars] == [0.7, 0.05 + seed / 100]  # type: ignore[attr-defined]


def charts_of(charts: list[Axes], name: str) -> Axes:
    (found,) = [axes for axes in charts if labels(axes, "y")[0] == name]
    assert found.yaxis_inverted()  # the first name on top
    return found


@pytest.mark.slow
def test_a_dollar_sign_in_a_title_is_literal(tmp_path: Path) -> None:
    metrics = measured([0, 1], [0, 1])
    for number, figure in enumerate(
        (
            plots.confusion_matrix(metrics, TINY_CLASSES, "a $\\frac{ b$ c"),
            plots.reliability_diagram(metrics, "a $\\frac{ b$ c"),
        )
    ):
        path = tmp_path / f"{number}.png"
        plots.save(figure, path)
        with Image.open(path) as image:
            assert min(image.size) > 300


@pytest.mark.slow
def test_a_plot_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    figure = plots.reliability_diagram(measured([0, 1], [0, 1]), "")
    with pytest.raises(plots.PictureError):
        plots.save(figure, tmp_path / "nowhere" / "picture.png")
