"""How many distinct cells were reached after so many prompts, and the grid that is read on."""

from __future__ import annotations

import numpy as np
from coverage_kernels import ragged
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.counts import segment_keys
from coverage_lab.measures.ragged import checked_segments, segment_ids

#: Points of a growth curve, at most.
GRID_POINTS = 24


def curve_grid(prompts: int, *, points: int = GRID_POINTS) -> NDArray[np.int64]:
    """Return the prompt counts at which one account's growth curve is read.

    Parameters
    ----------
    prompts : int
        n, the account's prompts.
    points : int
        Points at most, 2 or more.

    Returns
    -------
    int64 (min(n, points),)
        Strictly rising from 1 to n, about geometric; every integer where ``n <= points``; empty for n = 0.

    Raises
    ------
    ValueError
        `prompts` is negative or `points` is below 2.

    Examples
    --------
    >>> curve_grid(1000, points=8).tolist()
    [1, 3, 7, 19, 52, 139, 373, 1000]
    """
    return curve_grids(np.array([prompts]), points=points)[0]


def curve_grids(
    lengths: NDArray[np.integer], *, points: int = GRID_POINTS
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `curve_grid` of many accounts.

    Parameters
    ----------
    lengths : int (accounts,)
        Prompts of each account.
    points : int
        Points per account at most, 2 or more.

    Returns
    -------
    values : int64 (g,)
    offsets : int64 (accounts + 1,)
        Account a has the grid ``values[offsets[a]:offsets[a + 1]]``.

    Raises
    ------
    ValueError
        A length is negative or `points` is below 2.
    """
    if points < 2:
        raise ValueError(f"points: expected 2 or more, got {points}")
    if lengths.size and lengths.min() < 0:
        raise ValueError(f"lengths: expected 0 or more, got {lengths.min()}")
    return _grids(lengths.astype(np.int64), points)


def _grids(lengths: NDArray[np.int64], points: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    step = np.arange(points)
    geometric = np.floor(lengths[:, None] ** (step / (points - 1)) + 0.5).astype(np.int64)
    # A geometric series from 1 is below the integers until it crosses them, and then steps by 1 or more.
    grid = np.maximum(geometric, step + 1)
    size = np.minimum(lengths, points)
    return grid[step < size[:, None]], np.concatenate([[0], np.cumsum(size)])


def growth_curve(
    cells: NDArray[np.integer], offsets: ArrayLike, grid: NDArray[np.integer], grid_offsets: ArrayLike
) -> NDArray[np.int64]:
    """Return the distinct cells that an account had reached after so many prompts.

    Formula: ``D(m) = #{c : c is among the account's first m cells}``

    Parameters
    ----------
    cells : int (n,)
        Cell of each prompt, in time order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    grid : int (g,)
        Prompt counts m to read at, each from 1 to the account's prompts.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.

    Returns
    -------
    int64 (g,)
        1 to m; never falls with m. Empty for an empty batch.

    Raises
    ------
    ValueError
        The arrays do not fit together, or m is beyond the account's prompts.

    Notes
    -----
    Range: 1 to m; higher = more ground.

    Columns: `distinct` (at m = n)

    References
    ----------
    .. [1] The collector's curve: Gotelli and Colwell (2001), Ecology Letters 4:379.
    """
    visited, cut = checked_segments(cells, offsets, name="cells")
    return _growth_curve(visited, cut, *checked_grid(grid, grid_offsets, np.diff(cut)))


def _growth_curve(
    cells: NDArray[np.int64],
    offsets: NDArray[np.int64],
    grid: NDArray[np.int64],
    grid_offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    reached = np.concatenate([[0], np.cumsum(_first_visits(cells, offsets))])
    start = offsets[:-1][segment_ids(grid_offsets)]
    distinct: NDArray[np.int64] = reached[start + grid] - reached[start]
    return distinct


def _first_visits(cells: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    _, first = np.unique(segment_keys(cells, offsets), return_index=True)
    visits = np.zeros(cells.size, dtype=np.bool_)
    visits[first] = True
    return visits


def checked_grid(
    grid: NDArray[np.integer], grid_offsets: ArrayLike, prompts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a ragged grid as int64 once every point is known to be from 1 to its account's prompts.

    Raises
    ------
    ValueError
        It is not, or the grid is of another number of accounts than `prompts`.
    """
    return ragged.checked_grid(grid, grid_offsets, prompts, segment="account", length="prompts")
