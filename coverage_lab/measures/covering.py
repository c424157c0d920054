"""How many balls of a given radius an account's prompts need, and how empty the ground near a repeat is.

Radii are cosine distances: δ(x, y) = 1 − x · y of unit vectors, so that √(2δ) is the straight-line distance.

One edge policy for the family. A novelty of NaN is a prompt without an earlier one: it opens new ground at
every radius, and `lower_tail` leaves it out. A ball is closed: a novelty equal to the radius is covered.
Shares and gaps are half-open: a novelty equal to the radius is not below it. An empty account has an empty
curve and NaN shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from coverage_kernels.ragged import checked_offsets
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.growth import checked_grid
from coverage_lab.measures.ragged import ratio, segment_ids, segment_sum

#: Radii that curves and shares are read at; the last is that of loosely related prompts.
RADII = (0.05, 0.1, 0.2, 0.4)
#: Radius of the hole: prompts closer than this to an earlier one are near repeats.
HOLE = 0.1
#: Novelty up to this is a repeat to the letter: float32 products of unit rows round by about 1e−6.
REPEAT = 1e-5
#: Added to both counts of the hole, so that no evidence gives 0 and not a division by zero.
_PRIOR = 0.5


def separated_growth(
    novelty: NDArray[np.floating],
    offsets: ArrayLike,
    grid: NDArray[np.integer],
    grid_offsets: ArrayLike,
    *,
    radii: Sequence[float] = RADII,
) -> NDArray[np.int64]:
    """Return how many of an account's first m prompts lay further than r from all before them.

    Formula: ``A_r(m) = #{i ≤ m : i is the first, or novelty_i > r}``, with
    ``L_r ≤ A_r ≤ G_r ≤ P_r`` and ``A_4r ≤ N_r``

    These prompts are more than r apart from each other. So they are no more than the largest such set (the
    packing number P_r) and no more than an online r-net keeps (G_r: a prompt is kept if no *kept* one is
    within r); they are no fewer than the groups that single linkage leaves at height r (L_r). They need not
    cover the prompts: a drift in small steps has ``A_r = 1``, however far it goes. Two of them that are more
    than 4r apart never share a ball of radius r, so ``A_4r`` bounds the covering number N_r from below;
    `cover_growth` bounds it from above.

    Parameters
    ----------
    novelty : float (n,)
        As `novelty` gives it, 0 to 2 or NaN, in time order within each account.
    offsets : int (accounts + 1,)
        Account a has ``novelty[offsets[a]:offsets[a + 1]]``.
    grid : int (g,)
        Prompt counts m to read at, each from 1 to the account's prompts.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.
    radii : sequence of float
        r, cosine distances of 0 and up.

    Returns
    -------
    int64 (radii, g)
        1 to m; never falls with m, never rises with r.

    Raises
    ------
    ValueError
        The arrays do not fit together, a novelty is outside 0 to 2, or a radius is negative or NaN.

    Examples
    --------
    >>> novelty = np.array([np.nan, 0.3, 0.1, 0.6])
    >>> separated_growth(novelty, [0, 4], np.array([2, 4]), [0, 2], radii=[0.2, 0.5]).tolist()
    [[2, 3], [1, 2]]

    Notes
    -----
    Range: 1 (all in one chain of steps up to r) to m (no prompt within r of an earlier one); higher = more
    ground at that resolution.

    References
    ----------
    .. [1] Covering and packing numbers: Kolmogorov and Tikhomirov (1959), Uspekhi Mat. Nauk 14:3; of the
       bounds by causal novelty: this project.
    """
    checked, cut = _checked_novelty(novelty, offsets)
    points, point_cut = checked_grid(grid, grid_offsets, np.diff(cut))
    limits = _checked_radii(radii)
    opened = (_opens(checked, limit) for limit in limits.tolist())
    return _curves(opened, limits.size, cut, points, point_cut)


def cover_growth(
    novelty: NDArray[np.floating],
    nearest: NDArray[np.integer],
    offsets: ArrayLike,
    grid: NDArray[np.integer],
    grid_offsets: ArrayLike,
    *,
    radii: Sequence[float] = RADII,
) -> NDArray[np.int64]:
    """Return how many of an account's first m prompts are enough centres for balls of radius r.

    Formula: ``U_r(m) = #{i ≤ m : b_i = 0 by opening}``, ``b_i = s_i + b_nearest(i)`` with
    ``s_i = √(2 novelty_i)`` where that is up to ``√(2r)``, else i opens a ball and ``b_i = 0``;
    ``A_4r ≤ N_r ≤ U_r`` and ``A_r ≤ U_r ≤ m``

    ``b_i`` bounds the straight-line distance of a prompt to the centre that its chain of nearest earlier
    prompts leads to (triangle inequality). So the balls about the opened prompts cover all: U_r is never
    below the covering number N_r, and it needs no vectors.

    Parameters
    ----------
    novelty : float (n,)
        As `novelty` gives it, 0 to 2 or NaN, in time order within each account.
    nearest : int (n,)
        As `novelty` gives it: an earlier row of the same account; −1 exactly where `novelty` is NaN.
    offsets : int (accounts + 1,)
        Account a has rows ``offsets[a]:offsets[a + 1]``.
    grid : int (g,)
        Prompt counts m to read at, each from 1 to the account's prompts.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.
    radii : sequence of float
        r, cosine distances of 0 and up.

    Returns
    -------
    int64 (radii, g)
        1 to m; never falls with m.

    Raises
    ------
    ValueError
        The arrays do not fit together, a novelty is outside 0 to 2, a nearest row is not an earlier one of
        the same account, or a radius is negative or NaN.

    Notes
    -----
    Range: 1 (one ball holds all) to m (no prompt within r of an earlier one); higher = more ground. Time
    grows with the longest chain of nearest prompts: about ln n links in ordinary traffic, n at worst.

    References
    ----------
    .. [1] Covering numbers: Kolmogorov and Tikhomirov (1959), Uspekhi Mat. Nauk 14:3; of the bound by chains
       of nearest prompts: this project.
    """
    checked, cut = _checked_novelty(novelty, offsets)
    links = _checked_nearest(nearest, checked, cut)
    points, point_cut = checked_grid(grid, grid_offsets, np.diff(cut))
    limits = _checked_radii(radii)
    opened = _opened_balls(checked, links, limits)
    return _curves(opened, limits.size, cut, points, point_cut)


def _opens(novelty: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    # "Not within" and not "beyond": NaN is the first prompt, which always opens new ground.
    return ~(novelty <= radius)


def _opened_balls(
    novelty: NDArray[np.float64], nearest: NDArray[np.int64], radii: NDArray[np.float64]
) -> NDArray[np.bool_]:
    step = np.sqrt(2 * novelty)
    limit = np.sqrt(2 * radii)[:, None]
    opened = np.broadcast_to(nearest < 0, (radii.size, nearest.size)).copy()
    reach = np.zeros(opened.shape)
    depth = _depth(nearest)
    by_depth = np.argsort(depth, kind="stable")
    ends = np.cumsum(np.bincount(depth))
    # A prompt's nearest is one link less deep, so each level needs only the one before.
    for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        rows = by_depth[begin:end]
        along = step[rows] + reach[:, nearest[rows]]
        opened[:, rows] = along > limit
        reach[:, rows] = np.where(opened[:, rows], 0, along)
    return opened


def _depth(nearest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many links lead from each row to one without a nearest row, by doubling the links."""
    linked = nearest >= 0
    depth = linked.astype(np.int64)
    ahead = np.where(linked, nearest, np.arange(nearest.size))
    while np.any(depth[ahead] > 0):
        depth = depth + depth[ahead]
        ahead = ahead[ahead]
    return depth


