"""How often an account stays in the cell that it is in, against its own prompts in any order.

Read together with `order_z`, which tells when new ground came:

- *swept*: `order_z` above 0, `z` of the runs below 0. New ground first and hardly ever the same cell twice in
  a row: a list that is worked off, once or in rounds (a, b, c, a, b, c, …).
- *shuffled*: both near 0. The order says nothing: independent draws, or a harvest in random order.
- *bursty*: `order_z` below 0, `z` of the runs above 0. One topic after another, as people work.

Both below 0 is bursts that are interleaved (a, b, a, b, then c, d, c, d): several people or threads under one
account can look so. Neither number depends on how broad or how even the account is, since the null is the
account's own multiset of cells; and neither is evidence of harvesting by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.counts import _tally
from coverage_lab.measures.ragged import checked_segments, ratio, segment_ids, segment_sum


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of equal cells in time order, one row an account.

    Attributes
    ----------
    return_rate : float64 (accounts,)
        Share of prompts in the cell of the prompt before, 0 to 1.
    return_ratio : float64 (accounts,)
        The same over its expectation, 0 and up; NaN also without any revisit.
    z : float64 (accounts,)
        The same in standard deviations from its expectation; NaN also where order can't matter (one cell, or
        no revisit).
    mean_run : float64 (accounts,)
        Prompts per run, 1 to n.
    longest_run : float64 (accounts,)
        Prompts of the longest run, 1 to n.
    """

    return_rate: NDArray[np.float64]
    return_ratio: NDArray[np.float64]
    z: NDArray[np.float64]
    mean_run: NDArray[np.float64]
    longest_run: NDArray[np.float64]


def runs(cells: NDArray[np.integer], offsets: ArrayLike) -> Runs:
    """Return how often a prompt is in the cell of the one before, against a random order of the same prompts.

    Formula: ``A/(n − 1)``, ``A/E`` and ``(A − E)/√Var``, with ``A = #{i > 1 : c_i = c_{i−1}}``,
    ``E = B/n``, ``Var = B/n + B²/(n²(n − 1)) − 2(B + T)/(n(n − 1))``,
    ``B = Σ_c x_c (x_c − 1)``, ``T = Σ_c x_c (x_c − 1)(x_c − 2)``; mean run ``n/(n − A)``

    Parameters
    ----------
    cells : int (n,)
        Cell of each prompt, in time order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.

    Returns
    -------
    Runs
        All NaN for fewer than 2 prompts.

    Raises
    ------
    ValueError
        `cells` or `offsets` are not as above.

    Notes
    -----
    Range: return rate 0 to 1; ratio 0 and up, z any, mean 1 and 0 if order does not matter. z below 0 = the
    account seldom stays (swept), above 0 = it works cell by cell (bursty).

    Columns: `return_z` (z)

    References
    ----------
    .. [1] Mean and variance over all orders of a multiset: the runs test for more than two kinds, Mood
       (1940), Ann. Math. Statist. 11:367; Barton and David (1957), Biometrika 44:168.
    """
    return _runs(*checked_segments(cells, offsets, name="cells"))


def _runs(cells: NDArray[np.int64], offsets: NDArray[np.int64]) -> Runs:
    account = segment_ids(offsets)
    fresh = np.ones(cells.size, dtype=np.bool_)
    fresh[1:] = (cells[1:] != cells[:-1]) | (account[1:] != account[:-1])
    starts = np.flatnonzero(fresh)
    longest = np.zeros(offsets.size - 1)
    np.maximum.at(longest, account[starts], np.diff(starts, append=cells.size))

    prompts = np.diff(offsets)
    enough = prompts >= 2
    n = np.where(enough, prompts, np.nan)
    run_count = segment_sum(fresh, offsets)
    again = n - run_count
    mean, variance = _again_moments(cells, offsets, n)
    return Runs(
        return_rate=again / (n - 1),
        return_ratio=ratio(again, mean),
        z=ratio(again - mean, np.sqrt(variance)),
        mean_run=ratio(n, run_count),
        longest_run=np.where(enough, longest, np.nan),
    )


def _again_moments(
    cells: NDArray[np.int64], offsets: NDArray[np.int64], n: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of the equal neighbours over all orders of each account's cells."""
    _, counts, cut = _tally(cells, offsets)
    x = counts.astype(np.float64)
    pairs = segment_sum(x * (x - 1), cut)
    triples = segment_sum(x * (x - 1) * (x - 2), cut)
    mean = pairs / n
    variance = mean + mean**2 / (n - 1) - 2 * (pairs + triples) / (n * (n - 1))
    reached = np.diff(cut)
    fixed = (reached == 1) | (reached == n)
    return mean, np.where(fixed, 0.0, np.maximum(variance, 0))
