"""Whether an account covers its ground more evenly, or less, than independent draws from ordinary traffic.

Two statistics with exact moments. Same-cell pairs weigh every cell alike and ask whether ground is revisited
less (or more) than by people. Pearson's dispersion weighs a cell by 1/p_c and asks whether the counts keep
closer to ordinary traffic's shares than chance would let them, as quotas do.

p-values are approximate: the Pearson III law with the exact first three moments, with half a step of
correction for counts being whole numbers. Simulated at their own null with 2 to 3,000 prompts, uniform,
Dirichlet and Zipf masses, the share of accounts below 0.01, 0.05 and 0.2 was at most 0.015, 0.06 and 0.27,
except in the upper tail of the pairs where a handful of values holds all chance: 0.08 below 0.05 for 5
prompts on Zipf masses of exponent 1.5, 0.12 for 20 prompts on two cells. Where the null's skewness is beyond
1 (few prompts, or cells of very rare traffic) the lower tail is conservative: it may never fall below 0.05.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.collisions import _collision_moments, _same_cell_pairs
from coverage_lab.measures.nulls import checked_mass
from coverage_lab.measures.pearson3 import pearson3_tails
from coverage_lab.measures.ragged import checked_segments, ratio, segment_sum

#: Masses below this count as 0: their inverse squares would leave the range of float64.
LEAST_MASS = 1e-100


def collision_tails(
    counts: NDArray[np.integer], offsets: ArrayLike, mass: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the chances of so few, and of so many, same-cell pairs in independent draws of ordinary traffic.

    Formula: ``P(C <= c)`` and ``P(C >= c)``, ``C = Σ_c x_c (x_c − 1)/2``, by the Pearson III law with the
    exact mean, variance and third moment of C, at c ± ½

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    mass : float (cells,)
        p_c of ordinary traffic, 0 and up, sum 1.

    Returns
    -------
    few : float64 (accounts,)
    many : float64 (accounts,)
        Both NaN for fewer than 2 prompts, and where all mass is in one cell.

    Raises
    ------
    ValueError
        `counts`, `offsets` or `mass` are not as above.

    Notes
    -----
    Range: both 0 to 1; few near 0 = ground is revisited less than by people (a sweep), many near 0 = more (a
    narrow task). Approximate; see the module for how well they hold.

    References
    ----------
    .. [1] The moments are those of a U-statistic of order two (Hoeffding 1948, Ann. Math. Statist. 19:293);
       the law, Pearson (1895), Phil. Trans. A 186:343.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    return _collision_tails(checked, cut, checked_mass(mass))


def _collision_tails(
    counts: NDArray[np.int64], offsets: NDArray[np.int64], mass: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    prompts = segment_sum(counts, offsets)
    same = _same_cell_pairs(counts, offsets)
    mean, variance = _collision_moments(prompts, mass)
    sd = np.sqrt(variance)
    skewness = ratio(_collision_third(prompts, mass), variance * sd)
    few, _ = pearson3_tails(ratio(same + 0.5 - mean, sd), skewness)
    _, many = pearson3_tails(ratio(same - 0.5 - mean, sd), skewness)
    return few, many


def _collision_third(prompts: NDArray[np.float64], mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the third central moment of same-cell pairs, through their Hoeffding decomposition.

    ``C − E C = (n − 1) Σ_i g(c_i) + Σ_{i<j} w(c_i, c_j)`` with ``g(c) = p_c − S₂`` and
    ``w = 1{same} − p_c − p_c' + S₂``; every product whose factors leave a prompt alone has mean 0.
    """
    s2, s3, s4 = (mass**2).sum(), (mass**3).sum(), (mass**4).sum()
    g = mass - s2
    g2, g3 = (mass * g**2).sum(), (mass * g**3).sum()
    ggw = (mass**2 * g**2).sum()
    gww = (1 + 2 * s2) * g2 - 3 * (mass**3 * g).sum()
    www = s2 - s2**3 - 6 * s2 * g2 - 2 * g3 + 3 * (s2**3 - 4 * s2 * s3 + 4 * s4) + 3 * (s2**2 - 2 * s3)
    triangle = s3 - 3 * s4 + 3 * s2 * s3 - s2**3
    rest = prompts - 1
    inner = rest**2 * g3 + 3 * rest**2 * ggw + 3 * rest * gww + www / 2 + (prompts - 2) * triangle
    third: NDArray[np.float64] = prompts * rest * inner
    return third


