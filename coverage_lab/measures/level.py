"""All measures and curves of many accounts on one level of the atlas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.collisions import _collisions
from coverage_lab.measures.counts import _tally
from coverage_lab.measures.growth import GRID_POINTS, _growth_curve, curve_grids
from coverage_lab.measures.hill import evenness
from coverage_lab.measures.nulls import (
    Band,
    Moments,
    _rarefaction,
    _reference_growth,
    _uniform_growth,
    band,
    checked_mass,
)
from coverage_lab.measures.order import order_z
from coverage_lab.measures.pitman_yor import pitman_yor
from coverage_lab.measures.ragged import checked_segments, ratio, segment_ids
from coverage_lab.measures.runs import _runs
from coverage_lab.measures.sample_coverage import new_slope, sample_coverage
from coverage_lab.measures.uniformity import _scatter

#: Discounts are held at −1: how far below a uniform sweep lies is chance (see `pitman_yor`).
LOWEST_DISCOUNT = -1.0


@dataclass(frozen=True, eq=False)
class GrowthCurves:
    """Growth curves of many accounts with their three nulls, one row per account and point.

    Attributes
    ----------
    account : int64 (g,)
        Position of the account in the batch, rising.
    n : int64 (g,)
        Prompts, rising within an account from 1 to all of them.
    distinct : int64 (g,)
        Cells reached after n prompts.
    own : Band
        The account's own prompts in any order (`rarefaction`).
    reference : Band
        Ordinary traffic (`reference_growth`).
    uniform : Band
        A uniform sweep (`uniform_growth`).
    """

    account: NDArray[np.int64]
    n: NDArray[np.int64]
    distinct: NDArray[np.int64]
    own: Band
    reference: Band
    uniform: Band


def level_measures(
    cells: NDArray[np.integer], offsets: ArrayLike, mass: NDArray[np.floating]
) -> dict[str, NDArray[np.float64]]:
    """Return every measure of one level for every account.

    Formula: `distinct` = D(n); `growth_vs_reference` = ``ln[D(n) / E_reference(n)]``;
    `growth_vs_uniform` = ``D(n) / E_uniform(n)``; `discount` is held at −1; the others as in their own rows

    Parameters
    ----------
    cells : int (n,)
        Cell of each prompt, in time order within each account, below the number of masses.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    mass : float (cells,)
        p_c of ordinary traffic, 0 and up, sum 1.

    Returns
    -------
    dict of float64 (accounts,)
        Keys `distinct`, `sample_coverage`, `new_slope`, `collision_ratio`, `collision_z`,
        `growth_vs_reference`, `growth_vs_uniform`, `order_z`, `return_z`, `evenness`, `dispersion_z`,
        `discount`. An empty account has 0 distinct cells and NaN elsewhere; a single prompt leaves all but
        the growth, the slope and the dispersion NaN.

    Raises
    ------
    ValueError
        `cells`, `offsets` or `mass` are not as above.

    Notes
    -----
    Range: `growth_vs_reference` any, above 0 = more ground than ordinary traffic; `growth_vs_uniform` above
    0, 1 = as a uniform sweep.

    Columns: `distinct`, `growth_vs_reference`, `growth_vs_uniform`

    References
    ----------
    .. [1] Of the ratios: this project. Of the nulls: see `reference_growth`, `uniform_growth`.
    """
    visited, cut, masses = _checked_level(cells, offsets, mass)
    reached, counts, count_offsets = _tally(visited, cut)
    prompts = np.diff(cut)
    distinct = np.diff(count_offsets).astype(np.float64)
    reference, _ = _each_once(lambda m: _reference_growth(masses, m), prompts)
    uniform, _ = _each_once(lambda m: _uniform_growth(masses.size, m), prompts)
    collision_ratio, collision_z = _collisions(counts, count_offsets, masses)
    with_prompts = prompts > 0
    growth = ratio(distinct, reference)
    return {
        "distinct": distinct,
        "sample_coverage": sample_coverage(counts, count_offsets),
        "new_slope": new_slope(counts, count_offsets),
        "collision_ratio": collision_ratio,
        "collision_z": collision_z,
        "growth_vs_reference": np.log(growth, out=np.full(growth.shape, np.nan), where=with_prompts),
        "growth_vs_uniform": ratio(distinct, uniform),
        "order_z": order_z(visited, cut),
        "return_z": _runs(visited, cut).z,
        "evenness": evenness(counts, count_offsets),
        "dispersion_z": _scatter(reached, counts, count_offsets, masses).z(),
        "discount": np.maximum(pitman_yor(counts, count_offsets).discount, LOWEST_DISCOUNT),
    }


def growth_curves(
    cells: NDArray[np.integer],
    offsets: ArrayLike,
    mass: NDArray[np.floating],
    *,
    points: int = GRID_POINTS,
) -> GrowthCurves:
    """Return the growth curve of every account on one level, with its three nulls.

    Parameters
    ----------
    cells : int (n,)
        Cell of each prompt, in time order within each account, below the number of masses.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    mass : float (cells,)
        p_c of ordinary traffic, 0 and up, sum 1.
    points : int
        Points per account at most, 2 or more (`curve_grid`).

    Returns
    -------
    GrowthCurves
        Bands lie within 1 and the most cells that n prompts can reach. Empty accounts have no rows.

    Raises
    ------
    ValueError
        `cells`, `offsets` or `mass` are not as above, or `points` is below 2.
    """
    visited, cut, masses = _checked_level(cells, offsets, mass)
    grid, grid_offsets = curve_grids(np.diff(cut), points=points)
    _, counts, count_offsets = _tally(visited, cut)
    account = segment_ids(grid_offsets)
    reached = np.diff(count_offsets)[account]
    return GrowthCurves(
        account=account,
        n=grid,
        distinct=_growth_curve(visited, cut, grid, grid_offsets),
        own=band(*_rarefaction(counts, count_offsets, grid, grid_offsets), np.minimum(grid, reached)),
        reference=band(
            *_each_once(lambda m: _reference_growth(masses, m), grid),
            np.minimum(grid, np.count_nonzero(masses)),
        ),
        uniform=band(
            *_each_once(lambda m: _uniform_growth(masses.size, m), grid), np.minimum(grid, masses.size)
        ),
    )


def _checked_level(
    cells: NDArray[np.integer], offsets: ArrayLike, mass: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    visited, cut = checked_segments(cells, offsets, name="cells")
    masses = checked_mass(mass)
    if visited.size and visited.max() >= masses.size:
        raise ValueError(f"cells: expected below the {masses.size} masses, got {visited.max()}")
    return visited, cut, masses


def _each_once(null: Callable[[NDArray[np.int64]], Moments], m: NDArray[np.int64]) -> Moments:
    """Return a null of m alone at every m, computed once for equal ones."""
    distinct, which = np.unique(m, return_inverse=True)
    mean, variance = null(distinct)
    return mean[which], variance[which]
