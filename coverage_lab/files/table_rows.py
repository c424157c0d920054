"""Rows of a table in memory, or of a Parquet file of which no more is held than is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

Rows: TypeAlias = pa.Table | Path

#: Rows held at once.
_BATCH = 2_048
#: Without a buffer's size the columns of a row group would be read whole.
_BUFFER = 2**16


def columns_in(table: Rows) -> list[str]:
    """Names of the columns."""
    names: list[str] = (pq.read_schema(table) if isinstance(table, Path) else table.schema).names
    return names


def count(table: Rows) -> int:
    """Count the rows."""
    return int(pq.read_metadata(table).num_rows if isinstance(table, Path) else table.num_rows)


def batches(table: Rows, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of all rows, a few thousand rows at once."""
    if isinstance(table, Path):
        with pq.ParquetFile(table, buffer_size=_BUFFER) as file:
            yield from file.iter_batches(batch_size=_BATCH, columns=list(names))
    else:
        yield from table.select(names).to_batches(max_chunksize=_BATCH)


def numbers(table: Rows, name: str) -> NDArray[np.float64]:
    """One column of all rows, NaN for null."""
    parts = [batch[name].to_numpy(zero_copy_only=False) for batch in batches(table, [name])]
    return np.concatenate([np.empty(0), *parts])


def nulls(table: Rows, name: str) -> int:
    """Count the rows without a value."""
    return sum(batch[name].null_count for batch in batches(table, [name]))


def codes(table: Rows, name: str) -> tuple[list[str], NDArray[np.int32]]:
    """Different values of one column in the order in which they come, and the place of each row's there."""
    places: dict[str, int] = {}
    parts = [np.empty(0, np.int32)]
    for batch in batches(table, [name]):
        encoded = batch[name].dictionary_encode(null_encoding="encode")
        here = [places.setdefault(value, len(places)) for value in encoded.dictionary.to_pylist()]
        parts.append(np.array(here, np.int32)[encoded.indices.to_numpy()])
    return list(places), np.concatenate(parts)


def positions(table: Rows, account_ids: Sequence[str]) -> NDArray[np.int64]:
    """Places of the rows of some accounts, ascending."""
    wanted = pa.array(account_ids, pa.large_string())
    parts, first = [np.empty(0, np.int64)], 0
    for batch in batches(table, ["account_id"]):
        found = pc.is_in(batch["account_id"], value_set=wanted).to_numpy(zero_copy_only=False)
        parts.append(np.flatnonzero(found) + first)
        first += batch.num_rows
    return np.concatenate(parts)


def rows_at(table: Rows, places: NDArray[np.int64], names: Sequence[str] | None = None) -> pa.Table:
    """Rows at some places, in their order; all columns where none are named."""
    names = columns_in(table) if names is None else list(names)
    if not isinstance(table, Path):
        return table.select(names).take(pa.array(places))
    ascending = np.sort(places)
    with pq.ParquetFile(table, buffer_size=_BUFFER) as file:
        schema = pa.schema([file.schema_arrow.field(name) for name in names])
        found = [schema.empty_table()]
        first = 0
        for group in range(file.num_row_groups):
            stop = first + file.metadata.row_group(group).num_rows
            if np.searchsorted(ascending, first) < np.searchsorted(ascending, stop):
                for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=names):
                    low, high = np.searchsorted(ascending, (first, first + batch.num_rows))
                    mine = pa.table(batch).select(names).take(pa.array(ascending[low:high] - first))
                    found.append(mine)
                    first += batch.num_rows
            first = stop
    order = np.argsort(np.argsort(places, kind="stable"), kind="stable")
    return pa.concat_tables(found).take(pa.array(order))


def rows_of_accounts(table: Rows, account_ids: Sequence[str]) -> pa.Table:
    """All rows of some accounts, in the order of the table."""
    return rows_at(table, positions(table, account_ids))
