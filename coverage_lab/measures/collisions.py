"""How often two prompts of an account share a cell, against how often ordinary traffic would."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_lab.measures.nulls import Moments, checked_mass
from coverage_lab.measures.ragged import checked_segments, ratio, segment_sum


def collisions(
    counts: NDArray[np.integer], offsets: ArrayLike, mass: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return same-cell pairs over those expected of ordinary traffic, and the same in standard deviations.

    Formula: ``C/E`` and ``(C − E)/√Var``, with ``C = Σ_c x_c (x_c − 1)/2``, ``E = n(n−1)/2 · S₂``,
    ``Var = n(n−1)/2 · (S₂ − S₂²) + n(n−1)(n−2)(S₃ − S₂²)``, ``S_k = Σ_c p_c^k``

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
    ratio : float64 (accounts,)
    z : float64 (accounts,)
        Both NaN for fewer than 2 prompts; z also where all mass is in one cell.

    Raises
    ------
    ValueError
        `counts`, `offsets` or `mass` are not as above.

    Notes
    -----
    Range: ratio 0 and up, z any; low (ratio below 1, z below 0) = ground is revisited less than by people.

    Columns: `collision_ratio`, `collision_z`

    References
    ----------
    .. [1] Mean and variance of a U-statistic of order two (Hoeffding 1948) with the kernel 'same cell'.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    return _collisions(checked, cut, checked_mass(mass))


def _collisions(
    counts: NDArray[np.int64], offsets: NDArray[np.int64], mass: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    same = _same_cell_pairs(counts, offsets)
    expected, variance = _collision_moments(segment_sum(counts, offsets), mass)
    return ratio(same, expected), ratio(same - expected, np.sqrt(variance))


def _same_cell_pairs(counts: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    return segment_sum(counts * (counts - 1) / 2, offsets)


def _collision_moments(prompts: NDArray[np.float64], mass: NDArray[np.float64]) -> Moments:
    """Return mean and variance of the same-cell pairs of independent draws from ordinary traffic."""
    second, third = (mass**2).sum(), (mass**3).sum()
    pairs = prompts * (prompts - 1) / 2
    # S₃ ≥ S₂² holds for probabilities; rounding may leave it an ulp short, as for equal masses.
    shared = max(0.0, third - second**2)
    variance = pairs * (second - second**2) + 2 * pairs * (prompts - 2) * shared
    return pairs * second, np.maximum(variance, 0)
