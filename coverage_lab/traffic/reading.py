"""Open sources and stream them, a bounded number of rows and bytes at a time."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Final, NoReturn, cast

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import TrafficError
from coverage_lab.traffic.batch import TrafficBatch
from coverage_lab.traffic.columns import ColumnMapping, check_mapping, partition_constants, resolve
from coverage_lab.traffic.problems import UNPARSABLE_ROW, not_utf8
from coverage_lab.traffic.records import RecordCollector
from coverage_lab.traffic.shares import Piece, whole_pieces
from coverage_lab.traffic.sources import Source
from coverage_lab.traffic.tables import byte_lengths, plain, validate_columns
from coverage_lab.traffic.timestamps import Clock
from coverage_lab.untrusted.text import first_line, shown

#: Prompt bytes (JSON lines: line bytes) after which a batch ends early.
BATCH_BYTES: Final = 64 * 2**20
#: Rows that Parquet decodes at once. A dictionary-encoded file can be small and hold one long prompt a
#: million times, so its size says nothing of what a number of rows will take.
_PARQUET_STEP: Final = 128
_ARROW_MAGIC: Final = b"ARROW1"
_READ_ERRORS: Final = (OSError, EOFError, UnicodeDecodeError, zlib.error, pa.ArrowException)


def read_traffic(
    sources: Sequence[Source], config: TrafficConfig, *, as_of: datetime
) -> Iterator[TrafficBatch]:
    """Stream and validate sources, in their order.

    Parameters
    ----------
    sources
        From `find_sources`; run `check_sources` on them before. The `source` of a row is its file's position
        here, its `row` the position in the file (JSON lines: the line, counting blank ones, which are no
        rows).
    as_of
        'Now', with a zone, for the check against the future.

    Yields
    ------
    TrafficBatch
        At most `config.batch_rows` rows and about `BATCH_BYTES` of text of one source; nothing for a source
        without rows. Every row of the input is in exactly one batch, good or quarantined.

    Raises
    ------
    ConfigError
        An unknown name in `config.columns`, an unknown zone.
    TrafficError
        `as_of` has no zone, a file lacks a required column, or turns out to be damaged on the way (a
        truncated .gz, a broken Parquet page).
    """
    yield from read_pieces(whole_pieces(sources), config, as_of=as_of)


def read_pieces(pieces: Iterable[Piece], config: TrafficConfig, *, as_of: datetime) -> Iterator[TrafficBatch]:
    """Stream and validate pieces of sources, as `read_traffic` does whole ones.

    The pieces of a source, one after the other, give the rows that the whole gives.
    """
    check_mapping(config)
    clock = Clock.of(config, as_of)
    for piece in pieces:
        with readable(piece.source):
            if piece.source.format == "jsonl":
                yield from _read_lines(piece.source, piece.position, config, clock)
            else:
                yield from _read_columns(piece, config, clock)


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Turn what a damaged or unreadable file raises into one clear line."""
    try:
        yield
    except _READ_ERRORS as error:
        raise TrafficError(
            f"input file {shown(source.name)}: can't be read as {source.format} ({first_line(error)})"
        ) from error


def parquet_file(source: Source) -> pq.ParquetFile:
    """Open a Parquet file so that a huge row group is not read whole."""
    return pq.ParquetFile(
        source.path,
        pre_buffer=False,
        buffer_size=2**20,
        coerce_int96_timestamp_unit="us",  # nanoseconds would wrap around after 2262
    )


def open_arrow(
    mapped: pa.MemoryMappedFile, *, columns: Sequence[int] | None = None
) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
    """Reader of an Arrow IPC file or stream; only the columns at these positions when given."""
    options = pa.ipc.IpcReadOptions(included_fields=list(columns) if columns is not None else None)
    magic = mapped.read(len(_ARROW_MAGIC))
    mapped.seek(0)
    if magic == _ARROW_MAGIC:
        return pa.ipc.open_file(mapped, options=options)
    return pa.ipc.open_stream(mapped, options=options)


def open_lines(source: Source) -> IO[bytes]:
    """Bytes of a JSON lines file, decompressed."""
    if source.path.name.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(source.path, "rb"))
    return source.path.open("rb")


def line_limit(config: TrafficConfig) -> int:
    """Bytes of the longest line that is looked at.

    JSON may spell one byte as six (`\\u0007`), so no prompt of a lawful length is refused for its line
    unless the line holds a megabyte besides.
    """
    return 6 * config.max_prompt_bytes + 2**20


