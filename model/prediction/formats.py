"""Output formats of `predict.py`: text, CSV and JSON, written one photo at a time."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

from model.prediction.stream import Classified

Write = Callable[[Classified], None]


@contextmanager
def text() -> Iterator[Write]:
    """Print the file name, then one line per prediction."""

    def write(classified: Classified) -> None:
        print(printable(classified.photo.name))
        if classified.result.verdict == "unknown":
            print("  This may be none of the model's flowers. The nearest are:")
        for prediction in classified.result.predictions:
            percent = 100 * prediction.probability
            print(f"  {percent:6.2f} %  {prediction.label}")

    yield write


@contextmanager
def comma_separated() -> Iterator[Write]:
    """Print a header, then one CSV line per prediction."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("file", "rank", "class_id", "name", "probability", "verdict"))

    def write(classified: Classified) -> None:
        for rank, prediction in enumerate(classified.result.predictions, start=1):
            probability = f"{prediction.probability:.6f}"
            rows.writerow(
                (
                    classified.photo.name,
                    rank,
                    prediction.class_id,
                    prediction.name,
                    probability,
                    classified.result.verdict,
                )
            )

    yield write


@contextmanager
def json_array() -> Iterator[Write]:
    """Print one JSON array with one object per photo, each on its own line."""
    before = "[\n"

    def write(classified: Classified) -> None:
        nonlocal before
        photo = {"file": classified.photo.name, **asdict(classified.result)}
        print(before, json.dumps(photo), sep="", end="")
        before = ",\n"

    yield write
    print("[]" if before == "[\n" else "\n]")


FORMATS: Final = {"text": text, "json": json_array, "csv": comma_separated}


def printable(name: str) -> str:
    """Return a file name with newlines and control characters escaped for a terminal."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in name
    )
