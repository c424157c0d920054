"""The parts' rows of a table that has one row an account, sorted by account, in bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

#: Accounts a row group of what is written.
GROUP_ROWS = 4_096
#: Spans at most: each is a file, and all are open at once.
MOST_SPANS = 256
#: Bytes of a file that are read or written at once.
_BUFFER = 2**14


def write_sorted(
    files: Sequence[Path],
    target: Path,
    *,
    schema: pa.Schema,
    q_values: pa.Array,
    scratch: Path,
    change: Callable[[pa.Table], pa.Table] = lambda rows: rows,
    spans_written: Callable[[], None] = lambda: None,
) -> None:
    """Write the rows of many Parquet files sorted by `account_id`, with their `q_value` filled in.

    Only the ids are sorted as one. They are cut into spans of as many accounts each; then all rows are copied
    to the files of their spans, and each span is sorted by itself. So whole rows are held of one span only,
    which is `GROUP_ROWS` accounts, or one in `MOST_SPANS` of all where those are more; besides, ids, places
    and q-values of all accounts, some 100 bytes each. The same rows give the same bytes, whatever files they
    come in.

    Parameters
    ----------
    files : sequence of Path
        Parquet files of `schema`, no account in two rows. Each span gets whole slices of one that is itself
        sorted; another is merely slower.
    target : Path
        File to write: row groups of `GROUP_ROWS` accounts.
    schema : Schema
        With `account_id` and `q_value`.
    q_values : float64 array
        One a row, in the order of `files`.
    scratch : Path
        Folder for the spans' rows, as many bytes as they have in memory. What is there is removed first, and
        it is gone in the end.
    change : (Table) -> Table
        What is done to the rows of each span, sorted, before they are written; it keeps their schema.
    spans_written : () -> None
        Called when every row is in the file of its span and no span is sorted yet.
    """
    span_of, spans = _spans(files)
    with _emptied(scratch), pq.ParquetWriter(target, schema, compression="zstd") as writer:
        _write_spans(files, schema, q_values, span_of, [_span_file(scratch, span) for span in range(spans)])
        spans_written()
        for span in range(spans):
            file = _span_file(scratch, span)
            with pa.input_stream(str(file), buffer_size=_BUFFER) as stored:
                rows = pa.ipc.open_stream(stored).read_all()
            file.unlink()
            rows = rows.take(pc.sort_indices(rows["account_id"]))
            writer.write_table(change(rows), row_group_size=GROUP_ROWS)


def column_of(files: Sequence[Path], name: str) -> pa.ChunkedArray:
    """Read one column of many Parquet files, one or more, as one."""
    tables = []
    for file in files:
        with pq.ParquetFile(file) as parquet:
            tables.append(parquet.read(columns=[name]))
    return pa.concat_tables(tables)[name]


def _spans(files: Sequence[Path]) -> tuple[NDArray[np.int16], int]:
    """Span of each row, in the order of `files`, and how many there are: at least one."""
    order = pc.sort_indices(column_of(files, "account_id")).to_numpy()
    groups = max(-(-len(order) // GROUP_ROWS), 1)
    size = GROUP_ROWS * -(-groups // MOST_SPANS)
    spans = max(-(-len(order) // size), 1)
    span_of = np.empty(len(order), np.int16)
    for span in range(spans):
        span_of[order[span * size : (span + 1) * size]] = span
    return span_of, spans


def _write_spans(
    files: Sequence[Path],
    schema: pa.Schema,
    q_values: pa.Array,
    span_of: NDArray[np.int16],
    targets: Sequence[Path],
) -> None:
    column = schema.get_field_index("q_value")
    row = 0
    with ExitStack() as held:
        writers = []
        for target in targets:
            sink = held.enter_context(pa.output_stream(str(target), buffer_size=_BUFFER))
            writers.append(held.enter_context(pa.ipc.new_stream(sink, schema)))
        for file in files:
            # Without a buffer's size a row group's columns would be read whole, compressed as they are.
            with pq.ParquetFile(file, buffer_size=_BUFFER) as parquet:
                for batch in parquet.iter_batches(batch_size=GROUP_ROWS):
                    rows = slice(row, row + batch.num_rows)
                    row = rows.stop
                    filled = batch.set_column(column, schema.field(column), q_values[rows])
                    here = span_of[rows]
                    edges = [0, *(np.flatnonzero(np.diff(here)) + 1).tolist(), len(here)]
                    for start, stop in pairwise(edges):
                        writers[here[start]].write_batch(filled.slice(start, stop - start))


def _span_file(scratch: Path, span: int) -> Path:
    return scratch / f"span-{span:05d}.arrow"


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Make a folder without what a killed run left there, and remove it in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
