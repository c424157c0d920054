"""Hill numbers: how many equally used cells an account is worth, and how evenly it uses those it reached."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

from coverage_lab.measures.ragged import (
    checked_segments,
    in_blocks,
    ratio,
    segment_ids,
    segment_max,
    segment_sum,
)
from coverage_lab.measures.richness import _depletion, _unseen
from coverage_lab.measures.sample_coverage import _abundances

#: Nodes ln s and step of the quadrature of `_geometric_tail`: relative error below 1e-13 for n up to 2³².
_STEP = 0.25
_NODES = np.arange(-60, 4, _STEP)


def hill_number(counts: NDArray[np.integer], offsets: ArrayLike, *, q: float) -> NDArray[np.float64]:
    """Return the number of equally used cells that is as diverse as the account's use of its cells.

    Formula: ``(Σ_c p_c^q)^{1/(1−q)}``, ``p_c = x_c/n``; ``exp(−Σ_c p_c ln p_c)`` at q = 1, ``1/max_c p_c`` at
    q = ∞

    Of the prompts seen, with no regard to cells not reached yet (`hill_estimate` has that). Order 0 counts
    cells, 1 weighs them by their prompts, 2 by the chance that two prompts meet there; orders above 1 see
    little but the cells most used.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    q : float
        Order, 0 and up; infinity is allowed.

    Returns
    -------
    float64 (accounts,)
        NaN for an empty account.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above, or q is negative or NaN.

    Notes
    -----
    Range: 1 (one cell only) to K (all alike); never rises with q.

    References
    ----------
    .. [1] Hill (1973), Ecology 54:427; Jost (2006), Oikos 113:363.
    """
    _check_order(q)
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    return in_blocks(lambda x, x_cut: _hill_number(x, x_cut, float(q)), checked, cut)


def _check_order(q: float) -> None:
    if not q >= 0:
        raise ValueError(f"q: expected 0 or more, got {q}")


def _hill_number(counts: NDArray[np.int64], offsets: NDArray[np.int64], q: float) -> NDArray[np.float64]:
    reached = np.diff(offsets).astype(np.float64)
    if q == 0:
        return np.where(reached > 0, reached, np.nan)
    prompts = segment_sum(counts, offsets)
    cells = np.diff(offsets)
    if abs(q - 1) < 0.5:
        log_share = np.log(counts / np.repeat(prompts, cells))
        # Near 1 both ln Σ p^q and 1 − q vanish; so written, their quotient keeps its digits.
        excess = segment_sum(counts * _expm1_over(q - 1, log_share), offsets)
        mean = ratio(excess, prompts)
        log_number = -mean if q == 1 else np.log1p((q - 1) * mean) / (1 - q)
    else:
        peak = segment_max(counts, offsets)
        log_peak = np.log(np.where(reached > 0, peak / np.maximum(prompts, 1), 1))
        if np.isinf(q):
            log_number = -log_peak
        else:
            # p^q of a high order is below the smallest double; over the largest p it is not.
            total = segment_sum((counts / np.repeat(peak, cells)) ** q, offsets)
            log_number = (q * log_peak + np.log(np.maximum(total, 1))) / (1 - q)
    return np.where(reached > 0, np.clip(np.exp(log_number), 1, reached), np.nan)


def _expm1_over(scale: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(e^{scale · values} − 1) / scale``; its limit, the values, at 0."""
    return values if scale == 0 else np.expm1(scale * values) / scale


def hill_estimate(counts: NDArray[np.integer], offsets: ArrayLike, *, q: int) -> NDArray[np.float64]:
    """Return the Hill number of the distribution that the account's prompts are drawn from.

    Formula: q = 0: ``K + (n−1)/n · f₁²/(2f₂)`` (`chao1`, not bias-corrected); q = 1: ``exp[Σ_c x_c/n ·
    Σ_{k=x_c}^{n−1} 1/k + f₁/n · Σ_{j≥0} A^{j+1}/(n+j)]``; q = 2: ``n(n−1) / Σ_c x_c (x_c − 1)``

    `hill_number` counts only cells already reached and is low for few prompts. Here q = 0 is a lower bound,
    q = 1 adds to the unbiased part of entropy the rest that the fall of discovery rates leads to expect, with
    A as in `extrapolation`, and q = 2 is the inverse of the unbiased estimate of ``Σ p²``. (The second sum of
    q = 1 is usually written ``f₁/n · A^{1−n} [−ln(1−A) − Σ_{r<n} A^r/r]``, which loses all digits for large
    n.) Estimates of different order are made apart, so one of higher order may exceed one of lower.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    q : {0, 1, 2}
        Order.

    Returns
    -------
    float64 (accounts,)
        NaN for fewer than 2 prompts; for q = 2 also where no cell was revisited.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above, or q is not 0, 1 or 2.

    Notes
    -----
    Range: 1 and up (q = 0: K and up); higher = the account's ground is wider.

    References
    ----------
    .. [1] Chao et al. (2014), Ecological Monographs 84:45; Chao and Jost (2015), Methods Ecol. Evol. 6:873.
       q = 1: Chao, Wang and Jost (2013), Methods Ecol. Evol. 4:1091. As in iNEXT's `ChaoRichness`,
       `ChaoShannon` (transformed) and `ChaoSimpson` (transformed).
    """
    if q not in (0, 1, 2):
        raise ValueError(f"q: expected 0, 1 or 2, got {q}")
    return _hill_estimate(*checked_segments(counts, offsets, name="counts", least=1), q)


