"""Recognise what files hold, and refuse what can't be used, before any work is done on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import TrafficError
from coverage_lab.schema import REQUIRED_COLUMNS
from coverage_lab.traffic.chat import Request, is_chat, parsed
from coverage_lab.traffic.columns import (
    check_mapping,
    check_types,
    missing_column,
    partition_constants,
    resolve,
)
from coverage_lab.traffic.formats import FORMATS, Row
from coverage_lab.traffic.opening import container_of, head_of
from coverage_lab.traffic.paths import head, is_path, lookup, row_filter
from coverage_lab.traffic.problems import BadValueError
from coverage_lab.traffic.reading import (
    column_batches,
    open_arrow,
    open_values,
    readable,
    records,
    schema_of,
)
from coverage_lab.traffic.shares import Piece
from coverage_lab.traffic.sources import SUFFIXES, Source, size_of
from coverage_lab.traffic.text_log import is_request_log
from coverage_lab.traffic.timestamps import Clock, zone_of
from coverage_lab.untrusted.text import shown

_SAMPLE_ROWS: Final = 100
#: Share of the first rows whose prompt holds messages, from which on all are looked into.
_SOME: Final = 0.1
_MOST: Final = 0.5


class NotTrafficError(TrafficError):
    """A file that holds something else: it has no prompt column, nor another that traffic has."""


@dataclass(frozen=True)
class Checked:
    """Sources that can be read, with their kinds and shapes found out.

    Attributes
    ----------
    skipped : dict
        Files beside the traffic that hold something else, with the reason; also those that the input names
        more than once, which are read once.
    """

    sources: tuple[Source, ...]
    skipped: Mapping[str, str]

    @property
    def format(self) -> str:
        """What rows are, for `run.json`; several with commas."""
        return ", ".join(sorted({source.shape for source in self.sources}))

    @property
    def sentence(self) -> str | None:
        """What was taken as the prompt where it is not a column's plain text."""
        shapes = Counter(source.shape for source in self.sources)
        told = [_told(shape) for shape in sorted(shapes) if shape != "table"]
        return "; ".join(told) if told else None


def _told(shape: str) -> str:
    newest = "the newest user turn is the prompt"
    if shape == "messages":
        return f'The prompt column holds chat messages: {newest} (traffic.format = "table" takes it as text)'
    return f"Format {shape} ({FORMATS[shape].title}): in its messages {newest}"


def check_sources(sources: Sequence[Source], config: TrafficConfig) -> Checked:
    """Find out what every file is and what its rows are, and refuse the input if one can't be used.

    Parquet: the footer. Arrow: the schema and that every message is whole. Text: that it is UTF-8 and its
    first rows have the required columns, under the names that `config.columns` gives or in one of `FORMATS`.
    Single bad rows do not count here, nor do files without rows. A file beside the traffic that has neither
    a prompt nor another required column is skipped.

    Raises
    ------
    ConfigError
        An unknown name in `config.columns`, an unknown `config.timezone`.
    TrafficError
        No sources; an empty (0-byte), truncated or unreadable file; a column that is missing, doubled, of a
        type that can't be what it should, or zone-less while `config.timezone` is None; rows that two
        formats would read differently.
    """
    check_mapping(config)
    zone_of(config)
    if not sources:
        raise TrafficError("input: expected at least one file, got none")
    found: list[Source] = []
    others: dict[str, NotTrafficError] = {}
    for source in sources:
        if size_of(source) == 0:
            raise TrafficError(f"input file {shown(source.name)}: is empty (0 bytes)")
        try:
            with readable(source):
                found.append(_checked(source, config))
        except NotTrafficError as error:
            others[source.name] = error
    if not found:
        raise next(iter(others.values()))
    skipped = {name: str(error) for name, error in others.items()}
    for source in found:
        if source.named > 1:
            skipped[source.name] = f"is named {source.named} times in the input, and is read once"
    return Checked(tuple(found), skipped)