def _curves(
    opened: Iterable[NDArray[np.bool_]],
    radii: int,
    offsets: NDArray[np.int64],
    grid: NDArray[np.int64],
    grid_offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    start = offsets[:-1][segment_ids(grid_offsets)]
    growth = np.empty((radii, grid.size), dtype=np.int64)
    for radius, flags in enumerate(opened):
        reached = np.concatenate([[0], np.cumsum(flags)])
        growth[radius] = reached[start + grid] - reached[start]
    return growth


def lower_tail(
    novelty: NDArray[np.floating],
    offsets: ArrayLike,
    *,
    radii: Sequence[float] = RADII,
    hole: float = HOLE,
    exponent: float = 1.0,
    repeat: float | None = REPEAT,
) -> dict[str, NDArray[np.float64]]:
    """Return the shares of novelties below several radii, and how empty the ground near a repeat is.

    Formula: `novelty_below_r` = ``#{v < r} / #{v}``; `novelty_hole` = ``ln[(a + ½) / (e + ½)]`` with
    ``a = #{v < h}``, ``e = #{h ≤ v < 2h} / (2^k − 1)``, over the novelties v that are no repeats

    If the count of novelties up to v grew as v^k, e is what the ring from h to 2h lets expect below h. People
    rephrase and correct: a is near e or above. A harvest that drops near duplicates cuts the tail off: a is
    near 0 while e is not.

    Parameters
    ----------
    novelty : float (n,)
        As `novelty` gives it, 0 to 2; NaN is left out.
    offsets : int (accounts + 1,)
        Account a has ``novelty[offsets[a]:offsets[a + 1]]``.
    radii : sequence of float
        r, cosine distances of 0 and up.
    hole : float
        h, above 0.
    exponent : float
        k, above 0; 1 = as many novelties in each stretch of the same length.
    repeat : float or None
        Novelties up to this are repeats and left out of all counts; None keeps them.

    Returns
    -------
    dict of float64 (accounts,)
        Keys `novelty_below_r` for each r (``novelty_below_0.05``) and `novelty_hole`; NaN where no novelty is
        left.

    Raises
    ------
    ValueError
        The arrays do not fit together, a novelty is outside 0 to 2, a radius is negative or NaN, or `hole` or
        `exponent` is not above 0.

    Notes
    -----
    Range: shares 0 (no near repeat) to 1; hole any, below 0 = fewer near repeats than the ring around them
    lets expect (cut off), 0 = as many or no evidence, above 0 = more (templates).

    Columns: `novelty_hole`

    References
    ----------
    .. [1] The power law of nearest distances: Levina and Bickel (2004), NeurIPS 17. Of the hole: this
       project.
    """
    checked, cut = _checked_novelty(novelty, offsets)
    limits = _checked_radii(radii)
    if not 0 < hole < np.inf:
        raise ValueError(f"hole: expected a number above 0, got {hole}")
    if not 0 < exponent < np.inf:
        raise ValueError(f"exponent: expected a number above 0, got {exponent}")
    used = ~np.isnan(checked) if repeat is None else checked > repeat
    return _lower_tail(np.where(used, checked, np.inf), cut, limits, hole, exponent)


def _lower_tail(
    novelty: NDArray[np.float64],
    offsets: NDArray[np.int64],
    radii: NDArray[np.float64],
    hole: float,
    exponent: float,
) -> dict[str, NDArray[np.float64]]:
    size = segment_sum(novelty < np.inf, offsets)
    shares = {f"novelty_below_{r:g}": ratio(segment_sum(novelty < r, offsets), size) for r in radii.tolist()}
    near = segment_sum(novelty < hole, offsets)
    expected = segment_sum((novelty >= hole) & (novelty < 2 * hole), offsets) / np.expm1(exponent * np.log(2))
    gap = np.log((near + _PRIOR) / (expected + _PRIOR))
    return shares | {"novelty_hole": np.where(size > 0, gap, np.nan)}


def _checked_novelty(
    novelty: NDArray[np.floating], offsets: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if novelty.ndim != 1 or not np.issubdtype(novelty.dtype, np.floating):
        raise ValueError(f"novelty: expected floats of shape (n,), got {novelty.dtype} of {novelty.shape}")
    if np.any((novelty < 0) | (novelty > 2)):
        raise ValueError(
            f"novelty: expected 0 to 2 or NaN, got {np.nanmin(novelty):g} to {np.nanmax(novelty):g}"
        )
    return novelty.astype(np.float64, copy=False), checked_offsets(offsets, novelty.size)


def _checked_nearest(
    nearest: NDArray[np.integer], novelty: NDArray[np.float64], offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    if nearest.shape != novelty.shape or not np.issubdtype(nearest.dtype, np.integer):
        raise ValueError(
            f"nearest: expected integers of shape {novelty.shape}, got {nearest.dtype} of {nearest.shape}"
        )
    links = nearest.astype(np.int64, copy=False)
    alone = np.isnan(novelty)
    if np.any((links < 0) != alone):
        raise ValueError("nearest: expected -1 exactly where novelty is NaN, got another row")
    start = offsets[:-1][segment_ids(offsets)]
    if np.any(~alone & ((links < start) | (links >= np.arange(links.size)))):
        raise ValueError("nearest: expected an earlier row of the same account, got another row")
    return links


def _checked_radii(radii: Sequence[float]) -> NDArray[np.float64]:
    checked = np.asarray(radii, dtype=np.float64)
    if checked.ndim != 1 or not np.all((checked >= 0) & (checked < np.inf)):
        raise ValueError(f"radii: expected finite numbers of 0 and up, got {list(radii)}")
    return checked
