"""Which values are good and why the others are quarantined, record by record and in columns.

The expected instants and reasons are worked out by hand from the documented rules; every case runs through
both implementations, the one for records and the one for Arrow columns.
"""

from __future__ import annotations

import math
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.schema import QUARANTINE, QUARANTINE_REASONS, TRAFFIC
from coverage_lab.traffic import TrafficBatch, find_sources, read_traffic, validate_records
from coverage_lab.traffic.tables import NOT_SPACE

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONFIG = TrafficConfig()
BERLIN = TrafficConfig(timezone="Europe/Berlin")
ROW: Mapping[str, object] = {"account_id": "a", "timestamp": NOON, "prompt": "why is the sky blue?"}


def by_record(column: str, value: object, config: TrafficConfig = CONFIG) -> TrafficBatch:
    return validate_records([{**ROW, column: value}], config, as_of=AS_OF)


def by_column(array: pa.Array, column: str, config: TrafficConfig = CONFIG) -> TrafficBatch:
    """Read an array as this column of an Arrow file whose other columns are good."""
    columns = {name: pa.array([value] * len(array)) for name, value in ROW.items()}
    table = pa.table({**columns, column: array})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.arrow")
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        batches = list(read_traffic(find_sources(path), config, as_of=AS_OF))
    assert len(batches) == 1
    return batches[0]


def outcomes(batch: TrafficBatch, column: str) -> list[object]:
    """Value of each good row, reason of each bad one, in the order of the input."""
    rows = {row["row"]: row[column] for row in batch.good.to_pylist()}
    rows |= {row["row"]: row["reason"] for row in batch.quarantined.to_pylist()}
    assert sorted(rows) == list(range(batch.rows_in))
    return [rows[at] for at in sorted(rows)]


def test_good_record_without_optional_columns() -> None:
    batch = validate_records([ROW], CONFIG, as_of=AS_OF, source=3, first_row=17)
    assert batch.good.schema.equals(TRAFFIC)
    assert batch.quarantined.schema.equals(QUARANTINE)
    expected = dict.fromkeys(TRAFFIC.names) | dict(ROW) | {"source": 3, "row": 17}
    assert batch.good.to_pylist() == [expected]


def test_no_records() -> None:
    batch = validate_records([], CONFIG, as_of=AS_OF)
    assert (batch.rows_in, batch.good.num_rows, batch.quarantined.num_rows) == (0, 0, 0)


def test_quarantine_row_says_where_and_who() -> None:
    batch = validate_records([{**ROW, "prompt": None}], CONFIG, as_of=AS_OF, source_name="x/y", first_row=5)
    assert batch.quarantined.to_pylist() == [
        {
            "source": "x/y",
            "row": 5,
            "account_id": "a",
            "reason": "missing_prompt",
            "detail": "prompt is null",
        }
    ]


@pytest.mark.parametrize("record", [None, "text", 7, ["a"], True])
def test_record_that_is_no_mapping(record: object) -> None:
    batch = validate_records([record], CONFIG, as_of=AS_OF)  # type: ignore[list-item]
    assert outcomes(batch, "prompt") == ["unparsable_row"]


def test_mapped_names() -> None:
    config = TrafficConfig(columns={"prompt": "text", "account_id": "user"})
    record = {"text": "hello", "user": 5, "timestamp": NOON, "prompt": "not this one", "session": "s"}
    good = validate_records([record], config, as_of=AS_OF).good.to_pylist()[0]
    assert (good["prompt"], good["account_id"], good["session"]) == ("hello", "5", "s")
    with pytest.raises(ConfigError, match="unknown column"):
        validate_records([], TrafficConfig(columns={"who": "user"}), as_of=AS_OF)


def test_as_of_needs_a_zone() -> None:
    with pytest.raises(TrafficError, match="as_of"):
        validate_records([], CONFIG, as_of=datetime(2026, 1, 1))