def without_repeats(checked: Checked, config: TrafficConfig) -> Checked:
    """Skip files that hold what an earlier one holds, byte for byte, and whose places say the same of them.

    Raises
    ------
    TrafficError
        A file is gone or can't be read.
    """
    sizes = Counter(size_of(source) for source in checked.sources)
    first: dict[tuple[object, ...], str] = {}
    kept: list[Source] = []
    skipped = dict(checked.skipped)
    for source in checked.sources:
        if sizes[size_of(source)] > 1:
            constants = partition_constants(source, config)
            with readable(source), source.path.open("rb") as opened:
                key = (hashlib.file_digest(opened, "sha256").digest(), *sorted(constants.items()))
            if key in first:
                skipped[source.name] = f"holds the same as {first[key]}, which is read"
                continue
            first[key] = source.name
        kept.append(source)
    return Checked(tuple(kept), skipped)


def _checked(source: Source, config: TrafficConfig) -> Source:
    source = replace(source, format=container_of(source))
    if source.format in ("jsonl", "log"):
        return _checked_values(source, config)
    if source.format == "arrow":
        _check_whole(source)
    schema = schema_of(source)
    sample = _Sample(schema.names, _first_rows(source, schema, config))
    shape = _shape(sample, source, config)
    source = replace(source, shape=shape)
    constants = partition_constants(source, config)
    if shape not in FORMATS:
        layout = resolve(schema.names, source, config)
        check_types(schema, layout, source, config)
        constants = dict(layout.constants)
    _check_constants(constants, source, config)
    return source


def _check_whole(source: Source) -> None:
    with pa.memory_map(str(source.path)) as mapped:
        reader = open_arrow(mapped)
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            return
        mapped.seek(0)
        # A stream has no footer: walk its messages (mapped, so nothing is copied or decompressed).
        messages = pa.ipc.MessageReader.open_stream(mapped)
        try:
            while True:
                messages.read_next_message()
        except StopIteration:
            return


@dataclass(frozen=True)
class _Sample:
    """Names of a file's columns, and its first rows."""

    names: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def _first_rows(source: Source, schema: pa.Schema, config: TrafficConfig) -> list[dict[str, Any]]:
    """First rows of a columnar file; of a table with our columns only its prompts, which may hold messages.

    None where they are damaged: reading says so, with the row.
    """
    if len(set(schema.names)) < len(schema.names):
        return []
    prompt = config.columns.get("prompt", "prompt")
    table = config.format in ("auto", "table") and _missing(schema.names, source, config) == []
    wanted = None
    if table:
        wanted = [name for name in (prompt, head(prompt)) if name in schema.names][:1] or None
    try:
        _, batches = column_batches(
            Piece(0, source), config.model_copy(update={"batch_rows": _SAMPLE_ROWS}), wanted, []
        )
        return [row for batch in islice(batches, 1) for row in records(batch.slice(0, _SAMPLE_ROWS))]
    except (OSError, UnicodeDecodeError, pa.ArrowException):
        return []


def _checked_values(source: Source, config: TrafficConfig) -> Source:
    if is_request_log(head_of(source)):
        source = replace(source, format="log")
    elif source.format == "log":
        suffixes = ", ".join(suffix for suffix in SUFFIXES if suffix.count(".") == 1)
        raise NotTrafficError(
            f"input file {shown(source.name)}: is text in no format that is known (expected JSON lines or "
            f"vLLM's log of requests, or a file with {suffixes}); traffic.format names one"
        )
    names: dict[str, None] = {}
    rows: list[Mapping[str, Any]] = []
    for place, (_, value) in enumerate(open_values(source, config, None)):
        if isinstance(value, dict):
            names.update(dict.fromkeys(value))
            rows.append(value)
        if len(rows) >= _SAMPLE_ROWS or place >= 10 * _SAMPLE_ROWS:
            break
    constants = partition_constants(source, config)
    if rows:
        source = replace(source, shape=_shape(_Sample(list(names), rows), source, config))
    _check_constants(
        {ours: value for ours, value in constants.items() if config.columns.get(ours, ours) not in names},
        source,
        config,
    )
    return source


def _missing(names: Sequence[str], source: Source, config: TrafficConfig) -> list[str]:
    """Required columns that neither the file nor the config gives."""
    constants = partition_constants(source, config)
    return [
        ours
        for ours in REQUIRED_COLUMNS
        if (theirs := config.columns.get(ours, ours)) not in names
        and not (ours in config.columns and is_path(theirs) and head(theirs) in names)
        and ours not in constants
    ]


