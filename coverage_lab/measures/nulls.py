"""Distinct cells that a growth curve is expected to reach: own order, ordinary traffic, uniform sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from coverage_kernels.log_absence import log_absence
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.counts import _tally
from coverage_lab.measures.growth import checked_grid
from coverage_lab.measures.ragged import bounded_runs, checked_segments, segment_ids, segment_sum

Moments = tuple[NDArray[np.float64], NDArray[np.float64]]

#: Half-width of a 95% band in standard deviations.
BAND_SD = 1.96
#: How far reference masses may sum from 1.
MASS_TOLERANCE = 1e-6
#: Floats of one temporary array (4 MB).
_BLOCK = 1 << 19


@dataclass(frozen=True, eq=False)
class Band:
    """A null expectation of D(m) with its 95% band.

    Attributes
    ----------
    mean, low, high : float64 (g,)
        ``low <= mean <= high``, in cells.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def band(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    most: NDArray[np.int64],
) -> Band:
    """Return mean ± 1.96 standard deviations, no lower than 1 and no higher than `most`.

    Parameters
    ----------
    mean, variance : float64 (g,)
        Of D(m).
    most : int (g,)
        The most cells that could have been reached.

    Returns
    -------
    Band
    """
    spread = BAND_SD * np.sqrt(variance)
    # Rounding may leave the mean itself an ulp outside.
    middle = np.clip(mean, 1, most)
    return Band(middle, np.clip(mean - spread, 1, middle), np.clip(mean + spread, middle, most))