TEXTS: list[tuple[str, object, object]] = [
    # column, value, kept value or reason
    ("account_id", "a", "a"),
    ("account_id", "", "missing_account"),
    ("account_id", None, "missing_account"),
    ("account_id", " ", "missing_account"),
    ("account_id", "nul\0 and \x1b[31m control", "nul\0 and \x1b[31m control"),
    ("account_id", "ü" * 500, "ü" * 500),
    ("account_id", "ü" * 500 + "x", "wrong_type"),
    ("account_id", b"\xff", "invalid_utf8"),
    ("account_id", b"bytes", "bytes"),
    ("account_id", 42, "42"),
    ("account_id", -(2**63), "-9223372036854775808"),
    ("account_id", 2**64 - 1, "18446744073709551615"),
    ("account_id", 1.0, "1"),
    ("account_id", 1.5, "wrong_type"),
    ("account_id", 1e300, "wrong_type"),
    ("account_id", True, "wrong_type"),
    ("account_id", ["a"], "wrong_type"),
    ("prompt", "Ⅷ 日本語 🙂", "Ⅷ 日本語 🙂"),
    ("prompt", None, "missing_prompt"),
    ("prompt", "", "empty_prompt"),
    ("prompt", " \t\r\n\u00a0\u2003\u3000", "empty_prompt"),
    ("prompt", "\u200b", "\u200b"),
    ("prompt", "\0", "\0"),
    ("prompt", 7, "wrong_type"),
    ("prompt", 7.5, "wrong_type"),
    ("prompt", {"text": "a"}, "wrong_type"),
    ("prompt", ["a", "b"], "wrong_type"),
    ("prompt", b"caf\xc3\xa9", "café"),
    ("prompt", b"caf\xe9", "invalid_utf8"),
    ("prompt", b"\xed\xa0\x80", "\ufffd"),
    ("prompt", "{}", "empty_prompt"),
    ("prompt", " [ ]\n", "empty_prompt"),
    ("prompt", "None", "empty_prompt"),
    ("prompt", "null pointer?", "null pointer?"),
    ("prompt", "x" * 500_000, "x" * 500_000),
    ("prompt", "x" * 500_001, "prompt_too_long"),
    ("prompt", "é" * 250_001, "prompt_too_long"),
    ("prompt", "x" * 2**20, "prompt_too_long"),
    ("prompt", b"\xff" * 500_001, "prompt_too_long"),
    ("session", None, None),
    ("session", "", None),
    ("session", " \t", None),
    ("session", 12, "12"),
    ("session", 7.0, "7"),
    ("session", 1.5, None),
    ("session", b"\xff", None),
    ("session", "s" * 1_001, None),
    ("request_id", {"id": 1}, None),
    ("tokens_in", None, None),
    ("tokens_in", 0, 0),
    ("tokens_in", 2**63 - 1, 2**63 - 1),
    ("tokens_in", 2**63, None),
    ("tokens_in", -1, None),
    ("tokens_in", 12.0, 12),
    ("tokens_in", 12.5, None),
    ("tokens_in", math.nan, None),
    ("tokens_in", math.inf, None),
    ("tokens_in", 1e18, None),
    ("tokens_out", "12", 12),
    ("tokens_out", "many", None),
    ("tokens_out", "", None),
    ("tokens_out", True, None),
]


@pytest.mark.parametrize(("column", "value", "expected"), TEXTS, ids=lambda value: repr(value)[:30])
def test_texts_and_counts(column: str, value: object, expected: object) -> None:
    assert outcomes(by_record(column, value), column) == [expected]
    kind = pa.uint64() if isinstance(value, int) and value >= 2**63 else None
    assert outcomes(by_column(pa.array([value], kind), column), column) == [expected]


def test_half_a_surrogate_pair_is_repaired() -> None:
    assert outcomes(by_record("prompt", "half \ud800 pair"), "prompt") == ["half \ufffd pair"]
    assert outcomes(by_record("account_id", "half \ud800 pair"), "account_id") == ["invalid_utf8"]


