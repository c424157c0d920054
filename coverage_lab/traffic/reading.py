"""Open sources and stream them, a bounded number of rows and bytes at a time."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import TrafficError
from coverage_lab.traffic.batch import TrafficBatch
from coverage_lab.traffic.columns import check_mapping, is_text, partition_constants, resolve
from coverage_lab.traffic.content import open_content
from coverage_lab.traffic.delimited import csv_batches, csv_schema
from coverage_lab.traffic.flat_lines import parts
from coverage_lab.traffic.formats import FORMATS
from coverage_lab.traffic.json_values import blocks, layout_of, line_values, lines_of, values
from coverage_lab.traffic.opening import head_of
from coverage_lab.traffic.paths import head
from coverage_lab.traffic.records import RecordCollector
from coverage_lab.traffic.shares import Piece, whole_pieces
from coverage_lab.traffic.sources import Source
from coverage_lab.traffic.tables import byte_lengths, plain, validate_columns
from coverage_lab.traffic.text_log import requests
from coverage_lab.traffic.timestamps import Clock
from coverage_lab.untrusted.text import first_line, shown

#: Prompt bytes (JSON lines: line bytes) after which a batch ends early.
BATCH_BYTES: Final = 64 * 2**20
#: Rows that Parquet decodes at once. A dictionary-encoded file can be small and hold one long prompt a
#: million times, so its size says nothing of what a number of rows will take.
_PARQUET_STEP: Final = 128
_ARROW_MAGIC: Final = b"ARROW1"
_READ_ERRORS: Final = (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError, pa.ArrowException)
#: Rows of nested columns that are Python values at once, and what a nested value is taken for.
_RECORDS: Final = 1_024
_ROW_BYTES: Final = 1_024


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
            if piece.source.format in ("jsonl", "log"):
                yield from _read_values(piece, config, clock, as_of)
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


def line_limit(config: TrafficConfig) -> int:
    """Bytes of the longest line that is looked at.

    JSON may spell one byte as six (`\\u0007`), so no prompt of a lawful length is refused for its line
    unless the line holds a megabyte besides.
    """
    return 6 * config.max_prompt_bytes + 2**20


def open_values(source: Source, config: TrafficConfig, as_of: datetime | None) -> Iterator[tuple[int, Any]]:
    """Records of a JSON file or a text log with their places; what gives none is `Unreadable`."""
    limit = line_limit(config)
    with open_content(source.path) as stream:
        if source.format == "log":
            yield from requests(stream, limit, as_of)
        else:
            yield from values(stream, head_of(source), limit)


def _read_values(
    piece: Piece, config: TrafficConfig, clock: Clock, as_of: datetime
) -> Iterator[TrafficBatch]:
    source = piece.source
    collector = _collector(piece, config, clock)
    constants = partition_constants(source, config)
    if source.format == "log" or layout_of(head_of(source)) != "lines":
        yield from _collected(collector, open_values(source, config, as_of), config)
        return
    flat = collector.flat_lines()
    limit = line_limit(config)
    held = 0
    with open_content(source.path) as stream:
        for row, block in blocks(stream, limit):
            if block is None:
                yield from _full(collector, line_values((None,), limit, row), config)
                continue
            whole = flat.read(block) if flat is not None else None
            for part in (block,) if flat is None or whole is not None else parts(block):
                arrays = flat.read(part) if flat is not None and whole is None else whole
                if arrays is None:
                    yield from _full(collector, line_values(lines_of(part), limit, row), config)
                    held += len(part)
                if len(collector) and (arrays is not None or held >= BATCH_BYTES):
                    yield collector.batch()
                    held = 0
                if arrays is not None:
                    yield from _flat_batches(arrays, constants, config, clock, piece, row)
                row += part.count(b"\n")
    if len(collector):
        yield collector.batch()


def _full(
    collector: RecordCollector, values: Iterator[tuple[int, Any]], config: TrafficConfig
) -> Iterator[TrafficBatch]:
    """Take in values; yield a batch whenever one has all its rows."""
    add = collector.add
    while True:
        room = max(1, config.batch_rows - len(collector))
        taken = 0
        for row, value in islice(values, room):
            add(row, value)
            taken += 1
        if len(collector) >= config.batch_rows:
            yield collector.batch()
        if taken < room:
            return


def _flat_batches(
    arrays: Mapping[str, pa.Array],
    constants: Mapping[str, str | None],
    config: TrafficConfig,
    clock: Clock,
    piece: Piece,
    row: int,
) -> Iterator[TrafficBatch]:
    rows = len(next(iter(arrays.values())))
    for start, stop in _pieces(arrays.get("prompt"), rows, config.batch_rows):
        yield validate_columns(
            {ours: array.slice(start, stop - start) for ours, array in arrays.items()},
            constants,
            config,
            clock,
            rows=stop - start,
            source=piece.position,
            source_name=piece.source.name,
            first_row=row + start,
        )


def _collected(
    collector: RecordCollector, values: Iterable[tuple[int, Any]], config: TrafficConfig
) -> Iterator[TrafficBatch]:
    held = 0
    for row, value in values:
        collector.add(row, value)
        held += _ROW_BYTES if not isinstance(value, dict) else sum(map(_size, value.values()))
        if len(collector) >= config.batch_rows or held >= BATCH_BYTES:
            yield collector.batch()
            held = 0
    if len(collector):
        yield collector.batch()


def _size(value: object) -> int:
    """Roughly the bytes that a value of a row takes."""
    return len(value) if isinstance(value, str) else 16 if not isinstance(value, list | dict) else _ROW_BYTES


def _collector(piece: Piece, config: TrafficConfig, clock: Clock) -> RecordCollector:
    return RecordCollector(
        config,
        clock,
        source=piece.position,
        source_name=piece.source.name,
        constants=partition_constants(piece.source, config),
        shape=piece.source.shape,
    )


def _read_columns(piece: Piece, config: TrafficConfig, clock: Clock) -> Iterator[TrafficBatch]:
    source = piece.source
    bad_rows: list[int] = []
    names = column_names(source)
    layout = resolve(names, source, config) if source.shape not in FORMATS else None
    wanted = None if layout is None else sorted(set(layout.fields.values()) | _filter_columns(names, config))
    row, batches = column_batches(piece, config, wanted, bad_rows)
    collector = None
    if layout is None or layout.nested or source.shape == "messages":
        collector = _collector(piece, config, clock)
    for batch in batches:
        places = _places(row, batch.num_rows, bad_rows)
        row += batch.num_rows
        if layout is None or collector is not None:
            assert collector is not None
            for start in range(0, batch.num_rows, _RECORDS):
                part = batch.slice(start, _RECORDS)
                for at, record in zip(places[start : start + _RECORDS].tolist(), records(part), strict=True):
                    collector.add(at, record)
                if len(collector) >= config.batch_rows or batch.nbytes >= BATCH_BYTES // 4:
                    yield collector.batch()
            continue
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
                first_row=places[start:stop],
            )
    collector = collector or _collector(piece, config, clock)
    for at in bad_rows:
        collector.refuse(at, "unparsable_row", "the line has another number of columns than the first")
    if len(collector):
        yield collector.batch()


def _places(first: int, rows: int, bad_rows: Sequence[int]) -> NDArray[np.int64]:
    """Places in the file of rows that have places `first` and on when the `bad_rows` are left out."""
    places = np.arange(first, first + rows)
    bad = np.array(bad_rows, np.int64)
    return places + np.searchsorted(bad - np.arange(len(bad)), places, side="right")


def _filter_columns(names: Sequence[str], config: TrafficConfig) -> set[str]:
    if isinstance(config.filter, str):
        return set(names)
    return {name for path in config.filter for name in (path, head(path)) if name in names}


def records(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows of a batch as Python values: text where it is UTF-8, else bytes; times in microseconds."""
    columns = []
    for array in batch.columns:
        array = plain(array)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
            array = array.cast(pa.timestamp("us", tz=array.type.tz), safe=False)
        if is_text(array.type):
            try:
                array = array.cast(pa.large_binary()).cast(pa.large_string())
            except pa.ArrowInvalid:
                columns.append([_decoded(value) for value in array.to_pylist()])
                continue
        columns.append(array.to_pylist())
    names = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return value.decode("utf-8") if value is not None else None
    except UnicodeDecodeError:
        return value


