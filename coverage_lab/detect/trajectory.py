"""Judging the same growing account every day without raising more false alarms.

A p-value that holds for one look does not hold for the smallest of many. So an account's highest
standing over all its looks is compared with the highest standing of benign accounts that were
grown through the same sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

#: One calibration account in so many tells what scores are usual at a size, instead of ranking others.
REFERENCE_EVERY = 4

#: Fewer complete calibration accounts than this can't tell a median and a 95th percentile.
FEWEST = 20


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Scores of benign accounts as they grew: the first 50 of their prompts, the first 100, …

    Attributes
    ----------
    sizes : int64 (L,)
        Rising numbers of prompts. The last is the *horizon*: up to there an account may be looked at.
    score : float64 (M, L)
        Score of each account's first ``sizes[l]`` prompts; NaN from where the account has fewer.
        Accounts that stop before the horizon are not used: a nearer one uses more of them.
        The order of the accounts must not depend on their scores.
    customer : int64 (M,), optional
        Number of each account's customer: every customer counts once, however many accounts it has. Each
        account is one when not given.

    Raises
    ------
    ValueError
        Sizes that don't rise, a NaN before a number, fewer than `FEWEST` accounts that reach the
        horizon, or scores without spread at a size.
    """

    sizes: NDArray[np.int64]
    score: NDArray[np.float64]
    customer: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.score.shape[1:] != self.sizes.shape or not len(self.sizes):
            raise ValueError(
                f"score must be (accounts, sizes), got {self.score.shape} for {len(self.sizes)} sizes"
            )
        if self.sizes[0] < 1 or np.any(np.diff(self.sizes) <= 0):
            raise ValueError("sizes must be rising numbers of prompts from 1 on")
        absent = np.isnan(self.score)
        if np.any(absent[:, :-1] & ~absent[:, 1:]):
            raise ValueError("score must be NaN only beyond an account's size, not before a number")
        if len(self._complete) < FEWEST:
            raise ValueError(
                f"score: {len(self._complete)} accounts reach the horizon of {self.sizes[-1]} prompts, "
                f"at least {FEWEST} must"
            )
        flat = self.sizes[self._usual[1] <= 0]
        if len(flat):
            raise ValueError(f"score: calibration accounts do not differ at {flat[0]} prompts")

    def standing(self, score: NDArray[np.float64], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """How high a score is among benign accounts of its size: 0 = their median, 1 = their 95th percentile.

        (score − median(n)) / (95th percentile(n) − median(n)), both of every `REFERENCE_EVERY`-th
        calibration account at the sizes of the ladder and linear in ln n between them. Any real
        number; NaN where score is NaN. Shape ``(A,)``.
        """
        logs, wanted = np.log(self.sizes), np.log(np.maximum(prompts, 1))
        median, spread = (np.interp(wanted, logs, values) for values in self._usual)
        standing: NDArray[np.float64] = (score - median) / spread
        return standing

    @cached_property
    def highest(self) -> NDArray[np.float64]:
        """Highest standing on the way to the horizon of the accounts that rank others, rising."""
        return self._ranked[0]

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        """What each entry of `highest` counts for: those of a customer sum to 1."""
        return self._ranked[1]

    @property
    def customers(self) -> int:
        """Customers that rank others."""
        return round(float(self.weight.sum()))

    @cached_property
    def _ranked(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ranking = np.arange(len(self._complete)) % REFERENCE_EVERY != 0
        median, spread = self._usual
        highest = ((self._complete[ranking] - median) / spread).max(axis=1)
        weight = np.ones(len(highest))
        if self.customer is not None:
            mine = self.customer[~np.isnan(self.score[:, -1])][ranking]
            _, which, count = np.unique(mine, return_inverse=True, return_counts=True)
            weight = 1 / count[which]
        order = np.argsort(highest, kind="stable")
        return highest[order], weight[order]

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that `trajectory_p` can give."""
        return 1 / (self.customers + 1)

    @cached_property
    def _complete(self) -> NDArray[np.float64]:
        return self.score[~np.isnan(self.score[:, -1])]

    @cached_property
    def _usual(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        median, high = np.quantile(self._complete[::REFERENCE_EVERY], [0.5, 0.95], axis=0)
        return median, high - median


@dataclass(frozen=True, eq=False)
class Watched:
    """What must be kept of an account between looks.

    Attributes
    ----------
    looks : int64 (A,)
        Sizes of the ladder that the account has passed and been looked at for; 0 = not looked at.
    highest : float64 (A,)
        Highest standing at any of those looks; NaN = not looked at.
    """

    looks: NDArray[np.int64]
    highest: NDArray[np.float64]


def unwatched(accounts: int) -> Watched:
    """Start with accounts that nobody has looked at."""
    return Watched(np.zeros(accounts, np.int64), np.full(accounts, np.nan))


def look(
    watched: Watched,
    score: NDArray[np.float64],
    prompts: NDArray[np.int64],
    *,
    calibration: Trajectories,
) -> Watched:
    """Look at accounts again; may be called as often as one likes.

    A look counts where the account has passed another size of the ladder since the last one that
    counted: calibration accounts were looked at once a size, and so is everybody else. Below the
    first size, and beyond the horizon, nothing counts.

    Parameters
    ----------
    watched : Watched
        After the last look; `unwatched` for new accounts.
    score, prompts : (A,)
        Today's score of all that the account has sent, and how many prompts that is. NaN = not
        judged today, the look is made up for later.

    Returns
    -------
    Watched
        `watched` is left as it is.
    """
    passed = np.searchsorted(calibration.sizes, prompts, side="right")
    counts = (passed > watched.looks) & ~np.isnan(score)
    standing = calibration.standing(score, prompts)
    return Watched(
        looks=np.where(counts, passed, watched.looks),
        highest=np.where(counts, np.fmax(watched.highest, standing), watched.highest),
    )


def trajectory_p(highest: NDArray[np.float64], *, calibration: Trajectories) -> NDArray[np.float64]:
    """Share of benign accounts that stand as high at any size up to the horizon.

    p = (1 + #{calibration highest ≥ highest}) / (m + 1) over m benign trajectories, m being all
    complete ones less every `REFERENCE_EVERY`-th. Where several are of one customer, each customer counts
    once: the sum is over customers, of the share of their trajectories that stand as high, and m counts
    customers (`coverage_lab.detect.conformal.customer_p`).

    It holds however often one looks, stops or goes on, up to the horizon: P(p ≤ α on some day) ≤ α.

    *Proof.* Let S be the account's highest standing over the whole ladder. What is usual at a size
    comes from accounts that rank nobody, so S is one fixed function of an account's path; if the
    account's path is exchangeable with the m others, p_H = (1 + #{Sᵢ ≥ S}) / (m + 1) has
    P(p_H ≤ α) ≤ α [1]_. On every day the highest standing so far is at most S, so that day's
    p ≥ p_H, and p ≤ α on some day only if p_H ≤ α. ∎

    *Assumed*: exchangeable paths, grown to the horizon, and standings between two sizes of the
    ladder like those at its sizes (an account is looked at when it has passed a size, seldom at it).

    *Not* the same: calibrating each day against paths up to that day's size. Each of those p-values
    holds on its day, yet the smallest of them does not; the tests show it fail.

    *Many accounts*: the running maximum of an e-process is no e-value, and e-BH applied to it does
    not control the false discovery rate [2]_. Nothing of that kind is used here: at the horizon
    these are ordinary conformal p-values with one calibration set, for which Benjamini–Hochberg
    holds [1]_. As p only falls while an account grows, the discoveries among a fixed list of accounts
    only become more, so the rate holds for all of them together when the last has reached the
    horizon. The largest share of false ones on any day on the way is not bounded by that.

    Parameters
    ----------
    highest : float64 (A,)
        `Watched.highest`; NaN = not looked at yet.

    Returns
    -------
    float64 (A,)
        In [calibration.smallest_p, 1], small = higher than benign accounts get on their whole way;
        never rises from one look to the next; NaN where `highest` is.

    References
    ----------
    .. [1] Bates, Candès, Lei, Romano, Sesia. "Testing for outliers with conformal p-values."
       Annals of Statistics 51 (2023). arXiv:2104.08279.
    .. [2] Tavyrikov, Goeman, de Heide. "Carefree multiple testing with e-processes." 2025.
       arXiv:2501.19360.
    """
    above = np.append(np.cumsum(calibration.weight[::-1])[::-1], 0.0)
    as_high = above[np.searchsorted(calibration.highest, highest, side="left")]
    # Weights of a third, say, may add up to a little more than a customer.
    p = np.minimum((1 + as_high) / (calibration.customers + 1), 1.0)
    return np.where(np.isnan(highest), np.nan, p)