def test_integer_longer_than_64_bits() -> None:
    assert outcomes(by_record("account_id", 10**5_000), "account_id") == ["wrong_type"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint32(), pa.large_binary()),
        pa.json_(),
    ],
    ids=str,
)
@pytest.mark.parametrize("column", ["account_id", "prompt", "session"])
def test_every_text_type(kind: pa.DataType, column: str) -> None:
    texts = ["a", "b" * 40, None, "ü", "a"]
    if pa.types.is_dictionary(kind):
        encoded = pa.array(texts).dictionary_encode()
        array = pa.DictionaryArray.from_arrays(
            encoded.indices.cast(kind.index_type), encoded.dictionary.cast(kind.value_type)
        )
    elif isinstance(kind, pa.BaseExtensionType):
        array = pa.ExtensionArray.from_storage(kind, pa.array(texts, kind.storage_type))
    else:
        array = pa.array(texts).cast(kind)
    null = {"account_id": "missing_account", "prompt": "missing_prompt", "session": None}[column]
    assert outcomes(by_column(array, column), column) == ["a", "b" * 40, null, "ü", "a"]


def test_dictionary_with_bad_values() -> None:
    raw = pa.array([b"good", b"\xff", None, b" "]).view(pa.string())
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, None, 0], pa.int32()), raw)
    assert outcomes(by_column(array, "prompt"), "prompt") == [
        "good",
        "invalid_utf8",
        "missing_prompt",
        "empty_prompt",
        "missing_prompt",
        "good",
    ]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int64(), pa.float32(), pa.float16()], ids=str)
def test_every_number_type_as_count(kind: pa.DataType) -> None:
    assert outcomes(by_column(pa.array([0, 7, None]).cast(kind), "tokens_in"), "tokens_in") == [0, 7, None]


def test_all_null_columns_without_a_type() -> None:
    for column, expected in {
        "account_id": "missing_account",
        "timestamp": "missing_timestamp",
        "prompt": "missing_prompt",
        "session": None,
        "tokens_in": None,
    }.items():
        assert outcomes(by_column(pa.nulls(2), column), column) == [expected, expected]


def test_white_space_is_what_python_says() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    found = pa.compute.match_substring_regex(pa.array(characters, pa.large_string()), NOT_SPACE)
    assert found.to_pylist() == [not character.isspace() for character in characters]


def test_first_problem_of_a_row_is_its_reason() -> None:
    record = {"account_id": 1.5, "timestamp": None, "prompt": ""}
    assert outcomes(validate_records([record], CONFIG, as_of=AS_OF), "prompt") == ["wrong_type"]
    record["account_id"] = "a"
    assert outcomes(validate_records([record], CONFIG, as_of=AS_OF), "prompt") == ["missing_timestamp"]
    assert outcomes(validate_records([{}], CONFIG, as_of=AS_OF), "prompt") == ["missing_account"]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


