"""Parts of a bulk job's results: Parquet files with one row per photo."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from model.bulk.storage import Location
from model.prediction.stream import Classified, Unreadable

TOP_K: Final = 5

_NAME: Final = re.compile(r"part-(\d{6,})\.parquet")
_SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("class_ids", pa.list_(pa.string())),
        pa.field("names", pa.list_(pa.string())),
        pa.field("probabilities", pa.list_(pa.float32())),
        pa.field("verdict", pa.string()),
        pa.field("ood_score", pa.float64()),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)


def written_parts(output: Location) -> set[int]:
    """Return the numbers of the parts in a folder."""
    matches = (_NAME.fullmatch(name) for name in output.names())
    return {int(match[1]) for match in matches if match}


def result_table(results: Iterable[Classified | Unreadable], model_version: str) -> pa.Table:
    """Return the rows of a part.

    Args:
        results: Results in the order of the photos.
        model_version: Version of the checkpoint.
    """
    rows = [_row(result, model_version) for result in results]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def write_part(output: Location, part: int, table: pa.Table) -> None:
    """Write a part into a folder as a whole.

    Raises:
        StorageError: The folder is not writable, or the file system fails repeatedly.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    (output / _part_name(part)).write(sink.getvalue().to_pybytes())


def _part_name(part: int) -> str:
    return f"part-{part:06}.parquet"


def _row(result: Classified | Unreadable, model_version: str) -> dict[str, Any]:
    row: dict[str, Any] = {"path": _text(result.photo.name), "model_version": model_version}
    if isinstance(result, Unreadable):
        return {**row, "error": result.reason}
    predictions, ood = result.result.predictions, result.result.ood
    return {
        **row,
        "class_ids": [item.class_id for item in predictions],
        "names": [item.name for item in predictions],
        "probabilities": [item.probability for item in predictions],
        "verdict": result.result.verdict,
        "ood_score": None if ood is None else ood.score,
    }


def _text(name: str) -> str:
    r"""Return a file name as UTF-8 text; other bytes become \xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
