"""Conformal p-values against benign accounts of similar size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
