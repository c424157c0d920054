"""How alike what two accounts ask is, freed of the luck of few prompts: 1 for two shares of one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: An account whose centred mean has a smaller squared length than this is like the traffic as a whole: it
#: has no direction of its own, and what it is divided by must not be luck.
LEAST_SQUARE = 1e-3


@dataclass(frozen=True, eq=False)
class Means:
    """Mean vectors of accounts' prompts about the traffic's, and how long they are without luck.

    Attributes
    ----------
    centred : float32 (A, d)
        m_i − c, with m_i the mean of account i's unit vectors and c the mean of all m_i.
    square : float64 (A,)
        Unbiased estimate of ‖E m_i − c‖²: the mean product of two different prompts of the account, each less
        c. 0 for an account of fewer than two prompts, and where the estimate is below 0.
    """

    centred: NDArray[np.float32]
    square: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.square)

    def scaled(self) -> NDArray[np.float32]:
        """Centred means over their length without luck, (A, d): products of two rows are overlaps.

        0 where an account has no direction of its own.
        """
        known = self.square >= LEAST_SQUARE
        length = np.sqrt(np.maximum(self.square, LEAST_SQUARE))
        return (self.centred * (known / length)[:, None]).astype(np.float32)

    def directions(self) -> NDArray[np.float32]:
        """Centred means scaled to length 1, (A, d): what neighbours are searched by. 0 stays 0."""
        length = np.sqrt(np.einsum("ad,ad->a", self.centred, self.centred))
        unit: NDArray[np.float32] = self.centred / np.maximum(length, 1e-9)[:, None]
        return unit


def means_of(sums: NDArray[np.floating], prompts: NDArray[np.int64], centre: NDArray[np.float64]) -> Means:
    r"""Compute centred means from sums of unit vectors.

    For n prompts with vectors x, mean m and centre c, the mean of (x − c)·(x' − c) over pairs of different
    prompts is :math:`(n ‖m − c‖² − e) / (n − 1)` with e = 1 − 2 m·c + ‖c‖² the mean of ‖x − c‖².

    Parameters
    ----------
    sums : (A, d)
        Sum of the account's unit vectors.
    prompts : int64 (A,)
        How many they are.
    centre : float64 (d,)
        c.

    Returns
    -------
    Means
    """
    count = np.maximum(prompts, 1)
    mean = sums / count[:, None]
    centred = mean - centre
    length = np.einsum("ad,ad->a", centred, centred)
    each = 1 - 2 * (mean @ centre) + centre @ centre
    square = np.where(prompts > 1, (count * length - each) / np.maximum(count - 1, 1), 0.0)
    return Means(centred.astype(np.float32), np.maximum(square, 0.0))


def centre_of(sums: NDArray[np.floating], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of the means of all accounts that have a prompt, (d,); 0 without any."""
    having = prompts > 0
    if not having.any():
        return np.zeros(sums.shape[1])
    centre: NDArray[np.float64] = (sums[having] / prompts[having, None]).mean(axis=0, dtype=np.float64)
    return centre


def mean_overlap(scaled: Sequence[NDArray[np.float32]], group: NDArray[np.int64]) -> float:
    """Mean overlap over all pairs of a group's members and all kinds; 0 for fewer than two members.

    Parameters
    ----------
    scaled : sequence of float32 (A, d)
        Each kind's `Means.scaled`.
    group : int64 (k,)
        Places of the members.
    """
    if len(group) < 2:
        return 0.0
    products = []
    for rows in scaled:
        mine = rows[group].astype(np.float64)
        total = mine.sum(axis=0)
        products.append(float(total @ total) - float((mine * mine).sum()))
    return float(np.mean(products)) / (len(group) * (len(group) - 1))


def overlap_with_members(
    scaled: Sequence[NDArray[np.float32]], group: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean overlap of each account with the members of a group, itself left out, (A,)."""
    found = np.zeros(len(scaled[0]))
    others = np.full(len(found), len(group), np.float64)
    others[group] -= 1
    for rows in scaled:
        mine = rows[group].astype(np.float64)
        product = rows.astype(np.float64) @ mine.sum(axis=0)
        product[group] -= (mine * mine).sum(axis=1)
        found += product
    rest: NDArray[np.float64] = found / np.maximum(others, 1) / len(scaled)
    return rest
