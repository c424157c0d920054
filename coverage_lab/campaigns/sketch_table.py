"""Sketches as an Arrow table and back, to the bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coverage_lab.campaigns.sketch import OPENING_COLUMNS, Half, Sketches

_HALVES = ("first", "second")


def sketches_to_table(sketches: Sketches) -> pa.Table:
    """Write sketches as rows, one an account."""
    columns = {"account_id": pa.array(sketches.account_ids, pa.large_string())}
    for name, half in zip(_HALVES, (sketches.first, sketches.second), strict=True):
        columns[f"{name}_prompts"] = pa.array(half.prompts, pa.int64())
        columns[f"{name}_content"] = _rows(half.content)
        columns[f"{name}_openings"] = _rows(half.openings)
    return pa.table(columns)


def sketches_from_table(table: pa.Table, *, dim: int) -> Sketches:
    """Read what `sketches_to_table` wrote, of an encoder with vectors of length `dim`."""
    halves = [
        Half(
            table[f"{name}_prompts"].to_numpy(),
            _matrix(table[f"{name}_content"], dim),
            _matrix(table[f"{name}_openings"], OPENING_COLUMNS),
        )
        for name in _HALVES
    ]
    return Sketches(tuple(table["account_id"].to_pylist()), *halves)


def _rows(values: NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])


def _matrix(column: pa.ChunkedArray, width: int) -> NDArray[np.float32]:
    flat = [chunk.flatten().to_numpy() for chunk in column.chunks]
    return np.concatenate([np.empty(0, np.float32), *flat]).reshape(len(column), width)
