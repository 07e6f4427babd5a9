"""Measurements as a CSV file and as a printed table."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same columns; there must be at least one. Create the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def print_rounds(rows: Sequence[Mapping[str, float]]) -> None:
    """Print the values of each round and their median; there must be at least one round."""
    print("| measurement | each round | median |\n| --- | --- | --- |")
    for name in rows[0]:
        values = [row[name] for row in rows]
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"| {name.replace('_', ' ')} | {each} | {statistics.median(values):.2f} |")


def print_medians(rows: Sequence[Mapping[str, Any]], by: str) -> None:
    """Print the median of each measurement over the rounds, in a column per value of `by`.

    Args:
        rows: Measurements as numbers, and the name of what was measured under `by`.
        by: Column with the name.
    """
    names = list(dict.fromkeys(row[by] for row in rows))
    print(f"| measurement | {' | '.join(names)} |\n|{' --- |' * (1 + len(names))}")
    for column in rows[0]:
        if column != by:
            medians = (
                statistics.median(row[column] for row in rows if row[by] == name) for name in names
            )
            cells = " | ".join(f"{median:.2f}" for median in medians)
            print(f"| {column.replace('_', ' ')} | {cells} |")


def print_table(
    rows: Sequence[Mapping[str, Any]], number: str = "", titles: Mapping[str, str] | None = None
) -> None:
    """Print rows with the same columns as a Markdown table; there must be at least one.

    Args:
        rows: The rows.
        number: Format of floats, such as ".4g".
        titles: Titles of all columns in order; by default their names.
    """
    named = titles.values() if titles else [name.replace("_", " ") for name in rows[0]]
    print(f"| {' | '.join(named)} |\n|{' --- |' * len(rows[0])}")
    for row in rows:
        cells = [format(cell, number) if isinstance(cell, float) else cell for cell in row.values()]
        print(f"| {' | '.join(map(str, cells))} |")
