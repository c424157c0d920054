"""Validate a record batch at once: Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.config import TrafficConfig
from coverage_lab.schema import QUARANTINE, REQUIRED_COLUMNS, TRAFFIC, UTC_MICROSECONDS
from coverage_lab.traffic.batch import TrafficBatch
from coverage_lab.traffic.columns import COLUMNS, COUNTS, is_text, is_uuid, unchecked
from coverage_lab.traffic.problems import (
    EMPTY_PROMPT,
    MAX_ID_BYTES,
    NOTHING,
    Failures,
    missing,
    not_utf8,
    too_long,
    wrong_type,
)
from coverage_lab.traffic.timestamps import (
    EXPECTED,
    Clock,
    instants,
    is_instant_type,
    number_instants,
    text_instants,
)
from coverage_lab.untrusted.text import whole_pairs

#: Something other than `str.isspace()`; spelt out because RE2's \s knows ASCII only.
NOT_SPACE: Final = (
    r"[^\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)
_MAX_EXACT_FLOAT: Final = 2.0**53
#: A count as CSV has it; 18 digits fit into 64 bits.
_DIGITS: Final = r"^\d{1,18}(\.0*)?$"
_LONGEST_NOTHING: Final = 32
#: First bytes of texts that can be blank, or can be `NOTHING`: most texts need no closer look.
_MAY_BE_SPACE: Final = np.array([byte <= 0x20 or byte >= 0x7F for byte in range(256)])
_MAY_BE_NOTHING: Final = np.array([byte <= 0x20 or chr(byte) in '{["nN<uU' for byte in range(256)])


def validate_columns(
    arrays: Mapping[str, pa.Array],
    constants: Mapping[str, str | None],
    config: TrafficConfig,
    clock: Clock,
    *,
    rows: int,
    source: int,
    source_name: str,
    first_row: int | NDArray[np.int64],
    left_out: int = 0,
) -> TrafficBatch:
    """Validate the rows of one batch; the same rules and reasons as `RecordCollector`.

    Parameters
    ----------
    arrays
        Our names -> arrays of `rows` values, as `plain` gives them; an absent optional column is null.
    constants
        Our names -> values that all rows have.
    first_row
        Place of the first row, or the places of all.
    left_out
        Rows beside these that are no prompts.
    """
    failures = Failures(rows)
    columns: list[pa.Array] = []
    for name in COLUMNS:
        array = arrays.get(name)
        if array is None:
            array = pa.repeat(pa.scalar(constant_value(name, constants.get(name))), rows)
        if array.null_count == rows and name not in REQUIRED_COLUMNS:
            columns.append(pa.nulls(rows, TRAFFIC.field(name).type))
        elif name == "timestamp":
            columns.append(_timestamps(array, clock, failures))
        elif name in COUNTS:
            columns.append(_counts(array, name, failures))
        else:
            limit = config.max_prompt_bytes if name == "prompt" else MAX_ID_BYTES
            columns.append(_required_text(_texts(array, name, limit, failures), name, failures))
    places = np.arange(first_row, first_row + rows) if isinstance(first_row, int) else first_row
    numbers = pa.array(places.astype(np.int64))
    turn, continued = arrays.get("turn"), arrays.get("continued")
    columns += [
        pa.nulls(rows, pa.int64()) if turn is None else turn,
        pa.nulls(rows, pa.bool_()) if continued is None else continued,
        pa.array(np.full(rows, source, np.int32)),
        numbers,
    ]
    bad = failures.bad
    good = pa.Table.from_arrays(columns, schema=TRAFFIC)
    counted = {"rows_in": rows + left_out, "left_out": left_out, "repaired": failures.repaired}
    if not bad.any():
        empty = QUARANTINE.empty_table()
        return TrafficBatch(good=good, quarantined=empty, dropped=failures.dropped, **counted)
    reasons, details = failures.reasons_and_details()
    names = pa.array([source_name], pa.large_string()).take(pa.array(np.zeros(int(bad.sum()), np.int8)))
    accounts = pc.if_else(pc.equal(columns[0], ""), pa.scalar(None, pa.large_string()), columns[0])
    mask = pa.array(bad)
    quarantined = pa.Table.from_arrays(
        [names, numbers.filter(mask), accounts.filter(mask), reasons, details], schema=QUARANTINE
    )
    kept = good.filter(pa.array(~bad))
    return TrafficBatch(good=kept, quarantined=quarantined, dropped=failures.dropped, **counted)


def constant_value(column: str, value: object) -> object:
    """Value of a hive partition as its column has it: digits are a number where counts go."""
    if (
        column in COUNTS
        and isinstance(value, str)
        and value.isascii()
        and value.isdecimal()
        and len(value) < 20
    ):
        return int(value)
    return value


def plain(array: pa.Array) -> pa.Array:
    """Array without dictionary or extension, text as unchecked bytes, UUIDs as text, its structure checked.

    A hostile file can hold offsets that point outside its buffers; pyarrow does not look on reading.

    Raises
    ------
    pa.ArrowInvalid, pa.ArrowIndexError
        The structure is damaged.
    """
    if is_uuid(array.type):
        return _uuid_texts(array)
    if isinstance(array.type, pa.BaseExtensionType) and is_text(array.type.storage_type):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        values = plain(array.dictionary)
        return pa.DictionaryArray.from_arrays(array.indices, values)
    if is_text(array.type):
        array = array.view(unchecked(array.type))
        array.validate(full=True)
    return array


def _uuid_texts(array: pa.Array) -> pa.Array:
    """UUIDs in their usual spelling, as bytes."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    array.validate(full=True)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    _, data = array.buffers()
    rows = np.zeros((len(array), 16), np.uint8)
    if data is not None and len(array):
        rows = np.frombuffer(data, np.uint8)[array.offset * 16 :][: len(array) * 16].reshape(-1, 16)
    texts = np.full((len(array), 36), ord("-"), np.uint8)
    places = np.array([at for at in range(36) if at not in (8, 13, 18, 23)])
    texts[:, places] = np.stack([digits[rows >> 4], digits[rows & 15]], axis=2).reshape(len(array), 32)
    ends = np.arange(len(array) + 1, dtype=np.int64) * 36
    found = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(array), [None, pa.py_buffer(ends), pa.py_buffer(texts)]
    )
    return _without(found, ~_mask(array.is_valid()))


