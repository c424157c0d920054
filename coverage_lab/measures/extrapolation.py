"""Cells and coverage of samples larger than the account's own, and cells at a coverage common to all."""

from __future__ import annotations

import numpy as np
from coverage_kernels.log_absence import log_absence
from coverage_kernels.ragged import checked_offsets
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.counts import _tally
from coverage_lab.measures.nulls import Moments, _blocks, _cross
from coverage_lab.measures.ragged import checked_segments, ratio, segment_ids, segment_sum
from coverage_lab.measures.richness import _depletion, _unseen
from coverage_lab.measures.sample_coverage import _abundances

#: Sizes up to this multiple of n are trusted.
FARTHEST = 2


def extrapolation(
    counts: NDArray[np.integer], offsets: ArrayLike, grid: NDArray[np.integer], grid_offsets: ArrayLike
) -> Moments:
    """Return the distinct cells expected once the account has sent m prompts in all, and their variance.

    Formula: ``D(n + m*) = K + f̂₀ (1 − A^{m*})``, ``A = 1 − f₁/(n f̂₀ + f₁)``, ``m* = m − n``, f̂₀ as in `chao1`
    (not bias-corrected); ``Var = Σ_r d_r² f_r − (Σ_r d_r f_r)² / (K + f̂₀)``, ``d_r = ∂D/∂f_r``

    It goes on from `rarefaction`, which ends at ``D(n) = K``. The variance is that of the estimate over
    samples of n prompts, by the delta method, from ``cov(f_r, f_s) = f_r [r = s] − f_r f_s / (K + f̂₀)``: it
    takes the K + f̂₀ cells as falling independently into the classes r, and holds n fixed in the derivatives.
    Those are ``d_r = 1`` for r > 2 and, with ``u = (n−1) f₁``, ``v = 2 f₂``:
    ``d_1 = 1 + (2 f̂₀/f₁)(1 − A^{m*}) − m* A^{m*} (f̂₀ + f₁/n) (n−1) v/(u+v)²``,
    ``d_2 = 1 − (f̂₀/f₂)(1 − A^{m*}) + m* A^{m*} (f̂₀ + f₁/n) 2u/(u+v)²``; where f₂ = 0,
    ``u = (n−1)(f₁−1)``, ``v = 2`` and ``(n−1)/n · (2f₁−1)/2`` for ``2 f̂₀/f₁``.
    In simulations of 100 to 1,000 prompts its root is 0.95 to 1.4 times the true spread at m = 2n (2.3 times
    where hardly a cell is revisited) and up to 4 times at m = n: it errs on the side of caution. It is the
    spread of the estimate alone: where f̂₀ is a lower bound, the mean is low by 1 to 2% at m = 2n.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    grid : int (g,)
        Prompt counts m, each from the account's prompts n to 2n.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.

    Returns
    -------
    mean : float64 (g,)
        K at m = n.
    variance : float64 (g,)
        Both NaN for an account of fewer than 2 prompts.

    Raises
    ------
    ValueError
        The arrays do not fit together, or m is outside n to 2n.

    Notes
    -----
    Range: mean K to K + f̂₀, never falls with m; variance 0 and up.

    References
    ----------
    .. [1] Colwell et al. (2012), J. Plant Ecology 5:3, eq. 9 and 10, with iNEXT's factor (n−1)/n in f̂₀.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    prompts = segment_sum(checked, cut).astype(np.int64)
    return _extrapolation(checked, cut, *_checked_sizes(grid, grid_offsets, prompts, least=prompts))


def _extrapolation(
    counts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    grid: NDArray[np.int64],
    grid_offsets: NDArray[np.int64],
) -> Moments:
    account = segment_ids(grid_offsets)
    n, once, twice = (part[account] for part in _abundances(counts, offsets))
    reached = np.diff(offsets)[account].astype(np.float64)
    further = grid - n
    unseen = _unseen(n, once, twice)
    depletion = _depletion(n, once, twice)
    kept, gone = _geometric(depletion, further)

    paired = twice > 0
    # (u + v)² = (v / depletion)², with v = 2 f₂ or 2.
    v = 2 * np.maximum(twice, 1)
    over_square = (depletion / v) ** 2
    u = (n - 1) * np.where(paired, once, np.maximum(once - 1, 0))
    drift = further * kept * (unseen + ratio(once, n))
    by_once = np.where(paired, 2 * ratio(unseen, once), ratio(n - 1, n) * (2 * once - 1) / 2)
    first = by_once * gone - drift * (n - 1) * v * over_square
    second = drift * 2 * u * over_square - ratio(unseen, twice) * gone
    # Classes without a cell have no variance; their derivatives are not defined.
    first, second = np.where(once > 0, first, 0), np.where(paired, second, 0)
    total = reached + first * once + second * twice
    squares = reached + first * (2 + first) * once + second * (2 + second) * twice
    variance = np.maximum(squares - ratio(total**2, reached + unseen), 0)
    known = n >= 2
    return np.where(known, reached + unseen * gone, np.nan), np.where(known, variance, np.nan)


def _geometric(
    depletion: NDArray[np.float64], power: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``A^power`` and its complement for ``A = 1 − depletion``, each to full precision."""
    # ln 0 would be −inf, and 0 · −inf is not a number.
    log_kept = power * np.log1p(-np.minimum(depletion, 1 - 2**-53))
    some = (depletion < 1) | (power == 0)
    return np.where(some, np.exp(log_kept), 0), np.where(some, -np.expm1(log_kept), 1)


