"""Vendi score alone: into how many directions an account's prompts spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import account_vectors
from coverage_lab.evaluate.baselines.baseline import Sample, Score
from coverage_lab.measures import gram, rke, vendi

#: Accounts whose Gram matrices are held at once (75 MB at d = 384).
_ACCOUNTS = 64


@dataclass(frozen=True)
class Vendi:
    """Effective number of directions of an account's prompts.

    Formula: ``(Σ λ^q)^{1/(1−q)}``, ``exp(−Σ λ ln λ)`` at q = 1; λ the eigenvalues of ``X Xᵀ/n``

    Nothing is fitted. Order 1 still rises with n at 20,000 prompts: among accounts of unlike n it is volume
    in part.

    Parameters
    ----------
    order : float
        q, 0 and up.

    Notes
    -----
    Range: 0 (no prompts), 1 (all alike) to min(n, d); higher = more like harvesting.

    References
    ----------
    .. [1] Friedman and Dieng (2023), TMLR; order 2: Jalali, Li and Farnia (2023), NeurIPS 36; any order:
       Pasarkar and Dieng (2024), AISTATS.
    """

    order: float = 1.0

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"Vendi q={self.order:g}"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score; neither `train` nor `seed` changes it."""
        del train, seed
        return lambda sample: _scores(sample, self.order)


def _scores(sample: Sample, order: float) -> NDArray[np.float64]:
    scores = np.zeros(len(sample.rows))
    for accounts, vectors, offsets in account_vectors(sample):
        directions = _order_two(vectors, offsets) if order == 2 else vendi(vectors, offsets, order=order)
        scores[accounts] = np.nan_to_num(directions)
    return scores


def _order_two(vectors: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    directions = np.empty(offsets.size - 1)
    for first in range(0, directions.size, _ACCOUNTS):
        cut = offsets[first : first + _ACCOUNTS + 1]
        part = vectors[cut[0] : cut[-1]]
        directions[first : first + _ACCOUNTS] = rke(gram(part, cut - cut[0]))[0]
    return directions