def dispersion(
    cells: NDArray[np.integer],
    counts: NDArray[np.integer],
    offsets: ArrayLike,
    mass: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how far the counts scatter about ordinary traffic's shares, and how likely so little scatter is.

    Formula: ``X²/(k − 1)``, ``(X² − (k − 1))/√Var`` and ``P(X² <= x)``, with
    ``X² = Σ_c (x_c − n p_c)²/(n p_c)`` over the k cells with mass,
    ``Var = 2(k − 1) + (Σ_c 1/p_c − k² − 2k + 2)/n``; P by the Pearson III law with the exact third moment

    Only the cells reached are visited, since ``X² = Σ_c x_c²/(n p_c) − n``.

    Parameters
    ----------
    cells : int (k,)
        Cells reached, as `cell_counts` gives them, each below the number of masses.
    counts : int (k,)
        x_c, 1 and up.
    offsets : int (accounts + 1,)
        Account a has ``cells[offsets[a]:offsets[a + 1]]``, and so for `counts`.
    mass : float (cells,)
        p_c of ordinary traffic, 0 and up, sum 1; below 1e−100 counts as 0.

    Returns
    -------
    ratio : float64 (accounts,)
    z : float64 (accounts,)
    even : float64 (accounts,)
        All NaN for fewer than 2 prompts, and where all mass is in one cell; ∞, ∞ and 1 for an account with a
        prompt where ordinary traffic has none.

    Raises
    ------
    ValueError
        The arrays are not as above or do not fit together.

    Notes
    -----
    Range: ratio 0 and up, 1 expected of ordinary traffic; z any; even 0 to 1, near 0 = more even than
    independent draws from ordinary traffic. With many prompts a cell, that is quotas; with fewer prompts than
    cells, it tells only that rare cells are avoided, so read it at the coarse levels. Approximate; see the
    module for how well it holds.

    Columns: `dispersion_z`

    References
    ----------
    .. [1] Pearson (1900), Phil. Mag. 50:157; the variance, Haldane (1937), Biometrika 29:133. Lower tail as a
       test of too good a fit: Fisher (1936), Annals of Science 1:115.
    """
    visited, cut = checked_segments(cells, offsets, name="cells")
    checked, _ = checked_segments(counts, offsets, name="counts", least=1)
    masses = checked_mass(mass)
    if visited.size and visited.max() >= masses.size:
        raise ValueError(f"cells: expected below the {masses.size} masses, got {visited.max()}")
    found = _scatter(visited, checked, cut, masses)
    half_a_step = found.revisit / 2
    even, _ = pearson3_tails(ratio(found.statistic + half_a_step - found.mean, found.sd), found.skewness)
    return ratio(found.statistic, found.mean), found.z(), even


class _Scatter(NamedTuple):
    """X² of every account, and what draws of ordinary traffic would make it, each (accounts,)."""

    statistic: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    skewness: NDArray[np.float64]
    #: By how much a revisit raises it: 2/(n p_c), on average over the cells that it may be in 2/(n S₂).
    revisit: NDArray[np.float64]

    def z(self) -> NDArray[np.float64]:
        return ratio(self.statistic - self.mean, self.sd)


def _scatter(
    cells: NDArray[np.int64],
    counts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    mass: NDArray[np.float64],
) -> _Scatter:
    known = mass >= LEAST_MASS
    inverse = np.full(mass.shape, np.inf)
    inverse[known] = 1 / mass[known]
    prompts = segment_sum(counts, offsets)
    n = np.where(prompts >= 2, prompts, np.nan)
    variance, third = _dispersion_moments(n, mass[known])
    sd = np.sqrt(variance)
    return _Scatter(
        statistic=segment_sum(counts.astype(np.float64) ** 2 * inverse[cells], offsets) / n - n,
        mean=np.full(n.shape, np.count_nonzero(known) - 1.0),
        sd=sd,
        skewness=ratio(third, variance * sd),
        revisit=2 / (n * (mass**2).sum()),
    )


def _dispersion_moments(
    n: NDArray[np.float64], mass: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return variance and third central moment of X², through its Hoeffding decomposition.

    ``n (X² − (k − 1)) = Σ_i v(c_i) + 2 Σ_{i<j} w(c_i, c_j)`` with ``v(c) = 1/p_c − k`` and
    ``w = 1{same}/p_c − 1``, of which ``E[w | c] = 0`` and the k − 1 eigenvalues are all 1.
    """
    cells = mass.size
    v = 1 / mass - cells
    v2, v3 = (mass * v**2).sum(), (mass * v**3).sum()
    www = (1 / mass).sum() - 3 * cells + 2
    variance = v2 / n + 2 * (cells - 1) * (1 - 1 / n)
    pairs, triples = n * (n - 1), n * (n - 1) * (n - 2)
    third = (n * v3 + 18 * pairs * v2 + 4 * pairs * www + 8 * triples * (cells - 1)) / n**3
    return variance, third
