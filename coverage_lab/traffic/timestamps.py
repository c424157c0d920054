"""Timestamps of any kind -> microseconds since 1970 in UTC."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import ConfigError, TrafficError
from coverage_lab.schema import UTC_MICROSECONDS
from coverage_lab.traffic.problems import (
    NO_SUCH_NUMBER,
    OUT_OF_RANGE,
    UNPARSABLE_TIMESTAMP,
    WITHOUT_ZONE,
    BadValueError,
    Failures,
    missing,
    wrong_type,
)
from coverage_lab.untrusted.text import shown

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST: Final = 946_684_800_000_000  # 2000-01-01T00:00:00Z
DAY: Final = 86_400_000_000
_MICROSECOND: Final = timedelta(microseconds=1)
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
EXPECTED: Final = "a timestamp, a date, ISO 8601 text or a number since 1970"
#: Microseconds since 1970 of a number, by its unit.
_UNIT: Final = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
#: Seconds of 2000-01-01 and 2100-01-01. In these bounds a number's size tells its unit.
_FIRST: Final = 946_684_800
_LAST: Final = 4_102_444_800
_NUMBER: Final = re.compile(r"\d{9,10}(?:\.\d*)?|\d{12,13}(?:\.\d*)?|\d{15,16}|\d{18,19}")
_ANY_NUMBER: Final = re.compile(r"\d+(?:\.\d*)?")
#: What stands behind the time: Go's `m=+0.1`, Java's `[Europe/Berlin]`, JavaScript's `GMT+0100 (CET)`.
_MONOTONIC: Final = re.compile(r"\s*m=[+-][\d.]+$")
_ZONE_BEHIND: Final = re.compile(r"\[([A-Za-z][\w/+-]*)\]$")
_GMT_OFFSET: Final = re.compile(r"\s*(?:GMT|UTC)([+-])(\d{1,2}):?(\d{2})?(?:\s*\([^()]*\))?$")
_ZONE_NAME: Final = re.compile(r"(?<=\d)\s*(?:UTC|GMT|Z)$", re.IGNORECASE)
_OFFSET: Final = re.compile(r"(?<=\d)\s+([+-]\d{2}:?\d{2}|[+-]\d{2})(?:\s+[A-Z]{2,5})?$")
_SLASHES: Final = re.compile(r"^(\d{4})/(\d{2})/(\d{2})(?=\D|$)")
_DAY_FIRST: Final = re.compile(r"^(\d{1,2})\.(\d{1,2})\.(\d{4}),?(?=\s|$)")
_HALF_DAY: Final = re.compile(
    r"(?<!\d)(\d{1,2})(:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*([ap])\.?m\.?(?!\w)", re.IGNORECASE
)
_LEAP_SECOND: Final = re.compile(r"(?<=:59):60(?=\D|$)")
_MIDNIGHT: Final = re.compile(r"(?<=[T ])24(?=:00(?::00(?:\.0+)?)?(?![\d.:]))")
_DIGITS: Final = re.compile(r"\d{14}")
#: `/Date(1768435200000)/`, as .NET has it.
_DOTNET: Final = re.compile(r"/Date\((\d{12,13})(?:[+-]\d{4})?\)/")
#: A zone by letters after the time, which mail's rules would leave out where they don't know it.
_LETTERS_BEHIND: Final = re.compile(r":\d{2}(?:\.\d+)?\s+\S*[A-Za-z]")
_BARE_OFFSET: Final = re.compile(r"(?<=:\d\d)([+-]\d{2})$")

Problem = tuple[str, str]


def zone_of(config: TrafficConfig) -> ZoneInfo | None:
    """Return the zone of timestamps that carry none.

    Raises
    ------
    ConfigError
        Python or Arrow does not know a zone of that name.
    """
    if config.timezone is None:
        return None
    try:
        zone = ZoneInfo(config.timezone)
        pc.assume_timezone(pa.array([0], pa.timestamp("us")), config.timezone)
    except (OSError, ValueError, KeyError) as error:  # also what both libraries raise for unknown names
        raise ConfigError(
            f"traffic.timezone: expected an IANA zone such as Europe/Berlin, got '{shown(config.timezone)}'"
        ) from error
    return zone


@dataclass(frozen=True)
class Clock:
    """The zone of zone-less timestamps and the latest instant that is not the future."""

    zone: ZoneInfo | None
    latest: int
    in_future: Problem
    unit: str = "auto"

    @classmethod
    def of(cls, config: TrafficConfig, as_of: datetime) -> Clock:
        """Clock of a run.

        Raises
        ------
        TrafficError
            `as_of` has no zone.
        """
        if as_of.tzinfo is None:
            raise TrafficError(f"as_of: expected a datetime with a time zone, got {as_of.isoformat()}")
        latest = (as_of - EPOCH) // _MICROSECOND + config.future_tolerance_s * 1_000_000
        detail = f"timestamp is after {as_of.isoformat()} plus {config.future_tolerance_s} s"
        problem = "timestamp_in_future", detail
        return cls(zone_of(config), latest=latest, in_future=problem, unit=config.timestamp_unit)

    @property
    def gap(self) -> Problem:
        """Problem of a local time that clocks skipped."""
        return "unparsable_timestamp", f"timestamp: no such local time in {self.zone} (clocks skipped it)"

    def read(self, value: object) -> int:
        """Microseconds since 1970 of one value: text, datetime, date or number.

        A zone-less value is local time in the config's zone. Where clocks are set back the earlier of the
        two instants is meant; a time that clocks skipped is refused.

        Raises
        ------
        BadValueError
            Null, another type, a spelling that is not known, no zone, before 2000, in the future.
        """
        if value is None:
            raise BadValueError(*missing("timestamp"))
        if isinstance(value, str):
            number = (_NUMBER if self.unit == "auto" else _ANY_NUMBER).fullmatch(value.strip())
            if number is not None:
                return self._number(value.strip())
            moment = parse_moment(value)
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return self._number(str(value))
        elif isinstance(value, datetime):
            moment = value
        elif isinstance(value, dict) and (found := _seconds_and_nanos(value)) is not None:
            moment = found
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day)
        else:
            raise BadValueError(*wrong_type("timestamp", EXPECTED, type(value).__name__))
        if moment.utcoffset() is not None:
            return self._in_range((moment - EPOCH) // _MICROSECOND)
        if self.zone is None:
            raise BadValueError(*WITHOUT_ZONE)
        naive = (moment.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
        if naive < EARLIEST - DAY or naive > self.latest + DAY:
            return self._in_range(naive)
        local = moment.replace(tzinfo=self.zone, fold=0)
        instant = self._in_range((local.astimezone(UTC) - EPOCH) // _MICROSECOND)
        if local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != moment.replace(tzinfo=None):
            raise BadValueError(*self.gap)
        return instant

    def _number(self, text: str) -> int:
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise BadValueError(*UNPARSABLE_TIMESTAMP) from None
        if not value.is_finite():
            raise BadValueError(*UNPARSABLE_TIMESTAMP)
        unit = self.unit if self.unit != "auto" else unit_of(float(value))
        if unit is None:
            raise BadValueError(*NO_SUCH_NUMBER)
        scaled = value * (1_000_000 if unit == "s" else 1_000 if unit == "ms" else 1)
        if abs(scaled) >= 2**63:
            raise BadValueError(*OUT_OF_RANGE)
        return self._in_range(int(scaled) // (1_000 if unit == "ns" else 1))

    def _in_range(self, instant: int) -> int:
        if instant < EARLIEST:
            raise BadValueError(*OUT_OF_RANGE)
        if instant > self.latest:
            raise BadValueError(*self.in_future)
        return instant


def _seconds_and_nanos(value: dict[str, object]) -> datetime | None:
    """Time as Protocol Buffers and Firestore have it.

    Raises
    ------
    BadValueError
        Its year is none that a datetime has.
    """
    for names in (("seconds", "nanos"), ("_seconds", "_nanoseconds"), ("seconds", "nanoseconds")):
        if value.keys() == set(names):
            seconds, nanos = (number if type(number) is int else None for number in map(value.get, names))
            if seconds is not None and nanos is not None and abs(seconds) < 2**38 and 0 <= nanos < 10**9:
                try:
                    return EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1_000)
                except OverflowError:
                    raise BadValueError(*OUT_OF_RANGE) from None
    return None


def unit_of(number: float) -> str | None:
    """Unit of a number since 1970, by its size; None where it is no time from 2000 to 2100 in any."""
    for unit, per_second in (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)):
        if _FIRST * per_second <= number < _LAST * per_second:
            return unit
    return None


def parse_moment(text: str) -> datetime:
    """Read a time as ISO 8601, databases, languages, servers and mails spell it.

    Spellings that can mean two days (`01/02/2026`) are refused.

    Raises
    ------
    BadValueError
        It is none of them, or has the year 0.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        if text.startswith("0000-"):  # ISO 8601 has a (leap) year 0, a datetime has not
            parse_moment("0004" + text[4:])
            raise BadValueError(*OUT_OF_RANGE) from error
    try:
        return _spelt_otherwise(text)
    except (ValueError, IndexError, TypeError, OverflowError, KeyError, OSError) as error:
        raise BadValueError(*UNPARSABLE_TIMESTAMP) from error


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def _spelt_otherwise(text: str) -> datetime:
    plain = text.strip(" \t\r\n\"'")
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain).replace("\u2212", "-")
        plain = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in plain)
    if plain.startswith("[") and plain.endswith("]"):
        plain = plain[1:-1]
    if (found := _DOTNET.fullmatch(plain)) is not None:
        return EPOCH + timedelta(milliseconds=int(found.group(1)))
    if _DIGITS.fullmatch(plain):
        return datetime.strptime(plain, "%Y%m%d%H%M%S")
    plain = _MONOTONIC.sub("", plain)
    zone = _ZONE_BEHIND.search(plain)
    plain = _ZONE_BEHIND.sub("", plain)
    plain = _GMT_OFFSET.sub(lambda found: f" {found[1]}{int(found[2]):02}{found[3] or '00'}", plain)
    plain = _HALF_DAY.sub(_of_whole_day, plain, count=1)
    plain, leap = _LEAP_SECOND.subn(":59", plain, count=1)
    plain, next_day = _MIDNIGHT.subn("00", plain, count=1)
    moment = _of_24_hours(plain) + timedelta(days=next_day, seconds=leap)
    if moment.tzinfo is None and zone is not None:
        if zone.group(1) not in _zone_names():
            raise ValueError(zone.group(1))
        return moment.replace(tzinfo=ZoneInfo(zone.group(1)))
    return moment


