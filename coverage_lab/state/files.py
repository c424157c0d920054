"""State files: how a day's states are written, and how only the accounts that are asked for are read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coverage_lab.accounts import AccountStates, merge
from coverage_lab.accounts.table import states_from_table
from coverage_lab.errors import OutputError
from coverage_lab.files.atomic import synced
from coverage_lab.progress import Progress, silent
from coverage_lab.schema import STATES
from coverage_lab.state.errors import table_errors
from coverage_lab.state.store import StateStore
from coverage_lab.state.table import StateFile, StateTable
from coverage_lab.traffic import bucket_of

#: What is read to know which accounts there are.
STATES_COUNTED = pa.schema([STATES.field("account_id"), STATES.field("prompts")])
#: Rows that are added up at once, at least.
_COUNTED_AT_ONCE = 100_000
#: Accounts of a row group: what is read for one of them.
ROWS = 32

_SUMS = ("vector_sums", "structure_sums", "structure_squares", "opening_sums")


@dataclass(frozen=True)
class Read:
    """How much of a state table was read: files and row groups opened, rows and stored bytes in those."""

    files: int = 0
    row_groups: int = 0
    rows: int = 0
    bytes: int = 0

    def __add__(self, other: Read) -> Read:
        return Read(
            self.files + other.files,
            self.row_groups + other.row_groups,
            self.rows + other.rows,
            self.bytes + other.bytes,
        )


class Stored(Protocol):
    """What is read from: a state table, or a run's plan, which knows its files without opening the table."""

    @property
    def url(self) -> str:
        """Where the table is."""

    @property
    def store(self) -> StateStore:
        """Its bytes."""


def write_states(table: pa.Table, path: Path) -> None:
    """Write rows of `STATES`, by account_id, in small row groups whose first and last account are known."""
    pq.write_table(
        table,
        path,
        row_group_size=ROWS,
        compression="zstd",
        use_dictionary=False,
        use_byte_stream_split=[f"{name}.list.element" for name in _SUMS],
        write_statistics=["account_id"],
    )
    synced(path)


def read_states(
    table: Stored,
    files: Sequence[StateFile],
    account_ids: Sequence[str],
    *,
    dim: int,
    seen: Callable[[pa.Table], None] | None = None,
) -> tuple[AccountStates, Read]:
    """Read and merge the states of some accounts.

    Parameters
    ----------
    table : Stored
    files : sequence of StateFile
        Merged by day, so that the sums are the same to the bit every time.
    account_ids : sequence of str
        Sorted.
    dim : int
        Dimension of the encoder's vectors.
    seen : callable, optional
        Shown each file's rows of these accounts, by day.

    Returns
    -------
    states, read
        Of each file only the row groups that an account may be in are read: at most one an account, however
        many other accounts there are.

    Raises
    ------
    OutputError
        A file is gone (vacuumed since the run began) or damaged.
    """
    states, read = AccountStates.empty(dim), Read()
    if not account_ids:
        return states, read
    wanted = _by_bucket(account_ids)
    for file in sorted(files, key=lambda file: (file.day, file.path)):
        ids = wanted(file.bucket)
        if not ids:
            continue
        with table_errors(table.url):
            found, one = _rows_of(table, file, ids)
            read += one
            if found.num_rows:
                if seen is not None:
                    seen(found)
                states = merge([states, states_from_table(found, dim=dim)])
    return states, read


def accounts_held(table: Stored, files: Sequence[StateFile], *, progress: Progress = silent) -> pa.Table:
    """Name all accounts and their prompts of all days: `account_id`, `prompts`.

    Raises
    ------
    OutputError
        A file is gone or damaged.
    """
    held = STATES_COUNTED.empty_table()
    waiting: list[pa.Table] = []
    rows = 0
    for done, file in enumerate(files):
        progress("state", done, len(files))
        with table_errors(table.url), pq.ParquetFile(table.store.opened(file.path)) as parquet:
            found = parquet.read(columns=STATES_COUNTED.names).select(STATES_COUNTED.names)
        waiting.append(found.cast(STATES_COUNTED))
        rows += found.num_rows
        # As many rows as there are accounts each time, so that many files don't count all accounts each.
        if rows > max(held.num_rows, _COUNTED_AT_ONCE):
            held, waiting, rows = _added_up([held, *waiting]), [], 0
    progress("state", len(files), len(files))
    return _added_up([held, *waiting])