TIMESTAMPS: list[tuple[object, object]] = [
    (None, "missing_timestamp"),
    (NOON, NOON),
    (datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=-7))), utc(2026, 3, 1, 19)),
    ("2026-03-01T12:00:00Z", NOON),
    ("2026-03-01 14:00+02:00", NOON),
    ("2026-03-01T12:00:00.123456789Z", utc(2026, 3, 1, 12, 0, 0, 123_456)),
    ("20260301T120000Z", NOON),
    ("2026-03-01T12:00:00", "timestamp_without_zone"),
    ("2026-03-01", "timestamp_without_zone"),
    (datetime(2026, 3, 1, 12), "timestamp_without_zone"),
    (date(2026, 3, 1), "timestamp_without_zone"),
    ("", "unparsable_timestamp"),
    ("yesterday", "unparsable_timestamp"),
    ("2026-02-30T00:00:00Z", "unparsable_timestamp"),
    ("2026-03-01T12:00:60Z", "unparsable_timestamp"),
    ("01/03/2026", "unparsable_timestamp"),
    ("1772366400", NOON),
    ("1772366400000", NOON),
    ("Sun, 01 Mar 2026 13:00:00 +0100", NOON),
    ("01/Mar/2026:12:00:00 +0000", NOON),
    ("2026-03-01 12:00:00.5 +0000 UTC m=+0.1", utc(2026, 3, 1, 12, 0, 0, 500_000)),
    ("2026-03-01T12:00:00Z[UTC]", NOON),
    ("2026/03/01 12:00:00 UTC", NOON),
    ("March 1st", "unparsable_timestamp"),
    ("Sun Mar 01 2026 13:00:00 GMT+0100 (Central European Standard Time)", NOON),
    ("2026-03-01T13:00:00[Europe/Berlin]", NOON),
    ("2026-03-01T13:00:00[Europe/Nowhere]", "unparsable_timestamp"),
    ("2026-03-01 14:00:00 UTC+2", NOON),
    ("Mar 1, 2026, 12:00:00 PM UTC", NOON),
    ("2026-03-01 1:30 pm +0000", utc(2026, 3, 1, 13, 30)),
    ("2026-03-01 13:30 PM Z", "unparsable_timestamp"),
    ("01.03.2026 12:00 +0000", NOON),
    ("01 Mar 2026 12:00:00 CEST", "unparsable_timestamp"),
    ("[01/Mar/2026:12:00:00 +0000]", NOON),
    ("'2026-03-01T12:00:00Z'", NOON),
    ("/Date(1772366400000)/", NOON),
    ("2026-03-01T１２:００:００Z", NOON),
    ("2016-12-31T23:59:60Z", utc(2017, 1, 1)),
    ("2026-02-28T24:00:00Z", utc(2026, 3, 1)),
    ("2026-02-28T24:01:00Z", "unparsable_timestamp"),
    ("9999-12-31T24:00:00Z", "unparsable_timestamp"),
    ("20260301120000", "timestamp_without_zone"),
    (45_000.5, "unparsable_timestamp"),
    ("9" * 2_000, "unparsable_timestamp"),
    (b"2026-03-01T12:00:00Z", NOON),
    (b"\xff", "invalid_utf8"),
    (1_772_366_400, NOON),
    (1_772_366_400_000, NOON),
    (1_772_366_400_000_000, NOON),
    (1_772_366_400_000_000_000, NOON),
    (17, "unparsable_timestamp"),
    (-1, "unparsable_timestamp"),
    (math.nan, "unparsable_timestamp"),
    (1_772_366_400.0, NOON),
    (True, "wrong_type"),
    ("2000-01-01T00:00:00Z", utc(2000, 1, 1)),
    ("2000-01-01T00:59:59+01:00", "timestamp_out_of_range"),
    ("1999-12-31T23:59:59.999999Z", "timestamp_out_of_range"),
    ("0001-01-01T00:00:00Z", "timestamp_out_of_range"),
    ("0001-01-01T00:00:00+23:00", "timestamp_out_of_range"),
    ("0000-02-29T00:00:00Z", "timestamp_out_of_range"),
    ("0000-02-30T00:00:00Z", "unparsable_timestamp"),
    ("0000-", "unparsable_timestamp"),
    ("2026-03-02T00:05:00Z", utc(2026, 3, 2, 0, 5)),
    ("2026-03-02T00:05:00.000001Z", "timestamp_in_future"),
    ("9999-12-31T23:59:59-23:00", "timestamp_in_future"),
]


@pytest.mark.parametrize(("value", "expected"), TIMESTAMPS, ids=lambda value: str(value)[:40])
def test_timestamps(value: object, expected: object) -> None:
    assert outcomes(by_record("timestamp", value), "timestamp") == [expected]
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    assert outcomes(by_column(pa.array([value]), "timestamp"), "timestamp") == [expected]


@pytest.mark.parametrize(
    "value",
    [
        {"$date": "2026-03-01T12:00:00Z"},
        {"$date": {"$numberLong": "1772366400000"}},
        {"seconds": 1_772_366_400, "nanos": 0},
        {"_seconds": 1_772_366_400, "_nanoseconds": 500},
    ],
    ids=str,
)
def test_times_of_databases_that_write_objects(value: object) -> None:
    assert outcomes(by_record("timestamp", value), "timestamp") == [NOON]


@pytest.mark.parametrize(
    "value", [{"seconds": "x", "nanos": 0}, {"seconds": 2**60, "nanos": 0}, {"$date": {}}, {}]
)
def test_other_objects_are_no_times(value: object) -> None:
    assert outcomes(by_record("timestamp", value), "timestamp") == ["wrong_type"]


