"""Validate prompts one by one: JSON lines and the bodies of the HTTP service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import pyarrow as pa

from coverage_lab.config import TrafficConfig
from coverage_lab.schema import QUARANTINE, REQUIRED_COLUMNS, TRAFFIC
from coverage_lab.traffic.batch import TrafficBatch
from coverage_lab.traffic.columns import COLUMNS, COUNTS, check_mapping
from coverage_lab.traffic.problems import (
    EMPTY_PROMPT,
    MAX_ID_BYTES,
    UNPARSABLE_ROW,
    BadValueError,
    missing,
    not_a_count,
    not_utf8,
    too_long,
    wrong_type,
)
from coverage_lab.traffic.timestamps import Clock

_MAX_COUNT: Final = 2**63 - 1
_MAX_EXACT_FLOAT: Final = 2.0**53


def validate_records(
    records: Iterable[Mapping[str, object]],
    config: TrafficConfig,
    *,
    as_of: datetime,
    source: int = 0,
    source_name: str = "request",
    first_row: int = 0,
) -> TrafficBatch:
    """Validate prompts that come as mappings.

    Parameters
    ----------
    records
        One mapping a prompt, with the names that `config.columns` gives (ours where it gives none). Names
        that nobody asked for are ignored.
    as_of
        'Now', with a zone, for the check against the future.
    source, source_name, first_row
        What `source` and `row` say in the tables.

    Returns
    -------
    TrafficBatch
        Zero rows for no records. A record that is no mapping is quarantined as `unparsable_row`.

    Raises
    ------
    ConfigError
        An unknown name in `config.columns`, an unknown zone.
    TrafficError
        `as_of` has no zone.
    """
    check_mapping(config)
    collector = RecordCollector(
        config, Clock.of(config, as_of), source=source, source_name=source_name, constants={}
    )
    for row, record in enumerate(records, first_row):
        collector.add(row, record)
    return collector.batch()


class RecordCollector:
    """Rows of one batch while they come in."""

    def __init__(
        self,
        config: TrafficConfig,
        clock: Clock,
        *,
        source: int,
        source_name: str,
        constants: Mapping[str, str | None],
    ) -> None:
        self._config = config
        self._clock = clock
        self._source = source
        self._source_name = source_name
        self._wanted = tuple(
            (ours, config.columns.get(ours, ours), constant_value(ours, constants.get(ours)))
            for ours in COLUMNS
        )
        self._good: list[tuple[object, ...]] = []
        self._quarantined: list[tuple[object, ...]] = []

    def __len__(self) -> int:
        """Rows taken in so far."""
        return len(self._good) + len(self._quarantined)

    def add(self, row: int, record: object) -> None:
        """Validate one record; the first problem, in the order of `COLUMNS`, is its reason."""
        if not isinstance(record, Mapping):
            self.refuse(row, *UNPARSABLE_ROW)
            return
        values: list[object] = []
        for ours, theirs, constant in self._wanted:
            try:
                values.append(self._read(ours, record.get(theirs, constant)))
            except BadValueError as error:
                account = values[0] if values else None
                self.refuse(row, error.reason, error.detail, account=account)
                return
        self._good.append((*values, self._source, row))

    def refuse(self, row: int, reason: str, detail: str, *, account: object = None) -> None:
        """Quarantine a row."""
        self._quarantined.append((self._source_name, row, account, reason, detail))

    def batch(self) -> TrafficBatch:
        """Everything taken in since the last call."""
        result = TrafficBatch(
            good=_table(self._good, TRAFFIC),
            quarantined=_table(self._quarantined, QUARANTINE),
            rows_in=len(self),
        )
        self._good, self._quarantined = [], []
        return result

    def _read(self, column: str, value: object) -> object:
        if column == "timestamp":
            is_text = isinstance(value, str | bytes | bytearray)
            return self._clock.read(_text(column, value, MAX_ID_BYTES) if is_text else value)
        if column in COUNTS:
            return _count(column, value)
        if column == "prompt":
            prompt = _text(column, value, self._config.max_prompt_bytes)
            if prompt is not None and (not prompt or prompt.isspace()):
                raise BadValueError(*EMPTY_PROMPT)
            value = prompt
        else:
            value = _text(column, value, MAX_ID_BYTES)
        if column in REQUIRED_COLUMNS and (value is None or value == ""):
            raise BadValueError(*missing(column))
        return value


def constant_value(column: str, value: str | None) -> str | int | None:
    """Value of a hive partition as its column has it: digits are a number where counts go."""
    if column in COUNTS and value is not None and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    return value


def _table(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns: list[Iterable[object]] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _text(column: str, value: object, max_bytes: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes | bytearray):
        if len(value) > max_bytes:
            raise BadValueError(*too_long(column, max_bytes))
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadValueError(*not_utf8(column)) from error
    if isinstance(value, int) and not isinstance(value, bool) and column != "prompt":
        if value.bit_length() > 64:
            raise BadValueError(*wrong_type(column, "text or a 64-bit number", "a longer number"))
        return str(value)
    if not isinstance(value, str):
        raise BadValueError(*wrong_type(column, "text", type(value).__name__))
    if 4 * len(value) <= max_bytes and value.isascii():
        return str(value)
    if len(value) > max_bytes or len(value.encode("utf-8", "surrogatepass")) > max_bytes:
        raise BadValueError(*too_long(column, max_bytes))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # half a surrogate pair: JSON can spell it, UTF-8 can't
        raise BadValueError(*not_utf8(column)) from error
    return str(value)


def _count(column: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValueError(*wrong_type(column, "a whole number", type(value).__name__))
    if isinstance(value, float) or not 0 <= value <= _MAX_COUNT:
        raise BadValueError(*not_a_count(column))
    return value