def coverage_curve(
    counts: NDArray[np.integer], offsets: ArrayLike, grid: NDArray[np.integer], grid_offsets: ArrayLike
) -> NDArray[np.float64]:
    """Return the share of the account's own distribution that m of its prompts are expected to reach.

    Formula: ``C(m) = 1 − Σ_c (x_c/n) C(n−x_c, m) / C(n−1, m)`` for m < n; ``C(n + m*) = 1 − (f₁/n) A^{m*+1}``
    from m = n on, A as in `extrapolation`

    Unbiased for m < n; at m = n it is `sample_coverage`; beyond, high rather than low where cells differ much
    (by 0.01 for 300 Zipf cells and 300 prompts at m = 2n).

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    grid : int (g,)
        Prompt counts m, each from 1 to twice the account's prompts n.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.

    Returns
    -------
    float64 (g,)
        NaN for an account of fewer than 2 prompts.

    Raises
    ------
    ValueError
        The arrays do not fit together, or m is outside 1 to 2n.

    Notes
    -----
    Range: 0 (every prompt on new ground) to 1 (nothing left to reach); never falls with m.

    References
    ----------
    .. [1] Chao and Jost (2012), Ecology 93:2533; for m = n and m > n with f₂ = 0 as in iNEXT.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    prompts = segment_sum(checked, cut).astype(np.int64)
    return _coverage_curve(
        checked, cut, *_checked_sizes(grid, grid_offsets, prompts, least=np.ones_like(prompts))
    )


def _coverage_curve(
    counts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    grid: NDArray[np.int64],
    grid_offsets: NDArray[np.int64],
) -> NDArray[np.float64]:
    account = segment_ids(grid_offsets)
    n, once, twice = (part[account] for part in _abundances(counts, offsets))
    kept, _ = _geometric(_depletion(n, once, twice), np.maximum(grid - n, 0) + 1)
    coverage = 1 - ratio(once, n) * kept
    inside = np.flatnonzero(grid < n)
    coverage[inside] = _interpolated(_tally(counts, offsets), account[inside], grid[inside])[1]
    return np.where(n < 2, np.nan, coverage)


def _interpolated(
    tally: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    account: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return D(m) and C(m) for m < n of the account of every point."""
    size, frequency, cut = tally
    prompts = segment_sum(size * frequency, cut).astype(np.int64)
    distinct = np.empty(drawn.size)
    coverage = np.empty(drawn.size)
    for start, stop in _blocks(np.diff(cut)[account]):
        of_point = account[start:stop]
        point, entry, _ = _cross(of_point, cut)
        n, x, m = prompts[of_point][point], size[entry], drawn[start:stop][point]
        log_absent = log_absence(n, x, m)
        distinct[start:stop] = np.bincount(point, frequency[entry] * -np.expm1(log_absent), stop - start)
        # C(n−x, m) / C(n−1, m) = n/(n−m) · C(n−x, m) / C(n, m).
        missed = np.exp(log_absent) * (x / (n - m))
        coverage[start:stop] = 1 - np.bincount(point, frequency[entry] * missed, stop - start)
    return distinct, np.clip(coverage, 0, 1)