def _hill_estimate(counts: NDArray[np.int64], offsets: NDArray[np.int64], q: int) -> NDArray[np.float64]:
    prompts, once, twice = _abundances(counts, offsets)
    if q == 0:
        estimate = np.diff(offsets) + _unseen(prompts, once, twice)
    elif q == 1:
        estimate = np.exp(_entropy_estimate(counts, offsets))
    else:
        estimate = ratio(prompts * (prompts - 1), segment_sum(counts * (counts - 1.0), offsets))
    return np.where(prompts < 2, np.nan, estimate)


def _entropy_estimate(counts: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Chao, Wang and Jost's estimate of ``−Σ p ln p``."""
    prompts, once, twice = _abundances(counts, offsets)
    size = np.maximum(prompts, 1)
    seen = segment_sum(counts * (digamma(size)[segment_ids(offsets)] - digamma(counts)), offsets)
    depletion = _depletion(prompts, once, twice)
    return (seen + once * (1 - depletion) * _geometric_tail(depletion, size)) / size


def _geometric_tail(depletion: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``Σ_{j≥0} A^j / (n + j)`` for ``A = 1 − depletion`` from 0 to below 1.

    It is ``∫_0^∞ e^{−s} / (1 − A e^{−s/n}) ds / n``, by the trapezoidal rule in ``ln s``, which the
    pole of the integrand close to s = 0 does not harm: there its distance to the path is always π.
    """
    total = np.zeros(depletion.size)
    for s in np.exp(_NODES):
        # 1 − A e^{−s/n}, without cancellation where A is almost 1.
        rest = depletion - (1 - depletion) * np.expm1(-s / start)
        total += np.exp(-s) * s / rest
    return total * _STEP / start


def hill_ratio(counts: NDArray[np.integer], offsets: ArrayLike, *, q: float = 2.0) -> NDArray[np.float64]:
    """Return the share of the reached cells that, used equally, would be as diverse.

    Formula: ``D_q / K``, D_q by `hill_number`

    At q = 2 it is Simpson's evenness. It does not change if every cell is split in two alike; its least value
    does depend on K, which `evenness` corrects. (Pielou's ``ln D_1 / ln K`` is not offered: such a split
    raises it, and it is not defined for one cell.)

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    q : float
        Order, 0 and up.

    Returns
    -------
    float64 (accounts,)
        NaN for an empty account; 1 for one of one cell.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above, or q is negative or NaN.

    Notes
    -----
    Range: 1/K (nearly all prompts in one cell) to 1 (all cells alike); high = ground is covered evenly.

    References
    ----------
    .. [1] Hill (1973), Ecology 54:427; Jost (2010), Diversity 2:207.
    """
    _check_order(q)
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    return ratio(_hill_number(checked, cut, float(q)), np.diff(cut).astype(np.float64))


def evenness(counts: NDArray[np.integer], offsets: ArrayLike, *, q: float = 1.0) -> NDArray[np.float64]:
    """Return how evenly the account uses the cells that it reached, whatever their number.

    Formula: ``(D_q − 1) / (K − 1)``, D_q by `hill_number`

    Heip's index at the default q = 1. Unlike `hill_ratio` it has the same least and largest value for any K.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    q : float
        Order, above 0: at 0 every account would be even.

    Returns
    -------
    float64 (accounts,)
        NaN for an account of fewer than 2 cells, where 0/0 says nothing (scikit-bio gives 1 for one cell).

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above, or q is not above 0.

    Notes
    -----
    Range: 0 (nearly all prompts in one cell) to 1 (all cells alike); high = ground is covered evenly.

    Columns: `evenness`

    References
    ----------
    .. [1] Heip (1974), J. Mar. Biol. Ass. UK 54:555; class E3 of Chao and Ricotta (2019), Ecology 100:e02852.
    """
    if not q > 0:
        raise ValueError(f"q: expected above 0, got {q}")
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    return ratio(_hill_number(checked, cut, float(q)) - 1, np.diff(cut) - 1.0)
