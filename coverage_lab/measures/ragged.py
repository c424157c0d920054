"""Segments: rows of account a lie at ``offsets[a]:offsets[a + 1]``. An account may have no rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from coverage_kernels.ragged import checked_offsets
from numpy.typing import ArrayLike, NDArray

#: Cells and counts stay below this, so that an account and a cell fit one int64 together.
LARGEST = 2**31
#: Rows that are worked on at once where each is read several times: fresh memory for longer arrays would cost
#: more than the arithmetic.
_BLOCK = 1 << 18


def checked_segments(
    values: NDArray[np.integer], offsets: ArrayLike, *, name: str, least: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ragged integers as int64 once they and their offsets are known to be sound.

    Parameters
    ----------
    values : int (n,)
        Each at least `least` and below 2³¹.
    offsets : int (accounts + 1,)
        Cut `values` into accounts.
    name : str
        What the error calls the values.

    Returns
    -------
    values : int64 (n,)
    offsets : int64 (accounts + 1,)

    Raises
    ------
    ValueError
        One of them is not as above.
    """
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name}: expected integers of shape (n,), got {values.dtype} of {values.shape}")
    if values.size and (values.min() < least or values.max() >= LARGEST):
        raise ValueError(
            f"{name}: expected integers from {least} to 2**31 - 1, got {values.min()} to {values.max()}"
        )
    return values.astype(np.int64, copy=False), checked_offsets(offsets, values.size)


def segment_ids(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the segment of every row, shape ``(offsets[-1],)``."""
    return np.repeat(np.arange(offsets.size - 1), np.diff(offsets))


def segment_sum(values: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of each segment in float64; 0 for an empty one."""
    sums = np.zeros(offsets.size - 1)
    filled = np.flatnonzero(np.diff(offsets))
    if filled.size:
        kind = np.float64 if np.issubdtype(values.dtype, np.floating) else np.int64
        sums[filled] = np.add.reduceat(values, offsets[filled], dtype=kind)
    return sums


def segment_max(values: NDArray[np.integer], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the largest of each segment's values, all 0 and up, in float64; 0 for an empty one."""
    largest = np.zeros(offsets.size - 1)
    filled = np.flatnonzero(np.diff(offsets))
    if filled.size:
        largest[filled] = np.maximum.reduceat(values, offsets[filled])
    return largest


def bounded_runs(offsets: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Cut segments into runs ``(start, stop)`` of at most `most` rows; one that alone has more is a run.

    Together they are all segments, in order; none without segments.
    """
    start = 0
    while start < len(offsets) - 1:
        fitting = int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1
        stop = max(start + 1, fitting)
        yield start, stop
        start = stop


def in_blocks(
    measure: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    values: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the measure of each segment's values, some segments at a time: it must not mix segments."""
    answer = np.empty(offsets.size - 1)
    for first, last in bounded_runs(offsets, _BLOCK):
        rows = values[offsets[first] : offsets[last]]
        answer[first:last] = measure(rows, offsets[first : last + 1] - offsets[first])
    return answer


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotient; NaN where the denominator is not above 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
