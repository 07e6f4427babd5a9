"""Bar charts of measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure


def bar_chart(
    path: Path, heights: Mapping[str, Sequence[float]], groups: Sequence[str], unit: str
) -> None:
    """Write a grouped bar chart as PNG.

    Args:
        path: PNG file to write.
        heights: Heights of each series, one per group.
        groups: Labels of the groups.
        unit: Label of the y axis.
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(heights)
    for number, (label, values) in enumerate(heights.items()):
        positions = [group + (number + 0.5) * width - 0.4 for group in range(len(groups))]
        axes.bar(positions, values, width, label=label)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110)