def _of_whole_day(found: re.Match[str]) -> str:
    hour = int(found[1])
    if not 1 <= hour <= 12:
        raise ValueError(found[0])
    return f"{hour % 12 + (12 if found[3].lower() == 'p' else 0):02}{found[2]}"


def _of_24_hours(text: str) -> datetime:
    plain = _OFFSET.sub(r"\1", text)
    plain = _BARE_OFFSET.sub(r"\1:00", _ZONE_NAME.sub("+00:00", plain))
    plain = _DAY_FIRST.sub(lambda found: f"{found[3]}-{int(found[2]):02}-{int(found[1]):02}", plain)
    try:
        return datetime.fromisoformat(_SLASHES.sub(r"\1-\2-\3", plain).upper())
    except ValueError:
        pass
    for spelling in ("%d/%b/%Y:%H:%M:%S%z", "%d/%b/%Y:%H:%M:%S"):
        try:
            return datetime.strptime(plain, spelling)
        except ValueError:
            continue
    moment = parsedate_to_datetime(text)
    if moment.tzinfo is None and _LETTERS_BEHIND.search(text):
        raise ValueError(text)
    return moment


def is_instant_type(kind: pa.DataType) -> bool:
    """Whether a type is a timestamp or a date of Arrow."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def has_zone(kind: pa.DataType) -> bool:
    """Whether a timestamp type says which instants it means."""
    return bool(pa.types.is_timestamp(kind)) and kind.tz is not None


def instants(array: pa.Array, clock: Clock, failures: Failures) -> pa.Array:
    """Convert a timestamp or date array; null where a row failed.

    The same rules as `Clock.read`.
    """
    kind = array.type
    failures.mark(_mask(array.is_null()), *missing("timestamp"))
    if not has_zone(kind) and clock.zone is None:
        failures.mark(_mask(array.is_valid()), *WITHOUT_ZONE)
        return pa.nulls(len(array), UTC_MICROSECONDS)
    raw = array.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(kind) else array.cast(pa.int64())
    valid = _mask(array.is_valid())
    values = raw.fill_null(0).to_numpy()
    microseconds, valid = _scaled(values, valid, kind, failures)
    if has_zone(kind):
        return _bounded(microseconds, valid, clock, failures)
    return _localised(microseconds, valid, clock, failures)


def number_instants(array: pa.Array, clock: Clock, failures: Failures) -> pa.Array:
    """Convert numbers since 1970; null where a row failed."""
    failures.mark(_mask(array.is_null()), *missing("timestamp"))
    valid = _mask(array.is_valid())
    if pa.types.is_integer(array.type):
        values = array.cast(pa.int64(), safe=False).fill_null(0).to_numpy()
        known = np.zeros(len(values), np.bool_)
        micros = np.zeros(len(values), np.int64)
        for unit in _UNIT:
            per_second = _PER_SECOND[unit]
            here = valid & (
                (values >= _FIRST * per_second) & (values < _LAST * per_second)
                if clock.unit == "auto"
                else np.full(len(values), clock.unit == unit)
            )
            factor, divisor = max(1, 1_000_000 // per_second), max(1, per_second // 1_000_000)
            beyond = here & (np.abs(values) > np.iinfo(np.int64).max // factor)
            failures.mark(beyond, *OUT_OF_RANGE)
            micros[here & ~beyond] = values[here & ~beyond] * factor // divisor
            known |= here
        failures.mark(valid & ~known, *NO_SUCH_NUMBER)
        return _bounded(micros, known & ~failures.bad, clock, failures)
    return _row_by_row(array.to_pylist(), clock.read, failures)


def text_instants(array: pa.Array, clock: Clock, failures: Failures) -> pa.Array:
    """Convert text (valid UTF-8, large_string); null where a row failed."""
    failures.mark(_mask(array.is_null()), *missing("timestamp"))
    valid = _mask(array.is_valid())
    for kind, finish in ((UTC_MICROSECONDS, _bounded), (pa.timestamp("us"), _localised)):
        if kind.tz is None and clock.zone is None:
            continue
        if clock.unit != "auto":
            break  # digits are numbers then, not ISO 8601's basic form
        try:
            parsed = array.cast(kind).cast(pa.int64()).fill_null(EARLIEST).to_numpy()
        except pa.ArrowInvalid:
            continue
        return finish(parsed, valid, clock, failures)
    return _row_by_row(array.to_pylist(), clock.read, failures)


def _row_by_row(values: list[object], read: Callable[[object], int], failures: Failures) -> pa.Array:
    result: list[int | None] = []
    wrong: dict[Problem, list[int]] = {}
    for at, value in enumerate(values):
        try:
            result.append(read(value))
        except BadValueError as error:
            result.append(None)
            wrong.setdefault((error.reason, error.detail), []).append(at)
    for (reason, detail), rows in wrong.items():
        mask = np.zeros(len(values), np.bool_)
        mask[rows] = True
        failures.mark(mask, reason, detail)
    return pa.array(result, UTC_MICROSECONDS)


def _scaled(
    values: NDArray[np.int64], valid: NDArray[np.bool_], kind: pa.DataType, failures: Failures
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Bring the values of a type's unit to whole microseconds, rounded down."""
    if pa.types.is_date32(kind):
        factor, divisor = DAY, 1
    else:
        per_second = 1_000 if pa.types.is_date64(kind) else _PER_SECOND[kind.unit]
        factor, divisor = max(1, 1_000_000 // per_second), max(1, per_second // 1_000_000)
    limit = np.iinfo(np.int64).max // factor
    beyond = valid & ((values > limit) | (values < -limit))
    failures.mark(beyond, *OUT_OF_RANGE)
    kept = np.where(beyond, 0, values)
    return kept * factor // divisor, valid & ~beyond


def _bounded(
    values: NDArray[np.int64], valid: NDArray[np.bool_], clock: Clock, failures: Failures
) -> pa.Array:
    early, late = valid & (values < EARLIEST), valid & (values > clock.latest)
    failures.mark(early, *OUT_OF_RANGE)
    failures.mark(late, *clock.in_future)
    return pa.array(values, mask=~valid | early | late).cast(UTC_MICROSECONDS)


def _localised(
    values: NDArray[np.int64], valid: NDArray[np.bool_], clock: Clock, failures: Failures
) -> pa.Array:
    """Zone-less microseconds to UTC: the earlier instant of two, none for a skipped time."""
    far = (values < EARLIEST - DAY) | (values > clock.latest + DAY)
    naive = pa.array(np.where(far | ~valid, EARLIEST, values)).cast(pa.timestamp("us"))
    local = pc.assume_timezone(naive, str(clock.zone), ambiguous="earliest", nonexistent="earliest")
    skipped = _mask(pc.not_equal(pc.local_timestamp(local), naive)) & valid & ~far
    utc = np.where(far, values, local.cast(pa.int64()).to_numpy())
    result = _bounded(utc, valid, clock, failures)
    failures.mark(skipped, *clock.gap)
    return pc.if_else(pa.array(skipped), pa.scalar(None, UTC_MICROSECONDS), result)


def _mask(array: pa.Array) -> NDArray[np.bool_]:
    values: NDArray[np.bool_] = array.to_numpy(zero_copy_only=False)
    return values