def rarefaction(
    counts: NDArray[np.integer],
    offsets: ArrayLike,
    grid: NDArray[np.integer],
    grid_offsets: ArrayLike,
) -> Moments:
    """Return mean and variance of D(m) if the account's own prompts had come in any order alike.

    Formula: ``E = Σ_c (1 − q_c)``,
    ``Var = Σ_c q_c (1 − q_c) + Σ_{b≠c} (q_bc − q_b q_c)``,
    ``q_c = C(n − x_c, m) / C(n, m)``, ``q_bc = C(n − x_b − x_c, m) / C(n, m)``

    The sums run over distinct counts r with their frequencies f_r, of which there are at most √(2n).

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    grid : int (g,)
        Prompt counts m, each from 1 to the account's prompts n = Σ x_c.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.

    Returns
    -------
    mean : float64 (g,)
        1 at m = 1, K at m = n.
    variance : float64 (g,)
        Exact; 0 at m = 1, at m = n, and for accounts of one cell or without a revisit.

    Raises
    ------
    ValueError
        The arrays do not fit together, or m is beyond the account's prompts.

    Notes
    -----
    Range: mean 1 to min(m, K).

    Columns: `own_mean`, `own_low`, `own_high`

    References
    ----------
    .. [1] Hurlbert (1971), Ecology 52:577; Colwell et al. (2012), J. Plant Ecology 5:3, eq. 4. The variance
       is that of a sum of indicators under the multivariate hypergeometric law, as in Heck et al. (1975),
       Ecology 56:1459.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    prompts = segment_sum(checked, cut).astype(np.int64)
    return _rarefaction(checked, cut, *checked_grid(grid, grid_offsets, prompts))


def _rarefaction(
    counts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    grid: NDArray[np.int64],
    grid_offsets: NDArray[np.int64],
) -> Moments:
    prompts = segment_sum(counts, offsets).astype(np.int64)
    size, frequency, cut = _tally(counts, offsets)
    first, second, pair_cut = _pairs(cut)
    weight = np.where(
        first == second,
        frequency[first] * (frequency[first] - 1.0),
        2.0 * frequency[first] * frequency[second],
    )
    marked, of_pair, marked_cut = _distinct_sums(size[first] + size[second], pair_cut)
    account = segment_ids(grid_offsets)
    mean = np.empty(grid.size)
    variance = np.empty(grid.size)
    for start, stop in _blocks(np.diff(pair_cut)[account]):
        point_account, drawn = account[start:stop], grid[start:stop]
        point, entry, entry_cut = _cross(point_account, cut)
        of_point = prompts[point_account]
        log_absent = log_absence(of_point[point], size[entry], drawn[point])
        absent = np.exp(log_absent)
        mean[start:stop] = np.bincount(point, frequency[entry] * -np.expm1(log_absent), stop - start)
        variance[start:stop] = np.bincount(point, frequency[entry] * absent * (1 - absent), stop - start)

        # Many pairs have the same sum, whose chance costs far more than what is made of it.
        point, entry, marked_start = _cross(point_account, marked_cut)
        log_both = log_absence(of_point[point], marked[entry], drawn[point])
        point, pair, _ = _cross(point_account, pair_cut)
        # Sizes rise within an account: where the second of a pair can be absent, so can the first.
        alive = size[second[pair]] + drawn[point] <= of_point[point]
        point, pair = point[alive], pair[alive]
        one, other = first[pair], second[pair]
        shift = entry_cut[point] - cut[point_account[point]]
        log_product = log_absent[one + shift] + log_absent[other + shift]
        both = of_pair[pair] + (marked_start - marked_cut[point_account])[point]
        covariance = np.exp(log_product) * np.expm1(log_both[both] - log_product)
        variance[start:stop] += np.bincount(point, weight[pair] * covariance, stop - start)

    reached = np.diff(offsets)[account]
    total = prompts[account]
    fixed = (grid <= 1) | (grid == total) | (reached == 1) | (reached == total)
    return mean, np.where(fixed, 0.0, np.maximum(variance, 0))


def _pairs(cut: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs first <= second of entries of one segment, with the offsets of the pairs."""
    lengths = np.diff(cut)
    entry = np.arange(cut[-1])
    partners = np.repeat(cut[1:], lengths) - entry
    first = np.repeat(entry, partners)
    second = first + np.arange(first.size) - np.repeat(np.cumsum(partners) - partners, partners)
    return first, second, np.concatenate([[0], np.cumsum(lengths * (lengths + 1) // 2)])


def _distinct_sums(
    sums: NDArray[np.int64], cut: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct values of each segment, which of all of them each one is, and their offsets."""
    span = int(sums.max(initial=0)) + 1
    keys, which = np.unique(segment_ids(cut) * span + sums, return_inverse=True)
    return keys % span, which, np.searchsorted(keys, np.arange(cut.size) * span)


def _cross(
    account: NDArray[np.int64], cut: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return every point with every entry of its account: the points, the entries, each point's start."""
    lengths = np.diff(cut)[account]
    start = np.cumsum(lengths) - lengths
    point = np.repeat(np.arange(account.size), lengths)
    entry = np.arange(point.size) - start[point] + cut[account[point]]
    return point, entry, start


def _blocks(items: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Return ranges of points that hold at most `_BLOCK` items each, or are one point that has more."""
    return bounded_runs(np.concatenate([[0], np.cumsum(items)]), _BLOCK)


def reference_growth(mass: NDArray[np.floating], m: NDArray[np.integer]) -> Moments:
    """Return mean and variance of D(m) if m prompts were drawn from ordinary traffic.

    Formula: ``E = Σ_c [1 − (1 − p_c)^m]``,
    ``Var ≈ Σ_c a_c (1 − a_c) − m [(Σ_c v_c)² − Σ_c v_c²]``,
    ``a = (1 − p)^m``, ``v = p (1 − p)^{m−1}``

    The mean is exact. The variance takes each pair's covariance to first order in p_b p_c; it is exact for
    m = 1. The standard deviation comes out low, never high: by less than 0.15 cells for two equal cells, less
    than 0.04 from ten cells up, and by less than 1% for a thousand cells.

    Parameters
    ----------
    mass : float (cells,)
        p_c, 0 and up, sum 1.
    m : int (g,)
        Prompts, 0 and up.

    Returns
    -------
    mean, variance : float64 (g,)
        0 and 0 at m = 0.

    Raises
    ------
    ValueError
        The masses are negative, NaN or do not sum to 1, or an m is negative.

    Notes
    -----
    Range: mean 0 to min(m, cells).

    Columns: `reference_mean`, `reference_low`, `reference_high`

    References
    ----------
    .. [1] The classical occupancy problem (Johnson and Kotz 1977, Urn Models) with unequal cells; covariance
       from ``(1 − p_b − p_c)^m ≈ a_b a_c − m v_b v_c``.
    """
    return _reference_growth(checked_mass(mass), _checked_draws(m))


def _reference_growth(mass: NDArray[np.float64], m: NDArray[np.int64]) -> Moments:
    # ln(1 − p) of a cell that holds all traffic would be −inf, and 0 · −inf is not a number.
    log_missed = np.log1p(-np.minimum(mass, 1 - 2**-53))
    mean = np.empty(m.size)
    variance = np.empty(m.size)
    step = max(1, _BLOCK // max(1, mass.size))
    for start in range(0, m.size, step):
        draws = m[start : start + step, None]
        log_absent = draws * log_missed
        absent = np.exp(log_absent)
        once = mass * np.exp(log_absent - log_missed)
        pairs = once.sum(axis=1) ** 2 - (once * once).sum(axis=1)
        mean[start : start + step] = -np.expm1(log_absent).sum(axis=1)
        variance[start : start + step] = (absent * (1 - absent)).sum(axis=1) - draws[:, 0] * pairs
    return mean, np.maximum(variance, 0)


def uniform_growth(cells: int, m: NDArray[np.integer]) -> Moments:
    """Return mean and variance of D(m) of a uniform sweep: m independent draws, all cells alike.

    Formula: ``E = K (1 − a)``, ``Var = K a (1 − a) + K (K − 1)(b − a²)``,
    ``a = (1 − 1/K)^m``, ``b = (1 − 2/K)^m``

    Parameters
    ----------
    cells : int
        K, 1 and up.
    m : int (g,)
        Prompts, 0 and up.

    Returns
    -------
    mean, variance : float64 (g,)
        Exact; 0 and 0 at m = 0.

    Raises
    ------
    ValueError
        `cells` is below 1 or an m is negative.

    Notes
    -----
    Range: mean 0 to min(m, K).

    Columns: `uniform_mean`, `uniform_low`, `uniform_high`

    References
    ----------
    .. [1] The classical occupancy problem: Johnson and Kotz (1977), Urn Models.
    """
    if cells < 1:
        raise ValueError(f"cells: expected 1 or more, got {cells}")
    return _uniform_growth(cells, _checked_draws(m))


def _uniform_growth(cells: int, m: NDArray[np.int64]) -> Moments:
    if cells == 1:
        return np.minimum(m, 1).astype(np.float64), np.zeros(m.size)
    log_absent = m * np.log1p(-1 / cells)
    absent = np.exp(log_absent)
    # b/a² = [1 − 1/(K − 1)²]^m: its logarithm keeps the digits that b − a² would lose. At K = 2, b is 0.
    log_ratio = np.log1p(-1 / (cells - 1) ** 2) if cells > 2 else -np.inf
    covariance = absent**2 * np.expm1(np.where(m > 0, m, 1) * log_ratio) * (m > 0)
    variance = cells * absent * (1 - absent) + cells * (cells - 1.0) * covariance
    return -cells * np.expm1(log_absent), np.maximum(variance, 0) * (m > 1)


def checked_mass(mass: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return reference masses as float64 once they are known to be probabilities of cells.

    Raises
    ------
    ValueError
        They are not one-dimensional, are negative or NaN, or do not sum to 1 within 1e−6.
    """
    checked = np.asarray(mass, dtype=np.float64)
    if checked.ndim != 1 or not np.all(checked >= 0):
        raise ValueError(f"mass: expected numbers of 0 and up, shape (cells,), got shape {checked.shape}")
    if not abs(checked.sum() - 1) <= MASS_TOLERANCE:
        raise ValueError(f"mass: expected a sum of 1, got {checked.sum():.9g}")
    return checked


def _checked_draws(m: NDArray[np.integer]) -> NDArray[np.int64]:
    if m.ndim != 1 or not np.issubdtype(m.dtype, np.integer):
        raise ValueError(f"m: expected integers of shape (g,), got {m.dtype} of shape {m.shape}")
    if m.size and m.min() < 0:
        raise ValueError(f"m: expected 0 or more, got {m.min()}")
    return m.astype(np.int64, copy=False)
