"""Many accounts judged at once: which p-values are discoveries, and which sets can't give any."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def adjusted_p(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini–Hochberg adjusted p-values of the accounts judged together (one day's).

    With the N judged accounts' p-values sorted, p₍₁₎ ≤ … ≤ p₍N₎, the i-th becomes
    min over j ≥ i of N·p₍ⱼ₎ / j: the smallest rate q at which it is still a discovery [1]_.

    The expected share of benign accounts among the discoveries is then at most q, for independent
    p-values and under positive regression dependence. Conformal p-values that share one calibration
    set are of that kind [2]_. Two limits: the promise is an average over calibration sets, one set
    may do worse; and the theorem is for one set, while p-values matched on size compare accounts of
    different sizes with sets that overlap in part.

    Parameters
    ----------
    p : float64 (A,)
        In [0, 1]; NaN = not judged, not counted in N.

    Returns
    -------
    float64 (A,)
        In [0, 1], never below p; NaN where p is NaN. Small = a discovery even at a strict rate.
        Empty for no account.

    Raises
    ------
    ValueError
        A p-value outside [0, 1].

    References
    ----------
    .. [1] Benjamini, Hochberg. "Controlling the false discovery rate." Journal of the Royal
       Statistical Society B 57 (1995).
    .. [2] Bates, Candès, Lei, Romano, Sesia. "Testing for outliers with conformal p-values."
       Annals of Statistics 51 (2023). arXiv:2104.08279, theorem 2.

    Examples
    --------
    >>> adjusted_p(np.array([0.01, 0.5, np.nan, 0.02])).tolist()
    [0.03, 0.5, nan, 0.03]
    """
    judged = np.flatnonzero(~np.isnan(p))
    if np.any((p[judged] < 0) | (p[judged] > 1)):
        raise ValueError("p must be in 0..1 or NaN")
    # Here, not above: the import takes half a second, which those who judge one account need not wait.
    from scipy.stats import false_discovery_control

    adjusted = np.full(len(p), np.nan)
    adjusted[judged] = false_discovery_control(p[judged], method="bh")
    return adjusted


def smallest_discovery(calibration: int, accounts: int, *, q: float) -> int:
    """How many accounts must reach the smallest p together before any of them is a discovery.

    A conformal p-value is at least 1/(m + 1), so k accounts that all reach it are discoveries among
    N only if 1/(m + 1) ≤ qk/N: k ≥ N/(q(m + 1)), or the other way about m + 1 ≥ N/(qk).

    Parameters
    ----------
    calibration : int
        m: benign accounts that each p-value compares with (`neighbours` of `conformal_p`).
    accounts : int
        N: accounts judged together.
    q : float
        False discovery rate, in (0, 1).

    Returns
    -------
    int
        At least 1. 1 = the calibration set suffices for a single account to stand out; more than
        `accounts` = it is so small that nothing can ever be a discovery at this rate.

    Raises
    ------
    ValueError
        `calibration` or `accounts` below 1, or q outside (0, 1).

    Examples
    --------
    >>> smallest_discovery(500, 10_000, q=0.1)
    200
    """
    if not 0 < q < 1:
        raise ValueError(f"q must be between 0 and 1, got {q}")
    if calibration < 1 or accounts < 1:
        raise ValueError(
            f"calibration and accounts must be at least 1, got {calibration} and {accounts}: "
            "nothing to compare"
        )
    smallest = 1 / (calibration + 1)
    count = max(1, math.ceil(accounts * smallest / q))
    # Rounding must not make this differ by one from what adjusted_p gives.
    while count > 1 and smallest * (accounts / (count - 1)) <= q:
        count -= 1
    while smallest * (accounts / count) > q:
        count += 1
    return count
