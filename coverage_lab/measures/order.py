"""Whether new ground came sooner or later than the account's own cells in any order would have it.

Read together with the `z` of `runs`, which tells how often the next prompt stays in its cell:

- *swept*: `order_z` above 0, runs' z below 0 (new ground first, hardly a cell twice in a row);
- *shuffled*: both near 0 (the order says nothing);
- *bursty*: `order_z` below 0, runs' z above 0 (one topic after another).

Both below 0 is bursts that are interleaved: two or more topics in turn, then the next ones (`runs`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.counts import _tally
from coverage_lab.measures.growth import GRID_POINTS, _growth_curve, curve_grids
from coverage_lab.measures.nulls import _rarefaction
from coverage_lab.measures.ragged import checked_segments, ratio, segment_ids, segment_sum

#: Points of the curve with no larger own standard deviation (in cells) are left out of `order_z`. Simulated
#: with 300 prompts over 16,384 cells: at 0, one prompt sent twice at the start moves the measure by −3.6
#: (Zipf cells) and the lower tail of 4,000 accounts reaches −27 (uniform cells); at 0.25, −1.2 and −3.4. At
#: 0.5, a quarter of the uniform accounts have no point left (0 to 0.25: 6%).
MIN_SD = 0.25


def order_z(
    cells: NDArray[np.integer], offsets: ArrayLike, *, points: int = GRID_POINTS, min_sd: float = MIN_SD
) -> NDArray[np.float64]:
    """Return how far first visits run ahead of an exchangeable order of the account's own prompts.

    Formula: ``mean over grid points 1 < m < n of [D(m) − E(m)] / sd(m)``, E and sd by `rarefaction`

    Parameters
    ----------
    cells : int (n,)
        Cell of each prompt, in time order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    points : int
        Points of the grid (`curve_grid`), 2 or more.
    min_sd : float
        Points whose sd is not above this many cells are left out: one chance repeat there would outweigh
        the rest of the curve.

    Returns
    -------
    float64 (accounts,)
        NaN where no point is left: fewer than 3 prompts, one cell only, or (almost) no revisit.

    Raises
    ------
    ValueError
        `cells` or `offsets` are not as above, or `points` is below 2.

    Notes
    -----
    Range: any; mean 0 if order does not matter. Above 0 = new ground sooner (a sweep without return), below
    0 = later (one topic worked through after another).

    Columns: `order_z`

    References
    ----------
    .. [1] Rarefaction as the null of the collector's curve: Gotelli and Colwell (2001), Ecology Letters
       4:379.
    """
    visited, cut = checked_segments(cells, offsets, name="cells")
    grid, grid_offsets = curve_grids(np.diff(cut), points=points)
    _, counts, count_offsets = _tally(visited, cut)
    mean, variance = _rarefaction(counts, count_offsets, grid, grid_offsets)
    distinct = _growth_curve(visited, cut, grid, grid_offsets)
    return _order_z(distinct, mean, variance, grid_offsets, min_sd)


def _order_z(
    distinct: NDArray[np.int64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    grid_offsets: NDArray[np.int64],
    min_sd: float,
) -> NDArray[np.float64]:
    sd = np.sqrt(variance)
    used = sd > min_sd
    account = segment_ids(grid_offsets)[used]
    z = (distinct[used] - mean[used]) / sd[used]
    total = np.bincount(account, z, grid_offsets.size - 1).astype(np.float64, copy=False)
    return ratio(total, segment_sum(used, grid_offsets))