@pytest.mark.parametrize("seconds", [2**38 - 1, 1 - 2**38, 253_402_300_800])
def test_seconds_in_no_year_that_there_is_cost_their_row_only(seconds: int) -> None:
    value = {"seconds": seconds, "nanos": 0}
    assert outcomes(by_record("timestamp", value), "timestamp") == ["timestamp_out_of_range"]


UUID = uuid.UUID("65a4f000-0000-4000-8000-00000000a1b2")


@pytest.mark.parametrize("kind", ["bytes", "uuid", "dictionary"])
def test_uuids_are_ids(kind: str) -> None:
    array = pa.array([b"x" * 16, UUID.bytes, None], pa.binary(16))
    if kind == "uuid":
        array = pa.ExtensionArray.from_storage(pa.uuid(), array)
    elif kind == "dictionary":
        array = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), array.slice(0, 2))
    expected = [str(UUID), "missing_account"]
    assert outcomes(by_column(array.slice(1), "account_id"), "account_id") == expected
    assert outcomes(by_record("account_id", UUID), "account_id") == expected[:1]


@pytest.mark.parametrize(
    ("digits", "scale", "expected"),
    [
        ("9007199254740993", 0, "9007199254740993"),
        ("1" + "0" * 37, 0, "1" + "0" * 37),
        ("12.000", 3, "12"),
        ("12.500", 3, "wrong_type"),
    ],
)
def test_decimals_are_ids_to_the_last_digit(digits: str, scale: int, expected: str) -> None:
    value = Decimal(digits)
    array = pa.array([value], pa.decimal128(38, scale))
    assert outcomes(by_column(array, "account_id"), "account_id") == [expected]
    assert outcomes(by_record("account_id", value), "account_id") == [expected]


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("1e999999")])
def test_decimals_that_are_no_ids(value: Decimal) -> None:
    assert outcomes(by_record("account_id", value), "account_id") == ["wrong_type"]


def test_ids_of_mongo() -> None:
    assert outcomes(by_record("account_id", {"$oid": "65a4f0"}), "account_id") == ["65a4f0"]


LOCAL_TIMES: list[tuple[str, object]] = [
    # Europe/Berlin is UTC+1, from 2025-03-30 02:00 to 2025-10-26 03:00 (local) UTC+2.
    ("2025-01-01T12:00:00", utc(2025, 1, 1, 11)),
    ("2025-07-01T12:00:00", utc(2025, 7, 1, 10)),
    ("2025-07-01", utc(2025, 6, 30, 22)),
    ("2025-07-01T12:00:00Z", utc(2025, 7, 1, 12)),
    ("2025-03-30T01:59:59", utc(2025, 3, 30, 0, 59, 59)),
    ("2025-03-30T02:00:00", "unparsable_timestamp"),  # clocks went from 02:00 to 03:00
    ("2025-03-30T02:59:59", "unparsable_timestamp"),
    ("2025-03-30T03:00:00", utc(2025, 3, 30, 1)),
    ("2025-10-26T01:59:59", utc(2025, 10, 25, 23, 59, 59)),
    ("2025-10-26T02:30:00", utc(2025, 10, 26, 0, 30)),  # there twice; the earlier one
    ("2025-10-26T03:00:00", utc(2025, 10, 26, 2)),
    ("2000-01-01T00:59:59", "timestamp_out_of_range"),
    ("2000-01-01T01:00:00", utc(2000, 1, 1)),
    ("0001-01-01T00:00:00", "timestamp_out_of_range"),
    ("2026-03-02T01:05:00", utc(2026, 3, 2, 0, 5)),
    ("2026-03-02T01:05:01", "timestamp_in_future"),
    ("9999-12-31T23:59:59", "timestamp_in_future"),
]


@pytest.mark.parametrize(("text", "expected"), LOCAL_TIMES)
def test_local_times(text: str, expected: object) -> None:
    moment = datetime.fromisoformat(text)
    assert outcomes(by_record("timestamp", text, BERLIN), "timestamp") == [expected]
    assert outcomes(by_record("timestamp", moment, BERLIN), "timestamp") == [expected]
    assert outcomes(by_column(pa.array([text]), "timestamp", BERLIN), "timestamp") == [expected]
    if moment.tzinfo is None:
        array = pa.array([moment], pa.timestamp("us"))
        assert outcomes(by_column(array, "timestamp", BERLIN), "timestamp") == [expected]


