"""How much of an account's traffic is harvested: an estimate with an interval."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Shares between which the limits are linear.
_SHARES = np.linspace(0.0, 1.0, 51)

#: A sample is summed up by at most this many of its quantiles.
_QUANTILES = 96


#: With an interval wider than this there is no telling; ordinary accounts alone fill half of 0..1.
WIDEST = 0.5


class HarvestedShare(NamedTuple):
    """Share of an account's prompts that is harvested: ``low <= estimate <= high``, all in 0..1."""

    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def told(self) -> NDArray[np.float64]:
        """The estimate where its interval is at most `WIDEST` wide, else NaN."""
        return np.where(self.high - self.low <= WIDEST, self.estimate, np.nan)


def harvested_share(
    linear_score: NDArray[np.float64],
    prompts: NDArray[np.int64],
    *,
    benign: NDArray[np.float64],
    harvest: NDArray[np.float64],
    prompt_sd: float,
    confidence: float = 0.9,
) -> HarvestedShare:
    """Estimate the harvested share α of each account's prompts from its linear score.

    A linear score is a mean over an account's prompts, so that of a mixed account is
    s = (1 − α)·b + α·h + ε, with b the linear score of its ordinary prompts, h that of its harvested
    ones, and ε the luck of n prompts, of standard deviation `prompt_sd`/√n. Estimate:
    (s − median b) / (median h − median b), cut to 0..1. Interval: all α for which s is no more extreme
    than the outer (1 − confidence)/2 on either side of what an independently drawn b, h and ε would
    give; where those α have a gap, the gap is included. Inverting a test like this covers the true
    α in a share of at least `confidence` of the accounts of each α, if b and h are drawn as in the
    samples.

    It can't tell who is who: benign accounts differ by more than a small α moves one. So low = 0 is
    the rule for small shares, and 0..1 the honest answer where the samples overlap. A harvest unlike
    those sampled biases it.

    Parameters
    ----------
    linear_score, prompts : (A,)
        Accounts to estimate, and how many prompts each has sent.
    benign, harvest : float64 (B,), (H,)
        Linear scores of purely benign and purely harvesting accounts, best of similar size. Each
        account stands for one independent draw: many accounts of few corpora promise too much. Their
        own luck counts as spread, so small ones make the interval wider, not wrong. Each quantile
        is taken a little further out the smaller the smaller sample is; below 2/(1 − confidence) − 1
        accounts (19 by default) even the extremes can't carry the confidence.
    prompt_sd : float
        Standard deviation of one prompt's linear score within an account, at least 0.
    confidence : float
        In (0, 1).

    Returns
    -------
    HarvestedShare
        Each float64 (A,), never falling as the linear score rises; NaN where linear_score is NaN or
        there are no prompts.

    Raises
    ------
    ValueError
        An empty or non-finite sample; a median harvest not above the median benign account;
        `prompt_sd` or `confidence` out of range.

    References
    ----------
    .. [1] Neyman. "Outline of a theory of statistical estimation based on the classical theory of
       probability." Philosophical Transactions A 236 (1937): intervals by inverting tests.
    """
    for name, sample in (("benign", benign), ("harvest", harvest)):
        if not len(sample) or not np.isfinite(sample).all():
            raise ValueError(f"{name} must be a non-empty sample of finite linear scores")
    if not (prompt_sd >= 0 and np.isfinite(prompt_sd)):
        raise ValueError(f"prompt_sd must be at least 0, got {prompt_sd}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    start, end = float(np.median(benign)), float(np.median(harvest))
    if end <= start:
        raise ValueError(f"the median harvest ({end:.4g}) must score above the median benign ({start:.4g})")
    centre = start + _SHARES * (end - start)
    tail = (1 - confidence) / 2
    below, above = _spread(centre, benign, harvest, tail)
    known = np.isfinite(linear_score) & (prompts > 0)
    score = np.where(known, linear_score, start)
    luck = -NormalDist().inv_cdf(tail) * prompt_sd / np.sqrt(np.where(known, prompts, 1))
    low = _crossing(score, centre, above, luck)
    # Seen from the other end, the lower limit is an upper limit of the benign share.
    high = 1 - _crossing(-score, -centre[::-1], below[::-1], luck)
    estimate = np.clip((score - start) / (end - start), 0.0, 1.0)
    # The centre lies within the limits, up to rounding.
    low, high = np.minimum(low, estimate), np.maximum(high, estimate)
    return HarvestedShare(*(np.where(known, values, np.nan) for values in (estimate, low, high)))


def _spread(
    centre: NDArray[np.float64], benign: NDArray[np.float64], harvest: NDArray[np.float64], tail: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the outer `tail` of (1 − α)b + αh lies below and above the centre, for each share α."""
    count = min(len(benign), len(harvest))
    # A new draw is below the k-th smallest of m with probability k/(m + 1).
    outer = max((tail * (count + 1) - 1) / count, 0.0)
    b, h = _summed_up(benign), _summed_up(harvest)
    below, above = np.empty_like(centre), np.empty_like(centre)
    for k, share in enumerate(_SHARES):
        pairs = ((1 - share) * b[:, None] + share * h).ravel()
        low, high = np.quantile(pairs, [outer, 1 - outer])
        below[k], above[k] = max(centre[k] - low, 0.0), max(high - centre[k], 0.0)
    return below, above


def _summed_up(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(sample) <= _QUANTILES:
        return sample
    summary: NDArray[np.float64] = np.quantile(sample, np.linspace(0, 1, _QUANTILES))
    return summary


def _crossing(
    score: NDArray[np.float64],
    centre: NDArray[np.float64],
    spread: NDArray[np.float64],
    luck: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find the smallest share whose upper limit reaches the score; 1 where none does.

    The limit is centre + √(spread² + luck²), as for normal deviations. Where it falls on the way the
    first crossing counts, so that the answer never goes back as the score rises.
    """
    limit = centre[0] + np.hypot(spread[0], luck)
    reached = score <= limit
    crossing = np.where(reached, 0.0, 1.0)
    for k in range(1, len(_SHARES)):
        last, limit = limit, centre[k] + np.hypot(spread[k], luck)
        here = ~reached & (score <= limit)
        along = (score - last) / np.where(here, limit - last, 1.0)
        crossing = np.where(here, _SHARES[k - 1] + (_SHARES[k] - _SHARES[k - 1]) * along, crossing)
        reached |= here
    return crossing
