"""What is wrong with a value, a row or a file, in words that never repeat what was in it."""

from __future__ import annotations

import errno
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coverage_lab.schema import QUARANTINE_REASONS
from coverage_lab.untrusted.text import shown

#: Ids longer than this (UTF-8 bytes) are not ids; also bounds what the tables hold.
MAX_ID_BYTES: Final = 1_000


class BadValueError(Exception):
    """A value that sends its row to quarantine."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Failures:
    """The first problem of every row of a batch, filled column by column."""

    def __init__(self, rows: int) -> None:
        self._codes: NDArray[np.int32] = np.zeros(rows, np.int32)
        self._kinds: list[tuple[str, str]] = []
        self._dropped: list[tuple[str, NDArray[np.bool_]]] = []
        self.repaired = 0

    def drop(self, mask: NDArray[np.bool_], column: str) -> None:
        """Count values of a column that no score uses, which become null without costing their rows."""
        if mask.any():
            self._dropped.append((column, mask))

    @property
    def dropped(self) -> dict[str, int]:
        """Values that became null, by column, in rows without a problem."""
        counts: dict[str, int] = {}
        for column, mask in self._dropped:
            if count := int((mask & ~self.bad).sum()):
                counts[column] = counts.get(column, 0) + count
        return counts

    def mark(self, mask: NDArray[np.bool_], reason: str, detail: str) -> None:
        """Give the rows of `mask` this problem, but for those that have one already."""
        if not mask.any():
            return
        fresh = mask & (self._codes == 0)
        if fresh.any():
            self._kinds.append((reason, detail))
            self._codes[fresh] = len(self._kinds)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """True where a row has a problem."""
        bad: NDArray[np.bool_] = self._codes != 0
        return bad

    def reasons_and_details(self) -> tuple[pa.Array, pa.Array]:
        """Reason and detail of the bad rows, in row order."""
        which = pa.array(self._codes[self.bad] - 1)
        reasons = pa.array([reason for reason, _ in self._kinds], pa.string())
        details = pa.array([detail for _, detail in self._kinds], pa.string())
        return reasons.take(which), details.take(which)


def missing(column: str) -> tuple[str, str]:
    """Reason and detail of a required value that is null (or, for an account, empty)."""
    reason = {"account_id": "missing_account", "timestamp": "missing_timestamp", "prompt": "missing_prompt"}
    return reason[column], QUARANTINE_REASONS[reason[column]]


def too_long(column: str, max_prompt_bytes: int) -> tuple[str, str]:
    """Reason and detail of a text with too many bytes."""
    if column == "prompt":
        return "prompt_too_long", f"prompt has more than {max_prompt_bytes} bytes (traffic.max_prompt_bytes)"
    if column == "timestamp":
        return UNPARSABLE_TIMESTAMP
    return "wrong_type", f"{column}: an id has at most {MAX_ID_BYTES} bytes"


def not_utf8(column: str) -> tuple[str, str]:
    """Reason and detail of a text that is not valid UTF-8."""
    return "invalid_utf8", f"{column} is not valid UTF-8"


def wrong_type(column: str, expected: str, got: str) -> tuple[str, str]:
    """Reason and detail of a value of another type than its column's."""
    return "wrong_type", f"{column}: expected {expected}, got {shown(got, 60)}"


#: Texts that systems write where there is no prompt.
NOTHING: Final = r"(?i)^\s*(\{\s*\}|\[\s*\]|\"\"|null|none|nan|<na>|undefined)\s*$"


def not_a_count(column: str) -> tuple[str, str]:
    """Reason and detail of a number that counts nothing."""
    return "wrong_type", f"{column}: expected a whole number from 0 to 2^63 - 1"


EMPTY_PROMPT: Final = ("empty_prompt", QUARANTINE_REASONS["empty_prompt"])
OUT_OF_RANGE: Final = ("timestamp_out_of_range", QUARANTINE_REASONS["timestamp_out_of_range"])
UNPARSABLE_TIMESTAMP: Final = ("unparsable_timestamp", QUARANTINE_REASONS["unparsable_timestamp"])
WITHOUT_ZONE: Final = ("timestamp_without_zone", QUARANTINE_REASONS["timestamp_without_zone"])
NO_SUCH_NUMBER: Final = (
    "unparsable_timestamp",
    "timestamp: a number that is no time from 2000 to 2100 in any unit since 1970; traffic.timestamp_unit "
    "names the unit; days, as Excel counts them, have to be formatted as dates",
)
UNPARSABLE_ROW: Final = ("unparsable_row", QUARANTINE_REASONS["unparsable_row"])


def is_disk_full(error: OSError) -> bool:
    """Whether the device, or this user's share of it, has no space left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