def test_local_times_of_one_column_and_mixed_texts() -> None:
    texts = [text for text, _ in LOCAL_TIMES]
    expected = [value for _, value in LOCAL_TIMES]
    assert outcomes(by_column(pa.array(texts), "timestamp", BERLIN), "timestamp") == expected
    local = pa.array(
        [datetime.fromisoformat(text).replace(tzinfo=None) for text in texts], pa.timestamp("us")
    )
    expected[3] = utc(2025, 7, 1, 10)  # the one with a zone, without it
    assert outcomes(by_column(local, "timestamp", BERLIN), "timestamp") == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_unit_and_its_ends(unit: str) -> None:
    seconds = 1_772_366_400  # 2026-03-01T12:00:00Z
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    values = [seconds * per_second, None, 2**63 - 1, -(2**63), -1, 0]
    array = pa.array(values, pa.int64()).cast(pa.timestamp(unit, "America/New_York"))
    far = "timestamp_in_future" if unit in ("us", "ns") else "timestamp_out_of_range"
    early = "timestamp_out_of_range"
    expected = [NOON, "missing_timestamp", far, early, early, early]
    assert outcomes(by_column(array, "timestamp"), "timestamp") == expected
    naive = array.cast(pa.int64()).cast(pa.timestamp(unit))
    utc_config = TrafficConfig(timezone="UTC")
    assert outcomes(by_column(naive, "timestamp", utc_config), "timestamp") == expected
    assert outcomes(by_column(naive, "timestamp"), "timestamp") == [
        "timestamp_without_zone" if value is not None else "missing_timestamp" for value in values
    ]


def test_nanoseconds_are_rounded_down() -> None:
    array = pa.array([1_772_366_400_000_001_999], pa.timestamp("ns", "UTC"))
    assert outcomes(by_column(array, "timestamp"), "timestamp") == [NOON + timedelta(microseconds=1)]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
def test_dates_are_local_midnights(kind: pa.DataType) -> None:
    array = pa.array([date(2025, 7, 1), None, date(1, 1, 1), date(9999, 12, 31)], kind)
    assert outcomes(by_column(array, "timestamp", BERLIN), "timestamp") == [
        utc(2025, 6, 30, 22),
        "missing_timestamp",
        "timestamp_out_of_range",
        "timestamp_in_future",
    ]


def test_date_beyond_microseconds() -> None:
    array = pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32())
    assert outcomes(by_column(array, "timestamp", BERLIN), "timestamp") == [
        "timestamp_out_of_range",
        "timestamp_out_of_range",
    ]


def test_zone_name_of_a_column_need_not_be_known() -> None:
    array = pa.array([1_772_366_400], pa.int64()).cast(pa.timestamp("s", "Mars/Olympus"))
    assert outcomes(by_column(array, "timestamp"), "timestamp") == [NOON]


def test_future_tolerance_counts() -> None:
    late = AS_OF + timedelta(seconds=301)
    assert outcomes(by_record("timestamp", late), "timestamp") == ["timestamp_in_future"]
    config = TrafficConfig(future_tolerance_s=301)
    assert outcomes(by_record("timestamp", late, config), "timestamp") == [late]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(datetime.isoformat),
            st.datetimes(
                datetime(1990, 1, 1), datetime(2030, 1, 1), timezones=st.sampled_from([UTC, timezone.min])
            ).map(datetime.isoformat),
            st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9](:[0-6][0-9]){0,2})?(Z|\+0[0-9])?"),
            st.text(max_size=12),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([CONFIG, BERLIN, TrafficConfig(timezone="Australia/Lord_Howe")]),
)
def test_timestamp_texts_mean_the_same_both_ways(texts: list[str], config: TrafficConfig) -> None:
    records = [{**ROW, "timestamp": text} for text in texts]
    one_by_one = validate_records(records, config, as_of=AS_OF, source_name="a.arrow")
    at_once = by_column(pa.array(texts), "timestamp", config)
    assert at_once.good.equals(one_by_one.good)
    assert at_once.quarantined.equals(one_by_one.quarantined)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.datetimes(datetime(1999, 12, 30), datetime(2026, 3, 4)), min_size=1, max_size=20),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]),
)
def test_local_times_mean_the_same_both_ways(moments: list[datetime], zone: str) -> None:
    config = TrafficConfig(timezone=zone)
    records = [{**ROW, "timestamp": moment} for moment in moments]
    one_by_one = validate_records(records, config, as_of=AS_OF, source_name="a.arrow")
    at_once = by_column(pa.array(moments, pa.timestamp("us")), "timestamp", config)
    assert at_once.good.equals(one_by_one.good)
    assert at_once.quarantined.equals(one_by_one.quarantined)


