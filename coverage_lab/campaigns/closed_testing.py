"""How many of a group's members are truly in it: a lower bound by closed testing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def members_at_least(p: NDArray[np.float64], *, alpha: float) -> int:
    """Lower bound on how many of the hypotheses are false, with confidence 1 − alpha.

    Closed testing with Simes' test, by the shortcut of [1]_: with sorted p, h is the largest i for which
    every j ≤ i has i·p₍m−i+j₎ > j·α; the bound is max over u of 1 − u + #{h·p ≤ u·α}. It holds for the number
    over all choices of a set at once, where Simes' inequality does (independent p-values, or positively
    dependent ones, as conformal p-values with one calibration set are).

    Parameters
    ----------
    p : float64 (m,)
        p-value of each member: that it is no more like the group than accounts outside it.
    alpha : float
        In (0, 1).

    Returns
    -------
    int
        0 to m.

    References
    ----------
    .. [1] Goeman, Meijer, Krebs, Solari. "Simultaneous control of all false discovery proportions in
       large-scale multiple hypothesis testing." Biometrika 106 (2019).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    ordered = np.sort(p)
    m = len(ordered)
    h = 0
    for i in range(m, 0, -1):
        if (i * ordered[m - i :] > alpha * np.arange(1, i + 1)).all():
            h = i
            break
    u = np.arange(1, m + 1)
    reached = np.searchsorted(h * ordered, u * alpha, side="right")
    return int(max(0, (1 - u + reached).max(initial=0)))
