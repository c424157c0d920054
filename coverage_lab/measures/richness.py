"""How many cells an account would reach in the end, or in some multiple of its prompts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc, gammainc

from coverage_lab.measures.counts import _tally
from coverage_lab.measures.ragged import checked_segments, in_blocks, ratio, segment_ids, segment_sum
from coverage_lab.measures.sample_coverage import _abundances

Smoothing = Literal["binomial", "poisson"]

#: Cells with more prompts r than this weigh nothing in `good_toulmin`: ``t^r P(L ≥ r) < 1e−79``, since t
#: times the mean of L stays below 30 for n < 2³¹ and any double t > 1. Further on ``t^r`` would overflow.
_MOST_SMOOTHED = 200


def chao1(
    counts: NDArray[np.integer], offsets: ArrayLike, *, bias_corrected: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Chao's estimate of the cells that the account's distribution holds, and its standard error.

    Formula: ``K + f₁(f₁−1) / [2(f₂+1)]``; not bias-corrected ``K + (n−1)/n · f₁² / (2f₂)`` where f₂ > 0,
    ``K + (n−1)/n · f₁(f₁−1)/2`` where f₂ = 0

    Both are lower bounds: they find the cells that are as rare as the rarest that were reached. The first is
    that of EstimateS and scikit-bio, the second that of the R package iNEXT (`ChaoRichness`), which
    `extrapolation` and `hill_estimate` build on. Variances, with ``g = f₁/f₂`` and ``ρ = (n−1)/n``:

    - bias-corrected (EstimateS eq. 6; eq. 7 where f₂ = 0; eq. 8 where f₁ = 0):
      ``f₁(f₁−1)/[2(f₂+1)] + f₁(2f₁−1)²/[4(f₂+1)²] + f₁² f₂ (f₁−1)²/[4(f₂+1)⁴]``;
      ``f₁(f₁−1)/2 + f₁(2f₁−1)²/4 − f₁⁴/(4S)``, S the estimate; ``K e^{−n/K} (1 − e^{−n/K})``.
    - otherwise (iNEXT): ``f₂ [ρ g²/2 + ρ² g³ + ρ² g⁴/4]``; where f₂ = 0
      ``ρ f₁(f₁−1)/2 + ρ² f₁(2f₁−1)²/4 − ρ² f₁⁴/(4S)``; where nothing is added to K
      ``Σ_r f_r (e^{−r} − e^{−2r}) − (Σ_r r e^{−r} f_r)² / n``.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    bias_corrected : bool
        Which of the two forms.

    Returns
    -------
    cells : float64 (accounts,)
    standard_error : float64 (accounts,)
        Both NaN for an empty account.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above.

    Notes
    -----
    Range: K and up, standard error 0 and up; higher = more ground still to reach.

    References
    ----------
    .. [1] Chao (1984), Scandinavian J. Statistics 11:265; Chao (1987), Biometrics 43:783.
    .. [2] Colwell, EstimateS 9 User's Guide, appendix B. scikit-bio's private `_chao1_var_uncorrected` has
       0.24 where its eq. 5 has ¼; `_chao1_var` takes eq. 7 where f₁ = f₂ = 0, which gives 0.
    """
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    form = _corrected if bias_corrected else _uncorrected
    cells, variance = form(checked, cut)
    empty = np.diff(cut) == 0
    return np.where(empty, np.nan, cells), np.where(empty, np.nan, np.sqrt(np.maximum(variance, 0)))