def _shape(sample: _Sample, source: Source, config: TrafficConfig) -> str:
    """Tell what a row of a file is, by its first rows.

    Raises
    ------
    TrafficError
        A required column is missing, two formats would read the rows differently, or most prompts are JSON
        that holds no messages.
    """
    if config.format in FORMATS:
        _check_format(config.format, sample, source, config)
        return config.format
    absent = _missing(sample.names, source, config)
    if not absent:
        return "table" if config.format == "table" else _prompt_shape(sample, source, config)
    if config.format == "auto" and "prompt" not in config.columns:
        name = _recognised(sample, source)
        if name is not None:
            _check_format(name, sample, source, config)
            return name
    error = missing_column(absent[0], list(sample.names), source, config)
    if len(absent) > 1 and "prompt" in absent and "prompt" not in config.columns and config.format == "auto":
        raise NotTrafficError(f"{error} (nor for {' and '.join(absent[1:])})")
    raise error


def _recognised(sample: _Sample, source: Source) -> str | None:
    """Name of the format that the rows are of; None where they are of no known one."""
    rows = sample.rows
    fits = [
        (name, format)
        for name, format in FORMATS.items()
        if rows and sum(map(format.recognises, rows)) > _MOST * len(rows)
    ]
    read = {name: [row for record in rows for row in format.rows(record)] for name, format in fits}
    asked = {name: [_words(row) for row in found if _words(row)] for name, found in read.items()}
    fits = [(name, format) for name, format in fits if asked[name]] or fits[:1]
    for name, _ in fits[1:]:
        if asked[name] != asked[fits[0][0]]:
            raise TrafficError(
                f"input file {shown(source.name)}: its rows can be {fits[0][0]} or {name}, which give "
                f'different prompts; say which, for instance traffic.format = "{fits[0][0]}"'
            )
    return fits[0][0] if fits else None


def _words(row: Row) -> str:
    prompt = row.get("prompt")
    return prompt.prompt if isinstance(prompt, Request) else prompt if isinstance(prompt, str) else ""


def _check_format(name: str, sample: _Sample, source: Source, config: TrafficConfig) -> None:
    """Refuse a file in which a format finds no account or no time in any of the first rows."""
    chosen = row_filter(config)
    taken = [record for record in sample.rows if chosen is None or chosen(record)]
    rows = [(record, row) for record in taken for row in FORMATS[name].rows(record)]
    constants = partition_constants(source, config)
    for ours in REQUIRED_COLUMNS:
        if not rows or ours in constants or any(row.get(ours) not in (None, "") for _, row in rows):
            continue
        find = lookup(config.columns[ours]) if ours in config.columns else None
        if find is not None and any(find(record) is not None for record, _ in rows):
            continue
        if ours != "prompt":
            raise missing_column(ours, list(sample.names), source, config)


def _prompt_shape(sample: _Sample, source: Source, config: TrafficConfig) -> str:
    find = lookup(config.columns.get("prompt", "prompt"))
    values = [value for row in sample.rows if (value := find(row)) not in (None, "")]
    inside = [
        value
        for text in values
        if isinstance(text, str) and isinstance(value := parsed(text), list | dict) and value
    ]
    chats = sum(map(is_chat, [value for value in values if isinstance(value, str | list | dict)]))
    if chats > _SOME * len(values):
        return "messages"
    if len(inside) > _MOST * len(values):
        column = config.columns.get("prompt", "prompt")
        texts = (
            [key for key, text in inside[0].items() if isinstance(text, str)]
            if isinstance(inside[0], dict)
            else []
        )
        place = next(filter(str.isidentifier, texts), "text")
        raise TrafficError(
            f"input file {shown(source.name)}: column '{shown(column, 60)}' (prompt) holds JSON without chat "
            f"messages; traffic.columns can name a place in it, for instance "
            f'prompt = "{shown(f"{column}.{place}", 60)}", traffic.filter can leave rows out, and '
            'traffic.format = "table" judges the JSON as the text it is'
        )
    return "table"


def _check_constants(constants: Mapping[str, str | None], source: Source, config: TrafficConfig) -> None:
    """A folder name that is no timestamp spoils every row of its files: refuse it now."""
    value = constants.get("timestamp")
    if value is None:
        return
    clock = Clock(zone=zone_of(config), latest=2**62, in_future=("", ""), unit=config.timestamp_unit)
    try:
        clock.read(value)
    except BadValueError as error:
        raise TrafficError(
            f"input file {shown(source.name)}: folder value '{shown(value, 60)}': {error.detail}"
        ) from error
