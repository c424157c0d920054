"""Account states as an Arrow table and back, to the bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.accounts.state import NAMED, AccountStates, Members, sum_widths
from coverage_lab.schema import LEVELS, STATES

#: Sums that are stored as the columns that are not 0, and where those columns are named.
SPARSE = {
    "opening_sums": "opening_columns",
    "content_opening_sums": "content_opening_columns",
    "first_half_opening_sums": "first_half_opening_columns",
}


def states_to_table(states: AccountStates) -> pa.Table:
    """Write account states as rows.

    Parameters
    ----------
    states : AccountStates

    Returns
    -------
    Table
        Schema `coverage_lab.schema.STATES`, one row an account, by account_id. The hashed opening words are
        stored sparsely; a sum of exactly 0 is left out, so that nothing is lost. What was seen of the account
        is null here. No account, no row.
    """
    size = len(states.account_ids)
    columns = {
        "account_id": pa.array(states.account_ids, pa.large_string()),
        "prompts": pa.array(states.prompts),
        "timestamps": _lists("timestamps", states.offsets, states.timestamps),
        "digests": _lists("digests", states.offsets, states.digests.view(np.int64)),
        "novelty": _lists("novelty", states.offsets, states.novelty),
    }
    for level, name in enumerate(LEVELS):
        columns[f"cells_{name}"] = _lists(f"cells_{name}", states.offsets, states.cells[:, level])
    for name in sum_widths(states.dim):
        sums = getattr(states, name)
        if name in SPARSE:
            account, column = np.nonzero(sums)
            cuts = np.searchsorted(account, np.arange(size + 1))
            columns[SPARSE[name]] = _lists(SPARSE[name], cuts, column.astype(np.int16))
            columns[name] = _lists(name, cuts, sums[account, column])
        else:
            columns[name] = _lists(name, np.arange(size + 1) * sums.shape[1], sums.ravel())
    for name in NAMED:
        seen = getattr(states, name)
        cuts = np.searchsorted(seen.account, np.arange(size + 1))
        columns[name] = _lists(name, cuts, seen.name.view(np.int64))
    columns |= {field.name: pa.nulls(size, field.type) for field in STATES if field.name not in columns}
    return pa.table(columns, schema=STATES)


def states_from_table(table: pa.Table, *, dim: int) -> AccountStates:
    """Read what `states_to_table` wrote.

    Parameters
    ----------
    table : Table
        Columns of `coverage_lab.schema.STATES`, by account_id, each account once.
    dim : int
        Dimension of the encoder's vectors, 1 or more.

    Returns
    -------
    AccountStates
        The same to the bit; the state of no account for no row.

    Raises
    ------
    ValueError
        The lists of a row don't fit together, or accounts are not sorted.
    """
    account_ids = tuple(table["account_id"].to_pylist())
    if any(one >= other for one, other in pairwise(account_ids)):
        raise ValueError("table: expected accounts sorted by account_id, each once")
    offsets, timestamps = _flat(table, "timestamps")
    cells = np.empty((len(timestamps), len(LEVELS)), np.int32)
    for level, name in enumerate(LEVELS):
        cells[:, level] = _like(table, f"cells_{name}", offsets)
    rest: dict[str, Any] = {
        name: _sparse_rows(table, name, width) if name in SPARSE else _rows(table, name, width)
        for name, width in sum_widths(dim).items()
    }
    rest |= {name: _members(table, name) for name in NAMED}
    return AccountStates(
        account_ids=account_ids,
        offsets=offsets,
        timestamps=timestamps.view(np.int64),
        digests=_like(table, "digests", offsets).view(np.uint64),
        cells=cells,
        novelty=_like(table, "novelty", offsets).view(np.float32),
        **rest,
    )


def _lists(name: str, offsets: NDArray[np.int64], values: NDArray[np.generic]) -> pa.Array:
    kind = STATES.field(name).type
    items = pa.array(np.ascontiguousarray(values)).cast(kind.value_type)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), items, type=kind)


def _flat(table: pa.Table, name: str) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
    """Offsets and values of a list column."""
    column = table[name].combine_chunks()
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    values = pc.list_flatten(column)
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    # A copy: Arrow's memory is read-only and would be kept whole by one view of it.
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), np.array(values)


def _like(table: pa.Table, name: str, offsets: NDArray[np.int64]) -> NDArray[np.generic]:
    found, values = _flat(table, name)
    if not np.array_equal(found, offsets):
        raise ValueError(f"table: {name}: expected lists as long as the row's others")
    return values


def _rows(table: pa.Table, name: str, width: int) -> NDArray[np.float64]:
    _, values = _flat(table, name)
    if not (pc.list_value_length(table[name]).to_numpy() == width).all():
        raise ValueError(f"table: {name}: expected {width} numbers a row")
    return values.astype(np.float64, copy=False).reshape(table.num_rows, width)


def _sparse_rows(table: pa.Table, name: str, width: int) -> NDArray[np.float64]:
    places, columns = _flat(table, SPARSE[name])
    if len(columns) and not 0 <= columns.min() <= columns.max() < width:
        raise ValueError(f"table: {SPARSE[name]}: expected 0 to {width - 1}")
    sums = np.zeros((table.num_rows, width))
    sums[np.repeat(np.arange(table.num_rows), np.diff(places)), columns] = _like(table, name, places)
    return sums


def _members(table: pa.Table, name: str) -> Members:
    offsets, values = _flat(table, name)
    account = np.repeat(np.arange(table.num_rows, dtype=np.int64), np.diff(offsets))
    return Members(account, values.view(np.uint64))
