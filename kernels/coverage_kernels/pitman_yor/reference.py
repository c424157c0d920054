"""One account at a time: the likelihood as it is written, and a search that no derivative can mislead."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Points a side of the grid that is searched; each round shrinks it around the best.
_SIDE = 33
_SHRINK = 0.3
_ROUNDS = 30


class Fit(NamedTuple):
    """Maximum-likelihood estimate of one account.

    Attributes
    ----------
    discount, concentration, support, log_likelihood, new_chance : float
        d, θ, M (inf where d ≥ 0), ln L, chance that the next prompt is in a new cell.
    """

    discount: float
    concentration: float
    support: float
    log_likelihood: float
    new_chance: float


def log_likelihood(counts: NDArray[np.integer], discount: float, concentration: float) -> float:
    """Return ln of the EPPF of one account's counts, term by term; −inf where it is 0 or no probability.

    Formula: ``Σ_{0<i<K} ln(θ + i d) − Σ_{0<i<n} ln(θ + i) + Σ_c Σ_{0<j<x_c} ln(j − d)``
    """
    cells, prompts = len(counts), int(counts.sum())
    terms = [concentration + i * discount for i in range(1, cells)]
    terms += [j - discount for x in counts.tolist() for j in range(1, x)]
    below = [concentration + i for i in range(1, prompts)]
    if min(terms + below, default=1) <= 0:
        return -math.inf
    return math.fsum(map(math.log, terms)) - math.fsum(map(math.log, below))


def uniform_log_likelihood(counts: NDArray[np.integer], support: float) -> float:
    """Return the limit of `log_likelihood` for d → −∞, θ = M|d|: independent draws from M equal cells."""
    cells, prompts = len(counts), int(counts.sum())
    return math.fsum(math.log(support - i) for i in range(1, cells)) - (prompts - 1) * math.log(support)


def fit(counts: NDArray[np.integer]) -> Fit:
    """Return the maximum by a grid over (w, p) that shrinks around its best point.

    ``d = 2 − 1/w`` for w from 0 (d = −∞) to 1 (d = 1), p the chance of a new cell from 0 to 1; K from 2 to
    n − 1.
    """
    cells, prompts = len(counts), int(counts.sum())
    lows, highs = np.array([0.0, 0.0]), np.array([1.0, 1.0])
    best, best_at = -math.inf, np.array([0.5, 0.5])
    for _ in range(_ROUNDS):
        w, p = (np.linspace(lows[axis], highs[axis], _SIDE) for axis in (0, 1))
        value = _grid(counts, w[:, None], p[None, :])
        at = np.unravel_index(np.argmax(value), value.shape)
        if value[at] > best:
            best, best_at = float(value[at]), np.array([w[at[0]], p[at[1]]])
        half = (highs - lows) / 2 * _SHRINK
        lows, highs = np.maximum(best_at - half, 0), np.minimum(best_at + half, 1)
    u, total = _projective(best_at[0], best_at[1], cells, prompts)
    if u == 0:
        return Fit(-math.inf, math.inf, float(total), best, float(best_at[1]))
    discount = (u - 1) / u
    support = float(total / (1 - u)) if u < 1 else math.inf
    return Fit(float(discount), float(total / u), support, best, float(best_at[1]))


def _projective(
    w: NDArray[np.float64], p: NDArray[np.float64], cells: int, prompts: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return u and t with ``d = (u − 1)/u`` and ``θ = t/u``."""
    u = w / np.maximum(1 - w, 1e-12)
    return u, (prompts * u * p + cells * (1 - u)) / np.maximum(1 - p, 1e-12)


def _grid(counts: NDArray[np.integer], w: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln L at every point; all terms times u, which cancels: ln L has as many above as below."""
    cells, prompts = len(counts), int(counts.sum())
    u, total = np.broadcast_arrays(*_projective(w, p, cells, prompts))
    value = np.zeros(u.shape)
    sound = total + (u - 1) > 0
    for i in range(1, cells):
        term = total + i * (u - 1)
        sound &= term > 0
        value += np.log(np.where(sound, term, 1))
    for i in range(1, prompts):
        value -= np.log(np.where(sound, total + i * u, 1))
    for j in range(1, int(counts.max())):
        value += np.count_nonzero(counts > j) * np.log(1 + (j - 1) * u)
    return np.where(sound, value, -np.inf)