def byte_lengths(array: pa.Array) -> NDArray[np.int64]:
    """Bytes of each text of a `plain` array (0 for null and for what is not text)."""
    if pa.types.is_dictionary(array.type):
        inner = pa.array(byte_lengths(array.dictionary))
        return _int64(inner.take(array.indices))
    if not is_text(array.type):
        return np.zeros(len(array), np.int64)
    return _int64(pc.binary_length(array.cast(pa.large_binary())))


def _int64(array: pa.Array) -> NDArray[np.int64]:
    values: NDArray[np.int64] = array.cast(pa.int64()).fill_null(0).to_numpy()
    return values


def _mask(array: pa.Array) -> NDArray[np.bool_]:
    if array.null_count:
        array = array.fill_null(False)
    values: NDArray[np.bool_] = array.to_numpy(zero_copy_only=False)
    return values


def _decoded(array: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(array.type):
        return array
    values = array.dictionary
    if is_text(values.type):
        values = values.cast(pa.large_binary())
    return values.take(array.indices)


def _without(array: pa.Array, mask: NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(mask), pa.scalar(None, array.type), array) if mask.any() else array


def _spoil(mask: NDArray[np.bool_], column: str, problem: tuple[str, str], failures: Failures) -> None:
    """A bad value costs its row where a score needs the column; elsewhere it is only null, and counted."""
    if column in REQUIRED_COLUMNS:
        failures.mark(mask, *problem)
    else:
        failures.drop(mask, column)


def _texts(array: pa.Array, column: str, limit: int, failures: Failures) -> pa.Array:
    """Large strings; null where the value is null or bad."""
    array = _decoded(array)
    if pa.types.is_null(array.type):
        return array.cast(pa.large_string())
    if column != "prompt" and pa.types.is_integer(array.type):
        return array.cast(pa.large_string())
    if column not in ("prompt", "timestamp") and pa.types.is_decimal(array.type):
        return _whole_decimals(array, column, failures)
    if column not in ("prompt", "timestamp") and pa.types.is_floating(array.type):
        array = array.cast(pa.float64())
        whole = pc.and_(pc.equal(array, pc.floor(array)), pc.less_equal(pc.abs(array), _MAX_EXACT_FLOAT))
        wrong = _mask(array.is_valid()) & ~_mask(whole)
        _spoil(wrong, column, wrong_type(column, "text", "double"), failures)
        return _without(array, wrong).cast(pa.int64()).cast(pa.large_string())
    if not is_text(array.type):
        _spoil(_mask(array.is_valid()), column, wrong_type(column, "text", str(array.type)), failures)
        return pa.nulls(len(array), pa.large_string())
    raw = array.cast(pa.large_binary())
    long = _mask(pc.greater(pc.binary_length(raw), limit))
    _spoil(long, column, too_long(column, limit), failures)
    raw = _without(raw, long)
    try:
        return raw.cast(pa.large_string())
    except pa.ArrowInvalid:
        values = raw.to_pylist()
        if column == "prompt":
            values = [_mended(value, failures) for value in values]
        invalid = np.fromiter((not _is_utf8(value) for value in values), np.bool_, len(raw))
        _spoil(invalid, column, not_utf8(column), failures)
        return _without(pa.array(values, pa.large_binary()), invalid).cast(pa.large_string())


def _whole_decimals(array: pa.Array, column: str, failures: Failures) -> pa.Array:
    """Digits of decimals that are whole numbers, all of them."""
    values = array.to_pylist()
    whole = [value is None or value == value.to_integral_value() for value in values]
    wrong = ~np.array(whole, np.bool_)
    _spoil(wrong, column, wrong_type(column, "text", "a fraction"), failures)
    texts = [
        str(int(value)) if fits and value is not None else None
        for value, fits in zip(values, whole, strict=True)
    ]
    return pa.array(texts, pa.large_string())


def _mended(value: bytes | None, failures: Failures) -> bytes | None:
    """UTF-8 in which half surrogate pairs were written as bytes becomes text with U+FFFD in their place."""
    if value is None or _is_utf8(value):
        return value
    try:
        text = value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return value
    failures.repaired += 1
    return whole_pairs(text).encode()


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False


def _required_text(array: pa.Array, column: str, failures: Failures) -> pa.Array:
    """Mark the missing values of a required column (a bad one has its reason); blank ids are nulls."""
    first = _first_bytes(array)
    blank = _matches(array, np.flatnonzero(_MAY_BE_SPACE[first]), NOT_SPACE, inverted=True)
    if column == "prompt":
        failures.mark(_mask(array.is_null()), *missing(column))
        failures.mark(blank, *EMPTY_PROMPT)
        short = _mask(pc.less_equal(pc.binary_length(array), _LONGEST_NOTHING))
        failures.mark(_matches(array, np.flatnonzero(_MAY_BE_NOTHING[first] & short), NOTHING), *EMPTY_PROMPT)
        return array
    if column == "account_id":
        failures.mark(_mask(array.is_null()) | blank, *missing(column))
    return _without(array, blank)


def _first_bytes(array: pa.Array) -> NDArray[np.uint8]:
    """First byte of each large string; 0 for an empty one, anything for null."""
    first = np.zeros(len(array), np.uint8)
    if len(array) == array.null_count:
        return first
    _, offsets, data = array.buffers()
    starts = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    filled = np.flatnonzero(starts[1:] > starts[:-1])
    if filled.size:
        first[filled] = np.frombuffer(data, np.uint8)[starts[filled]]
    return first


def _matches(
    array: pa.Array, rows: NDArray[np.int64], pattern: str, *, inverted: bool = False
) -> NDArray[np.bool_]:
    """Whether texts match, looking at these rows only; null does not."""
    found = np.zeros(len(array), np.bool_)
    if rows.size and array.null_count < len(array):
        matched = pc.match_substring_regex(array.take(pa.array(rows)), pattern)
        found[rows] = _mask(pc.invert(matched) if inverted else matched)
    return found


def _timestamps(array: pa.Array, clock: Clock, failures: Failures) -> pa.Array:
    array = _decoded(array)
    if is_instant_type(array.type):
        return instants(array, clock, failures)
    if is_text(array.type) or pa.types.is_null(array.type):
        return text_instants(_texts(array, "timestamp", MAX_ID_BYTES, failures), clock, failures)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        return number_instants(array, clock, failures)
    failures.mark(_mask(array.is_null()), *missing("timestamp"))
    failures.mark(_mask(array.is_valid()), *wrong_type("timestamp", EXPECTED, str(array.type)))
    return pa.nulls(len(array), UTC_MICROSECONDS)


def _counts(array: pa.Array, column: str, failures: Failures) -> pa.Array:
    """Whole numbers from 0; floats that are whole (what a null makes of integers elsewhere) count too."""
    array = _decoded(array)
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.int64())
    if pa.types.is_floating(kind):
        array = array.cast(pa.float64())
        whole = pc.and_(pc.equal(array, pc.floor(array)), pc.less_equal(pc.abs(array), _MAX_EXACT_FLOAT))
    elif pa.types.is_integer(kind):
        whole = pc.less_equal(array, pa.scalar(2**63 - 1, kind)) if kind == pa.uint64() else array.is_valid()
    elif is_text(kind):
        array = _texts(array, column, MAX_ID_BYTES, failures)
        array = _without(array, _mask(pc.equal(array, "")))
        digits = _mask(pc.match_substring_regex(array, _DIGITS))
        failures.drop(_mask(array.is_valid()) & ~digits, column)
        return pc.replace_substring_regex(_without(array, ~digits), r"\.0*$", "").cast(pa.int64())
    else:
        failures.drop(_mask(array.is_valid()), column)
        return pa.nulls(len(array), pa.int64())
    if not pa.types.is_unsigned_integer(kind):
        whole = pc.and_(whole, pc.greater_equal(array, 0))
    wrong = _mask(array.is_valid()) & ~_mask(whole)
    failures.drop(wrong, column)
    return _without(array, wrong).cast(pa.int64())
