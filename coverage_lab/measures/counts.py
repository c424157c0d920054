"""How often each cell was reached, and how many cells were reached equally often."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.ragged import checked_segments, segment_ids

Tally = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def cell_counts(cells: NDArray[np.integer], offsets: ArrayLike) -> Tally:
    """Return the cells that each account reached and how many prompts fell in each.

    Parameters
    ----------
    cells : int (n,)
        Cell of each prompt, 0 and up; order within an account does not matter.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.

    Returns
    -------
    cell : int64 (k,)
        Rising within each account.
    count : int64 (k,)
        x_c, 1 and up.
    offsets : int64 (accounts + 1,)
        Account a has cells ``offsets[a]:offsets[a + 1]``; an empty account has none.

    Raises
    ------
    ValueError
        `cells` or `offsets` are not as above.

    Examples
    --------
    >>> cell, count, offsets = cell_counts(np.array([4, 2, 4, 7]), [0, 3, 4])
    >>> cell.tolist(), count.tolist(), offsets.tolist()
    ([2, 4, 7], [1, 2, 1], [0, 2, 3])
    """
    return _tally(*checked_segments(cells, offsets, name="cells"))


def count_frequencies(counts: NDArray[np.integer], offsets: ArrayLike) -> Tally:
    """Return the counts of counts: f_r cells were reached exactly r times.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.

    Returns
    -------
    r : int64 (j,)
        Distinct counts, rising within each account.
    frequency : int64 (j,)
        f_r, 1 and up.
    offsets : int64 (accounts + 1,)
        Of both.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above.
    """
    return _tally(*checked_segments(counts, offsets, name="counts", least=1))


def _tally(values: NDArray[np.int64], offsets: NDArray[np.int64]) -> Tally:
    keys, tally = np.unique(segment_keys(values, offsets), return_counts=True)
    segment, value = np.divmod(keys, _span(values))
    return value, tally, np.searchsorted(segment, np.arange(offsets.size))


def segment_keys(values: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one integer per row that is equal only for equal values of one segment; rises with both."""
    return segment_ids(offsets) * _span(values) + values


def _span(values: NDArray[np.int64]) -> int:
    return int(values.max(initial=0)) + 1
