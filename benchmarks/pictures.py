"""Bar charts of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure


def bars(
    path: Path, heights: Mapping[str, Sequence[float]], groups: Sequence[str], unit: str
) -> None:
    """Draw a bar for each series in each group, and write the picture as a PNG."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(heights)
    for number, (label, values) in enumerate(heights.items()):
        places = [group + (number + 0.5) * width - 0.4 for group in range(len(groups))]
        axes.bar(places, values, width, label=label)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110)