def _corrected(
    counts: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    prompts, once, twice = _abundances(counts, offsets)
    reached = np.diff(offsets).astype(np.float64)
    added = once * (once - 1) / (2 * (twice + 1))
    cells = reached + added
    spread = once * (2 * once - 1) ** 2 / (4 * (twice + 1) ** 2)
    last = np.where(
        twice > 0,
        once**2 * twice * (once - 1) ** 2 / (4 * (twice + 1) ** 4),
        -ratio(once**4, 4 * cells),
    )
    missed = np.exp(-ratio(prompts, reached))
    return cells, np.where(once > 0, added + spread + last, reached * missed * (1 - missed))


def _uncorrected(
    counts: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    prompts, once, twice = _abundances(counts, offsets)
    added = _unseen(prompts, once, twice)
    cells = np.diff(offsets) + added
    shrink = ratio(prompts - 1, prompts)
    odds = once / np.maximum(twice, 1)
    with_pairs = twice * (shrink * odds**2 / 2 + shrink**2 * (odds**3 + odds**4 / 4))
    without = added + shrink**2 * (once * (2 * once - 1) ** 2 / 4 - ratio(once**4, 4 * cells))
    weight = np.exp(-counts.astype(np.float64))
    own = segment_sum(weight * (1 - weight), offsets) - ratio(
        segment_sum(counts * weight, offsets) ** 2, prompts
    )
    return cells, np.where(added > 0, np.where(twice > 0, with_pairs, without), own)


def _unseen(
    prompts: NDArray[np.float64], once: NDArray[np.float64], twice: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return f̂₀, the cells not reached yet, in iNEXT's form; 0 where there are no prompts."""
    pairs = np.where(twice > 0, once**2 / np.maximum(twice, 1), once * (once - 1)) / 2
    return np.where(prompts > 0, (prompts - 1) / np.maximum(prompts, 1), 0) * pairs


def _depletion(
    prompts: NDArray[np.float64], once: NDArray[np.float64], twice: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``f₁ / (n f̂₀ + f₁)``: each further prompt takes this share of what is still unseen.

    1 where nothing is unseen. Its complement A may be 1 to the last digit, so this is the one to pass on.
    """
    left = (prompts - 1) * np.where(twice > 0, once, np.maximum(once - 1, 0))
    pairs = 2 * np.maximum(twice, 1)
    return np.where(once > 0, pairs / (left + pairs), 1.0)


def ace(counts: NDArray[np.integer], offsets: ArrayLike, *, rare_threshold: int = 10) -> NDArray[np.float64]:
    """Return the abundance-based coverage estimate of the cells that the account's distribution holds.

    Formula: ``K_abundant + K_rare / C + f₁ γ² / C``, with rare cells those of `rare_threshold` prompts or
    fewer, n_rare their prompts, ``C = 1 − f₁/n_rare``,
    ``γ² = max(0, K_rare / C · Σ_{r rare} r(r−1) f_r / [n_rare (n_rare − 1)] − 1)``

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    rare_threshold : int
        Prompts of a rare cell at most, 1 and up.

    Returns
    -------
    float64 (accounts,)
        K where no cell is rare. NaN for an empty account, and where every rare cell was reached only once:
        C is 0 (scikit-bio raises there; EstimateS advises `chao1`).

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above, or `rare_threshold` is below 1.

    Notes
    -----
    Range: K and up; higher = more ground still to reach.

    References
    ----------
    .. [1] Chao and Lee (1992), JASA 87:210; Chao, Ma and Yang (1993), Biometrika 80:193.
    """
    if rare_threshold < 1:
        raise ValueError(f"rare_threshold: expected 1 or more, got {rare_threshold}")
    checked, cut = checked_segments(counts, offsets, name="counts", least=1)
    return in_blocks(lambda x, x_cut: _ace(x, x_cut, rare_threshold), checked, cut)


def _ace(counts: NDArray[np.int64], offsets: NDArray[np.int64], threshold: int) -> NDArray[np.float64]:
    is_rare = counts <= threshold
    rare = segment_sum(is_rare, offsets)
    of_rare = counts * is_rare
    prompts = segment_sum(of_rare, offsets)
    # In whole numbers, which reach to 3 billion prompts an account.
    pairs = segment_sum(of_rare * of_rare, offsets) - prompts
    once = segment_sum(counts == 1, offsets)
    reached = np.diff(offsets).astype(np.float64)
    covered = 1 - ratio(once, prompts)
    variation = ratio(rare, covered) * ratio(pairs, prompts * (prompts - 1)) - 1
    estimate = reached - rare + ratio(rare + once * np.maximum(variation, 0), covered)
    estimate = np.where(rare > 0, estimate, reached)
    return np.where((reached == 0) | ((once > 0) & (once == rare)), np.nan, estimate)


def good_toulmin(
    counts: NDArray[np.integer], offsets: ArrayLike, *, t: float, smoothing: Smoothing = "binomial"
) -> NDArray[np.float64]:
    """Return the new cells that t times as many prompts again would reach, by smoothed Good–Toulmin.

    Formula: ``−Σ_r (−t)^r P(L ≥ r) f_r``; ``P = 1`` for t ≤ 1; for t > 1, L is binomial with
    ``⌊½ log₃[n t²/(t−1)]⌋`` trials of chance ``2/(t+2)``, or Poisson with mean
    ``ln[n (t+1)²/(t−1)] / (2t)``

    Unbiased for t ≤ 1 (if prompt numbers are Poisson). For t > 1 the terms of the plain series explode; the
    random truncation L bounds them, at the cost of some bias. No estimator can go beyond t of the order ln n.

    Parameters
    ----------
    counts : int (k,)
        x_c of the cells reached, 1 and up, as `cell_counts` gives them.
    offsets : int (accounts + 1,)
        Account a has ``counts[offsets[a]:offsets[a + 1]]``.
    t : float
        Further prompts over the account's prompts so far, above 0.
    smoothing : {"binomial", "poisson"}
        Law of L; the binomial has the smaller guaranteed error. Plays no part for t ≤ 1.

    Returns
    -------
    float64 (accounts,)
        NaN for an empty account, and where t is above 1 and above ln n.

    Raises
    ------
    ValueError
        `counts` or `offsets` are not as above, t is not above 0 and finite, or `smoothing` is not known.

    Notes
    -----
    Range: any; 0 to t·n is possible ground, the estimate may stray below 0. Higher = more new ground ahead.

    References
    ----------
    .. [1] Orlitsky, Suresh and Wu (2016), PNAS 113:13283; for t ≤ 1 Good and Toulmin (1956), Biometrika
       43:45.
    """
    if not (np.isfinite(t) and t > 0):
        raise ValueError(f"t: expected a number above 0, got {t}")
    if smoothing not in ("binomial", "poisson"):
        raise ValueError(f"smoothing: expected 'binomial' or 'poisson', got {smoothing!r}")
    return _good_toulmin(*checked_segments(counts, offsets, name="counts", least=1), float(t), smoothing)


def _good_toulmin(
    counts: NDArray[np.int64], offsets: NDArray[np.int64], t: float, smoothing: Smoothing
) -> NDArray[np.float64]:
    prompts = segment_sum(counts, offsets)
    r, frequency, cut = _tally(counts, offsets)
    defined = (prompts > 0) & (t <= np.maximum(1, np.log(np.maximum(prompts, 1))))
    weight = np.where(r % 2 == 1, 1.0, -1.0)
    if t <= 1:
        weight *= t ** r.astype(np.float64)
    else:
        account = segment_ids(cut)
        used = (r <= _MOST_SMOOTHED) & defined[account]
        tail = _binomial_tail if smoothing == "binomial" else _poisson_tail
        weight[used] *= t ** r[used].astype(np.float64) * tail(r[used], prompts[account[used]], t)
        weight[~used] = 0
    return np.where(defined, segment_sum(frequency * weight, cut), np.nan)


def _binomial_tail(r: NDArray[np.int64], prompts: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """Return ``P(L ≥ r)`` for binomial L."""
    trials = np.floor(np.log(prompts * (t * t / (t - 1))) / np.log(9))
    tail: NDArray[np.float64] = bdtrc(np.minimum(r - 1, trials), trials.astype(np.int64), 2 / (t + 2))
    return tail


def _poisson_tail(r: NDArray[np.int64], prompts: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """Return ``P(L ≥ r)`` for Poisson L."""
    tail: NDArray[np.float64] = gammainc(r, np.log(prompts * ((t + 1) ** 2 / (t - 1))) / (2 * t))
    return tail