SECRET = "zebra-quartz-umbrella"
CELLS: dict[str, list[tuple[object, str | None]]] = {
    # column -> (value, reason or None where it is good)
    "account_id": [(b"a", None), (b"\xc3\xa9", None), (None, "missing_account"), (b"", "missing_account"),
                   (b"\xff", "invalid_utf8"), (b"i" * 1_001, "wrong_type")],
    "timestamp": [(b"2026-03-01T12:00:00Z", None), (b"2026-03-01T12:00:00+05:30", None),
                  (None, "missing_timestamp"), (b"noon", "unparsable_timestamp"),
                  (b"2026-03-01", "timestamp_without_zone"),
                  (b"1970-01-01T00:00:00Z", "timestamp_out_of_range"),
                  (b"2027-01-01T00:00:00Z", "timestamp_in_future"), (b"\xc3", "invalid_utf8")],
    "prompt": [(SECRET.encode(), None), (None, "missing_prompt"), (b" \n", "empty_prompt"),
               (SECRET.encode() + b"\xf0\x9f", "invalid_utf8"), (SECRET.encode() * 9, "prompt_too_long")],
    # of a column that no score uses: never a reason
    "session": [(b"s", None), (None, None), (b"\xfe", None), (b"s" * 1_001, None)],
}  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.sampled_from(CELLS[column]) for column in CELLS)).map(list), min_size=1, max_size=30
    )
)
def test_any_mixture_adds_up_and_both_ways_agree(rows: list[list[tuple[object, str | None]]]) -> None:
    config = TrafficConfig(max_prompt_bytes=100)
    expected = [next((reason for _, reason in row if reason is not None), None) for row in rows]
    records = [dict(zip(CELLS, (value for value, _ in row), strict=True)) for row in rows]
    one_by_one = validate_records(records, config, as_of=AS_OF, source_name="a.arrow")
    table = pa.table({name: pa.array([r[name] for r in records], pa.binary()) for name in CELLS})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.arrow")
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        (at_once,) = read_traffic(find_sources(path), config, as_of=AS_OF)
    assert at_once.good.equals(one_by_one.good)
    assert at_once.quarantined.equals(one_by_one.quarantined)
    assert at_once.dropped == one_by_one.dropped
    assert at_once.rows_in == len(rows) == at_once.good.num_rows + at_once.quarantined.num_rows
    assert Counter(at_once.quarantined.column("reason").to_pylist()) == Counter(r for r in expected if r)
    assert at_once.good.column("row").to_pylist() == [at for at, r in enumerate(expected) if r is None]
    told = str(at_once.quarantined.to_pylist())
    assert SECRET not in told
    assert set(at_once.quarantined.column("reason").to_pylist()) <= set(QUARANTINE_REASONS)


def test_batch_that_does_not_add_up_is_a_bug() -> None:
    good = validate_records([ROW], CONFIG, as_of=AS_OF).good
    with pytest.raises(ValueError, match="2 rows in, but 1 good and 0 quarantined"):
        TrafficBatch(good=good, quarantined=QUARANTINE.empty_table(), rows_in=2)
    with pytest.raises(ValueError, match="expected columns"):
        TrafficBatch(good=good.drop_columns("row"), quarantined=QUARANTINE.empty_table(), rows_in=1)
    holed = good.set_column(0, TRAFFIC.field(0), pa.nulls(1, pa.large_string()))
    with pytest.raises(ValueError, match="account_id has nulls"):
        TrafficBatch(good=holed, quarantined=QUARANTINE.empty_table(), rows_in=1)