def lines(stream: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Lines without their ends; None for one of more than `limit` bytes, which is never held whole."""
    first = True
    while line := stream.readline(limit + 2):
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        content = line.rstrip(b"\r\n")
        if len(content) <= limit and (line.endswith(b"\n") or len(line) <= limit):
            yield content
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(2**16)
        yield None


def parse_line(line: bytes) -> object:
    """Parse JSON text.

    Raises
    ------
    UnicodeDecodeError
        Not UTF-8.
    ValueError, RecursionError
        Not JSON (NaN and infinities are not), or nested too deeply to be a row.
    """
    return json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _read_lines(source: Source, position: int, config: TrafficConfig, clock: Clock) -> Iterator[TrafficBatch]:
    collector = RecordCollector(
        config,
        clock,
        source=position,
        source_name=source.name,
        constants=partition_constants(source, config),
    )
    limit = line_limit(config)
    held = 0
    with open_lines(source) as stream:
        for row, line in enumerate(lines(stream, limit)):
            if line is None:
                collector.refuse(row, "prompt_too_long", f"line has more than {limit} bytes")
            elif line.strip():
                held += len(line)
                _add_line(collector, row, line)
            if len(collector) >= config.batch_rows or held >= BATCH_BYTES:
                yield collector.batch()
                held = 0
    if len(collector):
        yield collector.batch()


def _add_line(collector: RecordCollector, row: int, line: bytes) -> None:
    try:
        record = parse_line(line)
    except UnicodeDecodeError:
        collector.refuse(row, *not_utf8("line"))
    except (ValueError, RecursionError):
        collector.refuse(row, *UNPARSABLE_ROW)
    else:
        collector.add(row, record)


def _read_columns(piece: Piece, config: TrafficConfig, clock: Clock) -> Iterator[TrafficBatch]:
    source = piece.source
    layout, row, batches = (
        _parquet_batches(piece, config) if source.format == "parquet" else _arrow_batches(source, config)
    )
    for batch in batches:
        arrays = {
            ours: plain(batch.column(batch.schema.get_field_index(theirs)))
            for ours, theirs in layout.fields.items()
        }
        for start, stop in _pieces(arrays.get("prompt"), batch.num_rows, config.batch_rows):
            yield validate_columns(
                {name: array.slice(start, stop - start) for name, array in arrays.items()},
                layout.constants,
                config,
                clock,
                rows=stop - start,
                source=piece.position,
                source_name=source.name,
                first_row=row + start,
            )
        row += batch.num_rows


def _pieces(prompts: pa.Array | None, rows: int, batch_rows: int) -> Iterator[tuple[int, int]]:
    """Cut a batch so that no piece has too many rows or, but for a single row, too many bytes."""
    ends = np.cumsum(byte_lengths(prompts)) if prompts is not None else np.zeros(rows, np.int64)
    start = 0
    while start < rows:
        before = int(ends[start - 1]) if start else 0
        within = int(np.searchsorted(ends, before + BATCH_BYTES, side="right"))
        stop = min(rows, start + batch_rows, max(start + 1, within))
        yield start, stop
        start = stop


def _parquet_batches(
    piece: Piece, config: TrafficConfig
) -> tuple[ColumnMapping, int, Iterator[pa.RecordBatch]]:
    file = parquet_file(piece.source)
    layout = resolve(file.schema_arrow.names, piece.source, config)
    wanted = sorted(set(layout.fields.values()))
    step = -(-config.batch_rows // -(-config.batch_rows // _PARQUET_STEP))
    start, stop = piece.groups or (0, file.num_row_groups)
    first_row = sum(file.metadata.row_group(at).num_rows for at in range(start))
    steps = file.iter_batches(step, row_groups=range(start, stop), columns=wanted, use_threads=False)
    return layout, first_row, _joined(steps, config.batch_rows - step)


def _joined(steps: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Join batches until they have more than `rows` rows or `BATCH_BYTES` bytes."""
    held: list[pa.RecordBatch] = []
    held_rows = held_bytes = 0
    for step in steps:
        held.append(step)
        held_rows += step.num_rows
        held_bytes += step.nbytes
        if held_rows > rows or held_bytes >= BATCH_BYTES:
            yield _one_batch(held)
            held, held_rows, held_bytes = [], 0, 0
    if held:
        yield _one_batch(held)


def _one_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches) if len(batches) > 1 else batches[0]


def _arrow_batches(
    source: Source, config: TrafficConfig
) -> tuple[ColumnMapping, int, Iterator[pa.RecordBatch]]:
    mapped = pa.memory_map(str(source.path))
    names = open_arrow(mapped).schema.names
    layout = resolve(names, source, config)
    mapped.seek(0)
    reader = open_arrow(mapped, columns=sorted(names.index(theirs) for theirs in set(layout.fields.values())))
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return layout, 0, (reader.get_batch(at) for at in range(reader.num_record_batches))
    return layout, 0, iter(reader)
