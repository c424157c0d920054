"""Which column of a file is which of ours, and which types can be read as it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.schema import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from coverage_lab.traffic.paths import head, is_path, row_filter
from coverage_lab.traffic.sources import Source, partition_value
from coverage_lab.traffic.timestamps import has_zone, is_instant_type
from coverage_lab.untrusted.text import shown

COLUMNS: Final = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
COUNTS: Final = ("tokens_in", "tokens_out")
_SHOWN_COLUMNS: Final = 20


@dataclass(frozen=True)
class ColumnMapping:
    """Where each of our columns comes from; those in neither mapping are null.

    `fields` maps our name to the file's column, or to the one that its path starts in; `constants` to the
    value that all rows have. A file's own column goes before a constant of the same name. `nested` says that
    a path leads into a column, so that rows have to be looked at one by one.
    """

    fields: Mapping[str, str]
    constants: Mapping[str, str | None]
    nested: bool = False


def check_mapping(config: TrafficConfig) -> None:
    """Refuse names in `traffic.columns`, `constants` and `path` that are not ours, and a filter that is none.

    Raises
    ------
    ConfigError
        One is not.
    """
    row_filter(config)
    groups = path_pattern(config).groupindex if config.path is not None else {}
    for where, names in (("columns", config.columns), ("constants", config.constants), ("path", groups)):
        for ours in names:
            if ours not in COLUMNS:
                raise ConfigError(
                    f"traffic.{where}: unknown column '{shown(ours, 60)}' (ours are {', '.join(COLUMNS)})"
                )


def path_pattern(config: TrafficConfig) -> re.Pattern[str]:
    """Compile `traffic.path`.

    Raises
    ------
    ConfigError
        It is no regular expression, or names no group.
    """
    try:
        pattern = re.compile(config.path or "")
    except re.error as error:
        raise ConfigError(f"traffic.path: expected a regular expression, got one with {error}") from error
    if not pattern.groupindex:
        raise ConfigError("traffic.path: expected a named group such as (?P<account_id>[^/]+), got none")
    return pattern


def partition_constants(source: Source, config: TrafficConfig) -> dict[str, str | None]:
    """Our columns that hive folders, the file's path and the config give, in this order of precedence."""
    constants: dict[str, str | None] = dict(config.constants)
    if config.path is not None:
        found = path_pattern(config).search(source.path.as_posix())
        constants |= {name: value for name, value in (found.groupdict() if found else {}).items() if value}
    keys = dict(source.partitions)
    names = {ours: config.columns.get(ours, ours) for ours in COLUMNS}
    return constants | {
        ours: partition_value(keys[theirs]) for ours, theirs in names.items() if theirs in keys
    }


def resolve(names: Sequence[str], source: Source, config: TrafficConfig) -> ColumnMapping:
    """Find our columns among a file's.

    Parameters
    ----------
    names
        The file's column names, in order.

    Raises
    ------
    TrafficError
        A required column, or an optional one that `traffic.columns` names, is not there, or a column that
        is needed is there more than once.
    """
    constants = partition_constants(source, config)
    seen = Counter(names)
    fields: dict[str, str] = {}
    nested = bool(config.filter)
    for ours in COLUMNS:
        theirs = config.columns.get(ours, ours)
        if seen[theirs] > 1:
            raise TrafficError(
                f"input file {shown(source.name)}: column '{shown(theirs, 60)}' is there {seen[theirs]} times"
            )
        if seen[theirs]:
            fields[ours] = theirs
            constants.pop(ours, None)
        elif ours in config.columns and is_path(theirs) and seen[head(theirs)] == 1:
            fields[ours] = head(theirs)
            nested = True
            constants.pop(ours, None)
        elif ours not in constants and (ours in REQUIRED_COLUMNS or ours in config.columns):
            raise missing_column(ours, list(names), source, config)
    return ColumnMapping(fields=fields, constants=constants, nested=nested)


def missing_column(ours: str, names: Sequence[str], source: Source, config: TrafficConfig) -> TrafficError:
    """Say which column is missing, which there are, and how to map one."""
    there = ", ".join(shown(name, 40) for name in names[:_SHOWN_COLUMNS]) or "none"
    more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    hint = (
        f"traffic.columns maps {ours} to '{shown(config.columns[ours], 60)}'"
        if ours in config.columns
        else f'map it in traffic.columns, for instance {ours} = "their_name" or "a.path.to.it", or give '
        "traffic.constants or traffic.format"
    )
    return TrafficError(
        f"input file {shown(source.name)}: no column for {ours} ({hint}; columns there: {there}{more})"
    )


def check_types(schema: pa.Schema, layout: ColumnMapping, source: Source, config: TrafficConfig) -> None:
    """Refuse a file whose required columns can't be read as what they should be.

    account_id: text (any string or binary type, dictionaries of them) or a number; prompt: text; timestamp:
    timestamp, date, text or a number. What a path leads to is seen only in the rows.

    Raises
    ------
    TrafficError
        One has another type, or is zone-less while `traffic.timezone` is not set.
    """
    for ours in REQUIRED_COLUMNS:
        if ours not in layout.fields or layout.fields[ours] != config.columns.get(ours, ours):
            continue
        theirs = layout.fields[ours]
        kind = value_type(schema.field(theirs).type)
        where = f"input file {shown(source.name)}: column '{shown(theirs, 60)}' ({ours})"
        if ours == "prompt" and is_uuid(schema.field(theirs).type):
            kind = schema.field(theirs).type
        elif pa.types.is_null(kind) or is_text(kind):
            continue
        if ours != "prompt" and (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        ):
            continue
        if ours == "prompt" and source.shape == "messages":
            continue
        if ours == "timestamp" and is_instant_type(kind):
            if not has_zone(kind) and config.timezone is None:
                raise TrafficError(
                    f'{where}: {kind} has no time zone; set traffic.timezone, for instance to "UTC"'
                )
            continue
        expected = {
            "account_id": "text or whole numbers",
            "timestamp": "a timestamp, a date, text or a number",
            "prompt": "text",
        }
        raise TrafficError(f"{where}: expected {expected[ours]}, got {shown(kind, 80)}")


def value_type(kind: pa.DataType) -> pa.DataType:
    """Type of the values behind dictionaries and extension types (such as arrow.json); UUIDs become text."""
    if pa.types.is_dictionary(kind):
        return value_type(kind.value_type)
    if is_uuid(kind):
        return pa.binary()
    if isinstance(kind, pa.BaseExtensionType) and is_text(kind.storage_type):
        return kind.storage_type
    return kind


def is_uuid(kind: pa.DataType) -> bool:
    """Whether a type holds UUIDs, marked as such or as the 16 bytes that they are."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return bool(pa.types.is_fixed_size_binary(kind)) and kind.byte_width == 16


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text, checked or not (fixed-size binary holds hashes, not text)."""
    return kind in _BINARY_OF or kind in _BINARY_OF.values()


def unchecked(kind: pa.DataType) -> pa.DataType:
    """Binary type of the same layout as a text type."""
    return _BINARY_OF.get(kind, kind)


_BINARY_OF: Final[dict[pa.DataType, pa.DataType]] = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
