"""Conformal p-values against benign accounts, or benign customers, of similar size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Comparisons held at once (some 30 MB).
_AT_ONCE = 1 << 20


def conformal_p(
    score: NDArray[np.float64],
    prompts: NDArray[np.int64],
    *,
    calibration_score: NDArray[np.float64],
    calibration_prompts: NDArray[np.int64],
    neighbours: int,
) -> NDArray[np.float64]:
    """Share of benign accounts of similar size that score at least as high.

    p = (1 + #{calibration score ≥ score}) / (m + 1) over the m = `neighbours` calibration accounts
    whose ln(prompts) is nearest [1]_. Under the null that the account is exchangeable with those,
    P(p ≤ α) ≤ α.

    Parameters
    ----------
    score, prompts : (A,)
        Accounts to judge.
    calibration_score, calibration_prompts : (M,)
        Benign accounts, sorted by prompts.
    neighbours : int
        m; at most M. The smallest p that can come out is 1/(m + 1).

    Returns
    -------
    float64 (A,)
        In (0, 1]; small = higher than benign accounts of that size.

    References
    ----------
    .. [1] Bates, Candès, Lei, Romano, Sesia. "Testing for outliers with conformal p-values."
       Annals of Statistics 51 (2023). arXiv:2104.08279.
    """
    if not 1 <= neighbours <= len(calibration_score):
        raise ValueError(f"neighbours must be in 1..{len(calibration_score)}, got {neighbours}")
    logs = np.log(calibration_prompts)
    wanted = np.log(np.maximum(prompts, 1))
    # The m nearest of a sorted list are contiguous: slide to where both ends are equally far.
    low = np.clip(np.searchsorted(logs, wanted) - neighbours, 0, len(logs) - neighbours)
    for _ in range(neighbours):
        right = np.minimum(low + neighbours, len(logs) - 1)
        move = (low + neighbours < len(logs)) & (wanted - logs[low] > logs[right] - wanted)
        if not move.any():
            break
        low = low + move
    window = calibration_score[low[:, None] + np.arange(neighbours)]
    p: NDArray[np.float64] = (1 + (window >= score[:, None]).sum(axis=1)) / (neighbours + 1)
    return p


def customer_p(
    score: NDArray[np.float64],
    prompts: NDArray[np.int64],
    calibration_score: NDArray[np.float64],
    calibration_prompts: NDArray[np.int64],
    customer: NDArray[np.int64],
    *,
    neighbours: int,
) -> NDArray[np.float64]:
    """Chance that a benign customer's account of similar size scores at least as high.

    p = (1 + Σ_c s_c) / (m + 1), s_c the share of customer c's accounts that score at least as high, among
    those of its accounts whose ln(prompts) is nearest; over the m = `neighbours` customers that come nearest
    in size.

    Accounts of one customer are alike, so a thousand of them are little more evidence than one: a p-value
    that counts accounts is far too small for a customer like none of the calibration's. If the account's
    customer is exchangeable with those m and the account is drawn at random from its accounts, P(p ≤ α) ≤ α +
    O(1/m): E[s] of the account's own customer is at most uniform, and the others' shares estimate that
    distribution.

    Parameters
    ----------
    score, prompts : (A,)
        Accounts to judge.
    calibration_score, calibration_prompts, customer : (M,)
        Benign accounts and their customers' numbers, sorted by customer.
    neighbours : int
        m; at most the number of customers. The smallest p that can come out is 1/(m + 1).

    Returns
    -------
    float64 (A,)
        In (0, 1]; small = higher than benign customers of that size.
    """
    starts = np.flatnonzero(np.append(True, customer[1:] != customer[:-1]))
    if not 1 <= neighbours <= len(starts):
        raise ValueError(f"neighbours must be in 1..{len(starts)}, got {neighbours}")
    lengths = np.diff(np.append(starts, len(customer)))
    logs = np.log(calibration_prompts)
    p = np.empty(len(score))
    rows = max(1, _AT_ONCE // len(customer))
    for first in range(0, len(score), rows):
        here = slice(first, first + rows)
        far = np.abs(np.log(np.maximum(prompts[here], 1))[:, None] - logs)
        nearest = np.minimum.reduceat(far, starts, axis=1)
        near = far <= np.repeat(nearest, lengths, axis=1) + 1e-12
        as_high = near & (calibration_score >= score[here][:, None])
        share = np.add.reduceat(as_high, starts, axis=1, dtype=np.int64) / np.add.reduceat(
            near, starts, axis=1, dtype=np.int64
        )
        if neighbours < len(starts):
            order = np.argsort(nearest, axis=1, kind="stable")[:, :neighbours]
            share = np.take_along_axis(share, order, axis=1)
        p[here] = (1 + share.sum(axis=1)) / (neighbours + 1)
    return p