def column_names(source: Source) -> list[str]:
    """Names of a columnar file's columns, in order."""
    return list(schema_of(source).names)


def schema_of(source: Source) -> pa.Schema:
    """Schema of a columnar file; all columns of a CSV file are text."""
    if source.format == "parquet":
        with parquet_file(source) as file:
            return file.schema_arrow
    if source.format == "csv":
        return csv_schema(source)
    with pa.memory_map(str(source.path)) as mapped:
        return open_arrow(mapped).schema


def column_batches(
    piece: Piece, config: TrafficConfig, wanted: Sequence[str] | None, bad_rows: list[int]
) -> tuple[int, Iterator[pa.RecordBatch]]:
    """Place of the first row, and the record batches of the `wanted` columns (all when None).

    Rows of CSV that have another number of columns are no rows of a batch; `bad_rows` gets their places.
    """
    if piece.source.format == "parquet":
        return _parquet_batches(piece, config, wanted)
    if piece.source.format == "csv":
        return 0, csv_batches(piece.source, wanted, line_limit(config), bad_rows)
    return 0, _arrow_batches(piece.source, wanted)


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
    piece: Piece, config: TrafficConfig, wanted: Sequence[str] | None
) -> tuple[int, Iterator[pa.RecordBatch]]:
    file = parquet_file(piece.source)
    step = -(-config.batch_rows // -(-config.batch_rows // _PARQUET_STEP))
    start, stop = piece.groups or (0, file.num_row_groups)
    first_row = sum(file.metadata.row_group(at).num_rows for at in range(start))
    steps = file.iter_batches(step, row_groups=range(start, stop), columns=wanted, use_threads=False)
    return first_row, _joined(steps, config.batch_rows - step)


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


def _arrow_batches(source: Source, wanted: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    mapped = pa.memory_map(str(source.path))
    names = open_arrow(mapped).schema.names
    mapped.seek(0)
    places = None if wanted is None else sorted(names.index(name) for name in wanted)
    reader = open_arrow(mapped, columns=places)
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(at) for at in range(reader.num_record_batches))
    return iter(reader)
