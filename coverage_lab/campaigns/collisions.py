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


def meetings(member: NDArray[np.int64], cell: NDArray[np.int64], shares: NDArray[np.float64]) -> Meetings:
    r"""Count meetings of independent accounts that all draw from one set of shares.

    X = Σ_{i<j} Σ_c x_ic x_jc. With :math:`S_k = Σ_c p_c^k`, for accounts of n_i prompts,

    E X = Σ_{i<j} n_i n_j S₂,

    Var X = Σ_{i<j} n_i n_j [S₂ − S₂² + (n_i + n_j − 2)(S₃ − S₂²)]
    + 2 Σ_i Σ_{j<k; j,k≠i} n_i n_j n_k (S₃ − S₂²).

    The second sum is of two pairs that have account i in common. Above chance: a shared list or template.
    Below: the accounts avoid one another, as shares of a bank that was parted by topic do.

    Parameters
    ----------
    member, cell : int64 (N,)
        Account and cell of each prompt.
    shares : float64 (C,)
        p: what prompts of a cell are of all, under the null; sums to 1.

    Raises
    ------
    ValueError
        `shares` is negative or does not sum to 1, or a cell has no share.
    """
    if (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"shares: expected numbers from 0 up that sum to 1, got a sum of {shares.sum():g}")
    if len(cell) and not 0 <= cell.min() <= cell.max() < len(shares):
        raise ValueError(f"cell: expected 0 to {len(shares) - 1}, one with a share, got {cell.max()}")
    within, pooled = _same(member, cell)
    n = np.bincount(member).astype(np.float64)
    square, cube = float((shares**2).sum()), float((shares**3).sum())
    total, squares, cubes = float(n.sum()), float((n**2).sum()), float((n**3).sum())
    pairs = (total**2 - squares) / 2
    # Σ_{i<j} n_i n_j (n_i + n_j), and Σ_{i<j<k} n_i n_j n_k, of which each is three pairs of pairs.
    unequal = total * squares - cubes
    triples = (total**3 - 3 * total * squares + 2 * cubes) / 6
    variance = pairs * (square - square**2) + (unequal - 2 * pairs + 6 * triples) * (cube - square**2)
    return Meetings((pooled - within) / 2, pairs * square, max(variance, 0.0))


def meetings_within_topics(
    member: NDArray[np.int64],
    cell: NDArray[np.int64],
    shares: NDArray[np.float64],
    topic: NDArray[np.int32],
) -> Meetings:
    """Count meetings given how many prompts each account has in each topic.

    Two customers of one trade meet because of the trade. Given their topics, cells are drawn from the shares
    within the topic, independently in each, so the sums of mean and variance over topics are exact.

    Parameters
    ----------
    member, cell : int64 (N,)
    shares : float64 (C,)
        Reference shares, above 0.
    topic : int32 (C,)
        Topic of each cell.
    """
    found = expected = variance = 0.0
    of_prompt = topic[cell]
    place = np.empty(len(shares), np.int64)
    for number in np.unique(of_prompt):
        here = np.flatnonzero(topic == number)
        place[here] = np.arange(len(here))
        mine = of_prompt == number
        one = meetings(member[mine], place[cell[mine]], shares[here] / shares[here].sum())
        found, expected, variance = found + one.found, expected + one.expected, variance + one.variance
    return Meetings(found, expected, variance)


def meeting_ratio(member: NDArray[np.int64], value: NDArray[np.int64]) -> float:
    """Rate at which prompts of different members meet over that of prompts of one member (Morisita).

    Parameters
    ----------
    member, value : int64 (N,)
        Member, and text or cell, of each prompt.

    Returns
    -------
    float
        1 where members are random shares of one source; well above, up to infinity, where each holds the same
        list, which it goes through without repeats; below where each keeps to ground of its own. NaN where no
        two prompts meet at all.
    """
    within, pooled = _same(member, value)
    n = np.bincount(member).astype(np.float64)
    own, other = float((n * (n - 1)).sum()), float(n.sum() ** 2 - (n**2).sum())
    repeats = (within - float(n.sum())) / max(own, 1.0)
    across = (pooled - within) / max(other, 1.0)
    if repeats > 0:
        return across / repeats
    return float("inf") if across > 0 else float("nan")


def _same(member: NDArray[np.int64], value: NDArray[np.int64]) -> tuple[float, float]:
    """Ordered pairs of prompts with one value, a prompt with itself too: of one member, and of all."""
    if not len(value):
        return 0.0, 0.0
    width = int(value.max()) + 1
    _, each = np.unique(member * width + value, return_counts=True)
    _, all_ = np.unique(value, return_counts=True)
    return float((each.astype(np.float64) ** 2).sum()), float((all_.astype(np.float64) ** 2).sum())


def expected_union(prompts: NDArray[np.int64], shares: NDArray[np.float64]) -> float:
    """Cells that independent accounts reach together: Σ_c [1 − Π_i (1 − p_c)^n_i].

    Parameters
    ----------
    prompts : int64 (A,)
        Prompts of each account; only their sum matters.
    shares : float64 (C,)
    """
    total = float(prompts.sum())
    if total == 0:
        return 0.0
    with np.errstate(divide="ignore"):
        return float(-np.expm1(total * np.log1p(-shares.astype(np.float64))).sum())
