"""Refuse files that can't be used before any work is done on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import TrafficError
from coverage_lab.schema import REQUIRED_COLUMNS
from coverage_lab.traffic.columns import (
    check_mapping,
    check_types,
    missing_column,
    partition_constants,
    resolve,
)
from coverage_lab.traffic.problems import BadValueError
from coverage_lab.traffic.reading import (
    line_limit,
    lines,
    open_arrow,
    open_lines,
    parquet_file,
    parse_line,
    readable,
)
from coverage_lab.traffic.sources import Source, size_of
from coverage_lab.traffic.timestamps import Clock, zone_of
from coverage_lab.untrusted.text import shown

_SAMPLE_LINES: Final = 100
_SAMPLE_BYTES: Final = 2**20


def check_sources(sources: Sequence[Source], config: TrafficConfig) -> None:
    """Open every file's schema, and refuse the input if one can't be used.

    Parquet: the footer. Arrow: the schema and that every message is whole. JSON lines: that the text is
    UTF-8 and its first lines have the required columns, under the names that `config.columns` gives. Single
    bad rows do not count here, nor do files without rows.

    Raises
    ------
    ConfigError
        An unknown name in `config.columns`, an unknown `config.timezone`.
    TrafficError
        No sources; an empty (0-byte), truncated or unreadable file; a column that is missing, doubled, of a
        type that can't be what it should, or zone-less while `config.timezone` is None.
    """
    check_mapping(config)
    zone_of(config)
    if not sources:
        raise TrafficError("input: expected at least one file, got none")
    for source in sources:
        if size_of(source) == 0:
            raise TrafficError(f"input file {shown(source.name)}: is empty (0 bytes)")
        with readable(source):
            if source.format == "jsonl":
                constants = _check_lines(source, config)
            else:
                constants = _check_columns(source, config)
        _check_constants(constants, source, config)


def _check_columns(source: Source, config: TrafficConfig) -> Mapping[str, str | None]:
    if source.format == "parquet":
        with parquet_file(source) as file:
            schema = file.schema_arrow
    else:
        schema = _arrow_schema(source)
    layout = resolve(schema.names, source, config)
    check_types(schema, layout, source, config)
    return layout.constants


def _arrow_schema(source: Source) -> pa.Schema:
    with pa.memory_map(str(source.path)) as mapped:
        reader = open_arrow(mapped)
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            return reader.schema
        mapped.seek(0)
        # A stream has no footer: walk its messages (mapped, so nothing is copied or decompressed).
        messages = pa.ipc.MessageReader.open_stream(mapped)
        try:
            while True:
                messages.read_next_message()
        except StopIteration:
            return reader.schema


def _check_lines(source: Source, config: TrafficConfig) -> Mapping[str, str | None]:
    names: dict[str, None] = {}
    rows = taken = 0
    array = False
    with open_lines(source) as stream:
        if stream.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise TrafficError(f"input file {shown(source.name)}: is UTF-16, expected UTF-8")
        stream.seek(0)
        for line in lines(stream, line_limit(config)):
            opens_array = taken == 0 and line is not None and line.lstrip().startswith(b"[")
            taken += len(line.strip()) if line is not None else 1
            try:
                record = parse_line(line) if line is not None else None
            except (ValueError, RecursionError):
                if opens_array:
                    raise _json_array(source) from None
                continue
            array = array or opens_array
            if isinstance(record, dict):
                names.update(dict.fromkeys(record))
                rows += 1
            if rows >= _SAMPLE_LINES or taken >= _SAMPLE_BYTES:
                break
    if array and rows == 0:
        raise _json_array(source)
    constants = {
        ours: value
        for ours, value in partition_constants(source, config).items()
        if config.columns.get(ours, ours) not in names
    }
    for ours in REQUIRED_COLUMNS:
        if rows and config.columns.get(ours, ours) not in names and ours not in constants:
            raise missing_column(ours, list(names), source, config)
    return constants


def _json_array(source: Source) -> TrafficError:
    return TrafficError(f"input file {shown(source.name)}: is a JSON array, expected one object a line")


def _check_constants(constants: Mapping[str, str | None], source: Source, config: TrafficConfig) -> None:
    """A folder name that is no timestamp spoils every row of its files: refuse it now."""
    value = constants.get("timestamp")
    if value is None:
        return
    clock = Clock(zone=zone_of(config), latest=2**62, in_future=("", ""))
    try:
        clock.read(value)
    except BadValueError as error:
        raise TrafficError(
            f"input file {shown(source.name)}: folder value '{shown(value, 60)}': {error.detail}"
        ) from error