def growth_at_coverage(
    counts: NDArray[np.integer], offsets: ArrayLike, *, coverage: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the prompts after which a given share of the distribution is reached, and the cells by then.

    Formula: m with ``C(m) = coverage`` by `coverage_curve` and ``D(m)`` by `rarefaction` or `extrapolation`;
    linear between whole m below n, ``m = n − 1 + ln[n (1 − coverage)/f₁] / ln A`` from n on

    Equal coverage, unlike equal numbers of prompts, is the same part of every account's own ground: the
    account with more cells there has the wider ground, in the ratio in which it is wider.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    coverage : float
        Above 0 and below 1.

    Returns
    -------
    prompts : float64 (accounts,)
        1 where a single prompt is expected to do.
    distinct : float64 (accounts,)
        Both NaN for fewer than 2 prompts, and where 2n prompts would not do.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above, or `coverage` is not above 0 and below 1.

    Notes
    -----
    Range: prompts 1 to 2n, distinct 1 to K + f̂₀; higher = wider ground.

    References
    ----------
    .. [1] Chao and Jost (2012), Ecology 93:2533.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage: expected above 0 and below 1, got {coverage}")
    return _growth_at_coverage(*checked_segments(counts, offsets, name="counts", least=1), float(coverage))


def _growth_at_coverage(
    counts: NDArray[np.int64], offsets: NDArray[np.int64], target: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n, once, twice = _abundances(counts, offsets)
    reached = np.diff(offsets).astype(np.float64)
    prompts = np.full(n.size, np.nan)
    distinct = np.full(n.size, np.nan)
    depletion = _depletion(n, once, twice)
    at_n = 1 - ratio(once, n) * (1 - depletion)

    # Where A is 0 nothing is left after n prompts, and the target lies before.
    beyond = np.flatnonzero((n >= 2) & (at_n < target))
    log_kept = np.log1p(-depletion[beyond])
    further = np.log((1 - target) * n[beyond] / once[beyond]) / log_kept - 1
    further = np.where(further > (FARTHEST - 1) * n[beyond], np.nan, np.maximum(further, 0))
    prompts[beyond] = n[beyond] + further
    unseen = _unseen(n, once, twice)[beyond]
    distinct[beyond] = reached[beyond] - unseen * np.expm1(further * log_kept)

    within = np.flatnonzero((n >= 2) & (at_n >= target))
    prompts[within], distinct[within] = _within(counts, offsets, within, at_n[within], target)
    return prompts, distinct


def _within(
    counts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    account: NDArray[np.int64],
    at_n: NDArray[np.float64],
    target: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bisect for the first whole m with ``C(m) >= target``, all accounts at once; there is one up to n."""
    tally = _tally(counts, offsets)
    n = segment_sum(counts, offsets).astype(np.int64)[account]
    low, high = np.zeros_like(n), n.copy()
    d_low, c_low = np.zeros(n.size), np.zeros(n.size)
    d_high, c_high = np.diff(offsets)[account].astype(np.float64), at_n.copy()
    open_ = np.flatnonzero(high - low > 1)
    while open_.size:
        middle = (low[open_] + high[open_]) // 2
        d, c = _interpolated(tally, account[open_], middle)
        enough = c >= target
        up, down = open_[enough], open_[~enough]
        high[up], d_high[up], c_high[up] = middle[enough], d[enough], c[enough]
        low[down], d_low[down], c_low[down] = middle[~enough], d[~enough], c[~enough]
        open_ = open_[high[open_] - low[open_] > 1]
    share = ratio(target - c_low, c_high - c_low)
    prompts = np.where(high == 1, 1, low + share * (high - low))
    return prompts, np.where(high == 1, 1, d_low + share * (d_high - d_low))


def _checked_sizes(
    grid: NDArray[np.integer],
    grid_offsets: ArrayLike,
    prompts: NDArray[np.int64],
    *,
    least: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a ragged grid as int64 once every point is known to be from `least` to twice the prompts."""
    points = grid.astype(np.int64, copy=False)
    cut = checked_offsets(grid_offsets, points.size, name="grid_offsets")
    if cut.size != prompts.size + 1:
        raise ValueError(f"grid_offsets: expected {prompts.size} accounts, got {cut.size - 1}")
    account = segment_ids(cut)
    wrong = (points < np.maximum(least, 1)[account]) | (points > FARTHEST * prompts[account])
    if wrong.any():
        at = np.flatnonzero(wrong)[0]
        n = prompts[account[at]]
        first = max(least[account[at]], 1)
        raise ValueError(
            f"grid: expected points from {first} to {FARTHEST * n} for {n} prompts, got {points[at]}"
        )
    return points, cut
