"""Turn records (JSON values, rows of nested columns, the service's prompts) into rows and validate them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from coverage_lab.config import TrafficConfig
from coverage_lab.schema import QUARANTINE, REQUIRED_COLUMNS, TRAFFIC
from coverage_lab.traffic.batch import TrafficBatch
from coverage_lab.traffic.chat import Request, request_of
from coverage_lab.traffic.columns import COLUMNS, COUNTS, check_mapping
from coverage_lab.traffic.flat_lines import FlatLines, flat_lines
from coverage_lab.traffic.formats import FORMATS, Row
from coverage_lab.traffic.json_values import Unreadable
from coverage_lab.traffic.paths import lookup, row_filter
from coverage_lab.traffic.problems import (
    EMPTY_PROMPT,
    MAX_ID_BYTES,
    NOTHING,
    UNPARSABLE_ROW,
    BadValueError,
    missing,
    not_a_count,
    not_utf8,
    too_long,
    wrong_type,
)
from coverage_lab.traffic.tables import constant_value, validate_columns
from coverage_lab.traffic.timestamps import Clock
from coverage_lab.untrusted.text import whole_pairs

_MAX_COUNT: Final = 2**63 - 1
_MAX_DIGITS: Final = 76
_MAX_EXACT_FLOAT: Final = 2.0**53
_MONGO: Final = frozenset({"$date", "$oid", "$numberLong", "$numberInt", "$numberDouble", "$uuid"})
_NOTHING: Final = re.compile(NOTHING)
_DIGITS: Final = re.compile(r"\d{1,18}(\.0*)?")
_NO_USER_TURN: Final = ("empty_prompt", "messages without a turn of a user that has text")
_PLACES: Final = {name: at for at, name in enumerate(COLUMNS)}
_PROMPT: Final = _PLACES["prompt"]
_SESSION: Final = _PLACES["session"]
_SYSTEM: Final = _PLACES["system_prompt_hash"]


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
        that nobody asked for are ignored. A list of messages as `prompt` counts as its newest user turn.
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
    """Rows of one batch while they come in.

    Parameters
    ----------
    shape
        What a record is: `table`, `messages` (a table whose prompt holds messages) or a name of `FORMATS`.
    constants
        Our names -> values that rows without their own have.
    """

    def __init__(
        self,
        config: TrafficConfig,
        clock: Clock,
        *,
        source: int,
        source_name: str,
        constants: Mapping[str, str | None],
        shape: str = "table",
    ) -> None:
        self._config = config
        self._clock = clock
        self._source = source
        self._source_name = source_name
        self._format = FORMATS.get(shape)
        self._messages = shape == "messages"
        self._chosen = row_filter(config)
        self._table = shape == "table"
        self._constants = {ours: constant_value(ours, value) for ours, value in constants.items()}
        self._mapped = [(ours, lookup(theirs)) for ours, theirs in config.columns.items()]
        self._keys = [config.columns.get(ours, ours) for ours in COLUMNS]
        self._lookups = [lookup(key) for key in self._keys]
        self._flat = all(re.fullmatch(r"\w+", key) for key in self._keys) and not self._constants
        self._places: list[int] = []
        self._values: list[tuple[Any, ...]] = []
        self._turns: list[tuple[int | None, bool | None]] = []
        self._refused: list[tuple[object, ...]] = []
        self._left_out = 0

    def __len__(self) -> int:
        """Rows taken in so far."""
        return len(self._values) + len(self._refused) + self._left_out

    def flat_lines(self) -> FlatLines | None:
        """Reader of whole blocks of lines that gives the rows which `add` gives; None where there is none."""
        if not self._table or self._chosen is not None:
            return None
        return flat_lines(dict(zip(COLUMNS, self._keys, strict=True)), self._constants)

    def add(self, row: int, record: object) -> None:
        """Take in one record; what is wrong with it is told by `batch`."""
        if not isinstance(record, Mapping):
            if isinstance(record, Unreadable):
                self.refuse(row, record.reason, record.detail)
            else:
                self.refuse(row, *UNPARSABLE_ROW)
            return
        if self._chosen is not None and not self._chosen(record):
            self._left_out += 1
            return
        if self._format is not None:
            one = None
            for one in self._format.rows(record):
                self._add_formatted(row, record, one)
            if one is None:
                self._left_out += 1
            return
        if self._flat:
            get = record.get
            values = [get(key) for key in self._keys]
        else:
            values = [
                self._constants.get(ours)
                if (value := find(record)) is None and not _named(record, key)
                else value
                for ours, key, find in zip(COLUMNS, self._keys, self._lookups, strict=True)
            ]
        self._hold(row, values)

    def _add_formatted(self, row: int, record: Mapping[str, object], found: Row) -> None:
        for ours, find in self._mapped:
            # A conversation's turns are the format's to part; all else is as the config says.
            if (value := find(record)) is not None and not (
                ours == "prompt" and isinstance(found.get("prompt"), Request)
            ):
                found[ours] = value
        values = list(map(found.get, COLUMNS))
        for ours, constant in self._constants.items():
            if values[_PLACES[ours]] is None:
                values[_PLACES[ours]] = constant
        self._hold(row, values)

    def _hold(self, row: int, values: list[Any]) -> None:
        prompt = values[_PROMPT]
        turn: tuple[int | None, bool | None] = (None, None)
        if prompt is not None and (self._messages or type(prompt) is not str):
            request = prompt if type(prompt) is Request else None
            if request is None and isinstance(prompt, list | dict | str):
                request = request_of(prompt)
            if request is not None:
                if not request.prompt or request.prompt.isspace():
                    self.refuse(row, *_NO_USER_TURN, account=_account(values[0]))
                    return
                values[_PROMPT] = request.prompt
                marks = request.marks()
                turn = marks.turn, request.continued
                if values[_SESSION] in (None, ""):
                    values[_SESSION] = marks.session
                if values[_SYSTEM] in (None, ""):
                    values[_SYSTEM] = marks.system
            elif isinstance(prompt, list | dict) and not prompt:
                values[_PROMPT] = ""
        self._places.append(row)
        self._values.append(tuple(values))
        self._turns.append(turn)

    def refuse(self, row: int, reason: str, detail: str, *, account: object = None) -> None:
        """Quarantine a row."""
        self._refused.append((self._source_name, row, account, reason, detail))

    def batch(self) -> TrafficBatch:
        """Everything taken in since the last call."""
        checked = self._by_column() if self._values else None
        if checked is None:
            checked = self._by_row()
        quarantined = checked.quarantined
        if self._refused:
            quarantined = pa.concat_tables([quarantined, _table(self._refused, QUARANTINE)])
            quarantined = quarantined.sort_by("row").combine_chunks()
        result = TrafficBatch(
            good=checked.good,
            quarantined=quarantined,
            rows_in=checked.rows_in + len(self._refused) + self._left_out,
            left_out=self._left_out,
            dropped=checked.dropped,
            repaired=checked.repaired,
        )
        self._places, self._values, self._turns = [], [], []
        self._refused, self._left_out = [], 0
        return result

    def _by_column(self) -> TrafficBatch | None:
        """Check all rows at once; None where a column's values are of several types."""
        arrays: dict[str, pa.Array] = {}
        try:
            for name, column in zip(COLUMNS, zip(*self._values, strict=True), strict=True):
                if name in COUNTS or name == "timestamp":
                    arrays[name] = pa.array(column)
                else:
                    arrays[name] = pa.array(column, pa.large_string())
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError, ValueError):
            return None
        if pa.types.is_nested(arrays["timestamp"].type):
            return None
        if pa.types.is_timestamp(arrays["timestamp"].type) and arrays["timestamp"].type.tz not in (
            None,
            "UTC",
        ):
            return None
        turns, continued = zip(*self._turns, strict=True)
        arrays["turn"] = pa.array(turns, pa.int64())
        arrays["continued"] = pa.array(continued, pa.bool_())
        return validate_columns(
            arrays,
            {},
            self._config,
            self._clock,
            rows=len(self._values),
            source=self._source,
            source_name=self._source_name,
            first_row=np.array(self._places, np.int64),
        )

    def _by_row(self) -> TrafficBatch:
        """Check value by value; the first problem, in the order of `COLUMNS`, is a row's reason."""
        good: list[tuple[object, ...]] = []
        quarantined: list[tuple[object, ...]] = []
        dropped: dict[str, int] = {}
        repaired = 0
        for row, raw, turn in zip(self._places, self._values, self._turns, strict=True):
            values: list[object] = []
            nulled: list[str] = []
            try:
                for ours, value in zip(COLUMNS, raw, strict=True):
                    try:
                        values.append(self._read(ours, value))
                    except BadValueError:
                        if ours in REQUIRED_COLUMNS:
                            raise
                        values.append(None)
                        nulled.append(ours)
            except BadValueError as error:
                account = values[0] if values else None
                quarantined.append((self._source_name, row, account, error.reason, error.detail))
                continue
            for ours in nulled:
                dropped[ours] = dropped.get(ours, 0) + 1
            repaired += values[_PROMPT] != raw[_PROMPT] and isinstance(raw[_PROMPT], str)
            good.append((*values, *turn, self._source, row))
        return TrafficBatch(
            good=_table(good, TRAFFIC),
            quarantined=_table(quarantined, QUARANTINE),
            rows_in=len(self._values),
            dropped=dropped,
            repaired=repaired,
        )

    def _read(self, column: str, value: object) -> object:
        if type(value) is dict:
            value = _of_mongo(value)
        if column == "timestamp":
            is_text = isinstance(value, str | bytes | bytearray)
            return self._clock.read(_text(column, value, MAX_ID_BYTES) if is_text else value)
        if column in COUNTS:
            return _count(column, value)
        if column == "prompt":
            prompt = _text(column, value, self._config.max_prompt_bytes)
            if prompt is not None and (not prompt or prompt.isspace() or _is_nothing(prompt)):
                raise BadValueError(*EMPTY_PROMPT)
            value = prompt
        else:
            value = _text(column, value, MAX_ID_BYTES)
            value = None if value is not None and not value.strip() else value
        if column in REQUIRED_COLUMNS and value is None:
            raise BadValueError(*missing(column))
        return value


