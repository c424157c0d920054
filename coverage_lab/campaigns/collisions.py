"""Cells that several accounts share: how many pairs of prompts of different accounts meet, against chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Meetings:
    """Pairs of prompts, of two different accounts, that lie in one cell; mean and variance under the null."""

    found: float
    expected: float
    variance: float

    @property
    def z(self) -> float:
        """Standard deviations above what chance gives; 0 where chance has no spread."""
        return (self.found - self.expected) / self.variance**0.5 if self.variance > 0 else 0.0


def meetings(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> Meetings:
    r"""Count meetings of independent accounts that all draw from one set of shares.

    X = Σ_{i<j} Σ_c x_ic x_jc. With :math:`S_k = Σ_c p_c^k`, for accounts of n_i prompts,

    E X = Σ_{i<j} n_i n_j S₂,

    Var X = Σ_{i<j} n_i n_j [S₂ − S₂² + (n_i + n_j − 2)(S₃ − S₂²)]
    + 2 Σ_i Σ_{j<k; j,k≠i} n_i n_j n_k (S₃ − S₂²).

    The second sum is of two pairs that have account i in common. Above chance: a shared list or template.
    Below: the accounts avoid one another, as shares of a bank that was parted by topic do.

    Parameters
    ----------
    counts : int64 (A, C)
        Prompts of each account in each cell.
    shares : float64 (C,)
        p: what prompts of a cell are of all, under the null; sums to 1.

    Raises
    ------
    ValueError
        `shares` has another length than the cells, is negative, or does not sum to 1.
    """
    if shares.shape != (counts.shape[1],) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"shares: expected {counts.shape[1]} shares that sum to 1, got {shares.shape}")
    x = counts.astype(np.float64)
    n = x.sum(axis=1)
    pooled = x.sum(axis=0)
    found = (float(pooled @ pooled) - float((x * x).sum())) / 2
    square, cube = float((shares**2).sum()), float((shares**3).sum())
    total, squares, cubes = float(n.sum()), float((n**2).sum()), float((n**3).sum())
    pairs = (total**2 - squares) / 2
    # Σ_{i<j} n_i n_j (n_i + n_j − 2), and Σ_i n_i Σ_{j<k ≠ i} n_j n_k = 3 e₃.
    unequal = total * squares - cubes
    triples = (total**3 - 3 * total * squares + 2 * cubes) / 6
    variance = pairs * (square - square**2) + (unequal - 2 * pairs + 6 * triples) * (cube - square**2)
    return Meetings(found, pairs * square, max(variance, 0.0))


def meetings_within_topics(
    counts: NDArray[np.int64], shares: NDArray[np.float64], topic: NDArray[np.int64]
) -> Meetings:
    """Count meetings given how many prompts each account has in each topic.

    Two customers of one trade meet because of the trade. Given their topics, cells are drawn from the shares
    within the topic, independently in each, so the sums of mean and variance over topics are exact.

    Parameters
    ----------
    counts : int64 (A, C)
    shares : float64 (C,)
        Reference shares; a topic without any counts its cells alike.
    topic : int64 (C,)
        Topic of each cell.
    """
    found = expected = variance = 0.0
    used = counts.sum(axis=0) > 0
    for number in np.unique(topic[used]):
        here = topic == number
        mass = shares[here].astype(np.float64)
        within = mass / mass.sum() if mass.sum() > 0 else np.full(len(mass), 1 / len(mass))
        one = meetings(counts[:, here], within)
        found, expected, variance = found + one.found, expected + one.expected, variance + one.variance
    return Meetings(found, expected, variance)


def meeting_ratio(counts: NDArray[np.int64]) -> float:
    """Rate at which prompts of different members meet over that of prompts of one member (Morisita).

    Returns
    -------
    float
        1 where members are random shares of one source; well above where each holds the same list, which it
        goes through without repeats; below where each keeps to ground of its own. NaN where no two prompts of
        a member meet.
    """
    x = counts.astype(np.float64)
    n = x.sum(axis=1)
    pooled = x.sum(axis=0)
    within = float((x * (x - 1)).sum()) / max(float((n * (n - 1)).sum()), 1.0)
    across = (float(pooled @ pooled) - float((x * x).sum())) / max(float(n.sum() ** 2 - (n**2).sum()), 1.0)
    return across / within if within > 0 else float("nan")


def expected_union(prompts: NDArray[np.int64], shares: NDArray[np.float64]) -> float:
    """Cells that independent accounts reach together: Σ_c [1 − Π_i (1 − p_c)^n_i].

    Parameters
    ----------
    prompts : int64 (A,)
        Prompts of each account; only their sum matters.
    shares : float64 (C,)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.exp(float(prompts.sum()) * np.log1p(-shares.astype(np.float64)))
    return float((1 - np.where(shares >= 1, float(prompts.sum() == 0), missed)).sum())