def _added_up(tables: Sequence[pa.Table]) -> pa.Table:
    added = pa.concat_tables(tables).group_by("account_id").aggregate([("prompts", "sum")])
    return added.rename_columns(STATES_COUNTED.names)


def holds(table: StateTable, file: StateFile, account_id: str) -> bool:
    """Whether an account has a row in a file."""
    bucket, buckets = file.bucket
    if bucket_of(pa.array([account_id]), buckets)[0] != bucket:
        return False
    with table_errors(table.url):
        return bool(_rows_of(table, file, [account_id])[0].num_rows)


def rewritten(
    table: StateTable, file: StateFile, change: Callable[[pa.Table], pa.Table], *, scratch: Path
) -> StateFile:
    """Write a file anew with its rows changed; it counts for nothing until it is committed.

    Parameters
    ----------
    change
        From the rows to rows of `STATES`.
    scratch : Path
        A local folder for the new file.
    """
    with table_errors(table.url), pq.ParquetFile(table.store.opened(file.path)) as parquet:
        rows = change(parquet.read())
    local = scratch / "rewritten.parquet"
    write_states(rows.select(STATES.names).cast(STATES), local)
    return table.put(local, day=file.day, run=file.run, bucket=file.bucket, rows=rows.num_rows)


def _by_bucket(account_ids: Sequence[str]) -> Callable[[tuple[int, int]], list[str]]:
    """Give a function that tells which of the accounts are in a bucket; each day may be cut in its way."""
    column = pa.array(account_ids, pa.large_string())
    ids = np.array(account_ids, dtype=object)
    cuts: dict[int, np.ndarray] = {}

    def inside(place: tuple[int, int]) -> list[str]:
        bucket, buckets = place
        if buckets not in cuts:
            cuts[buckets] = bucket_of(column, buckets)
        return list(ids[cuts[buckets] == bucket])

    return inside


def _rows_of(table: Stored, file: StateFile, ids: Sequence[str]) -> tuple[pa.Table, Read]:
    """Read the rows of sorted `ids` from one file."""
    with pq.ParquetFile(table.store.opened(file.path), pre_buffer=True) as parquet:
        missing = set(STATES.names) - set(parquet.schema_arrow.names)
        if missing:
            raise OutputError(f"state {table.url}: {file.path}: no column {min(missing)!r}")
        groups = list(_groups_with(parquet.metadata, ids))
        if not groups:
            return STATES.empty_table(), Read(files=1)
        rows = parquet.read_row_groups(groups, columns=STATES.names)
        held = [parquet.metadata.row_group(group) for group in groups]
    read = Read(
        files=1,
        row_groups=len(groups),
        rows=rows.num_rows,
        bytes=sum(group.column(c).total_compressed_size for group in held for c in range(group.num_columns)),
    )
    # Other tools' writers keep neither our order nor our widths of lists and texts.
    rows = rows.select(STATES.names).cast(STATES)
    rows = rows.filter(pc.is_in(rows["account_id"], value_set=pa.array(ids, pa.large_string())))
    return (rows if file.bucket != (0, 1) else rows.sort_by("account_id")), read


def _groups_with(metadata: pq.FileMetaData, ids: Sequence[str]) -> Iterable[int]:
    """Row groups whose range of account ids holds one of the sorted `ids`, at least."""
    column = metadata.schema.names.index("account_id")
    for group in range(metadata.num_row_groups):
        range_of = metadata.row_group(group).column(column).statistics
        if range_of is None or not range_of.has_min_max:  # ids too long for statistics
            yield group
            continue
        first = bisect_left(ids, range_of.min)
        if first < len(ids) and ids[first] <= range_of.max:
            yield group