def _of_mongo(value: dict[str, object]) -> object:
    """Value of MongoDB's extended JSON, `{"$date": …}` or `{"$oid": …}`; any other object as it is."""
    inner: object = value
    while isinstance(inner, dict) and len(inner) == 1 and next(iter(inner)) in _MONGO:
        (inner,) = inner.values()
    return inner


def _is_nothing(prompt: str) -> bool:
    return len(prompt) <= 32 and _NOTHING.match(prompt) is not None


def _named(record: Mapping[str, object], key: str) -> bool:
    """Whether a record has a value at this very name, be it null."""
    return key in record


def _account(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() and value.isprintable() else None


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
            value = value.decode("utf-8", "surrogatepass" if column == "prompt" else "strict")
        except UnicodeDecodeError as error:
            raise BadValueError(*not_utf8(column)) from error
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal) and column != "prompt":
        if not value.is_finite() or value.adjusted() > _MAX_DIGITS or value != value.to_integral_value():
            raise BadValueError(*wrong_type(column, "text", "a fraction"))
        return str(int(value))
    if (
        isinstance(value, float)
        and column != "prompt"
        and value.is_integer()
        and abs(value) <= _MAX_EXACT_FLOAT
    ):
        return str(int(value))
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
        if column == "prompt":
            return whole_pairs(value)
        raise BadValueError(*not_utf8(column)) from error
    return str(value)


def _count(column: str, value: object) -> int | None:
    if isinstance(value, str):
        if not value.strip():
            return None
        value = int(value.split(".")[0]) if _DIGITS.fullmatch(value) else value
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValueError(*wrong_type(column, "a whole number", type(value).__name__))
    if isinstance(value, float) or not 0 <= value <= _MAX_COUNT:
        raise BadValueError(*not_a_count(column))
    return value
