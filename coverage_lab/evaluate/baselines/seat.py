"""SEAT: how many pairs of an account's prompts are more alike than ordinary prompts ever are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import each_account
from coverage_lab.evaluate.baselines.baseline import Sample, Score
from coverage_lab.evaluate.baselines.ordinary import ordinary_vectors

#: Rows of cosines held at once.
_TILE = 1024


@dataclass(frozen=True)
class Seat:
    """Share of an account's pairs of prompts that are more alike than ordinary traffic's pairs.

    Formula: ``#{j < i: x_j · x_i ≥ δ} / (n(n−1)/2)``, δ the `percentile` of cosines between different prompts
    of benign training accounts

    The paper trains a similarity encoder against adversarial images; prompts keep the benchmark's own
    encoder, as in arXiv 2606.05725, whose percentile and share these are. The paper counts pairs and stops an
    account at more than N; a count rises with n², so that among accounts of unlike n it ranks by volume.

    Parameters
    ----------
    percentile : float
        0 to 100, of ordinary pairs' cosines.
    ordinary : int
        Benign prompts whose pairs give δ.

    Notes
    -----
    Range: 0 (also for fewer than 2 prompts) to 1; higher = more like harvesting.

    References
    ----------
    .. [1] Zhang, Chen and Wagner (2021), AISec, doi 10.1145/3474369.3486863; δ and share: arXiv 2606.05725.
    """

    percentile: float = 99.0
    ordinary: int = 2000
    name: str = "SEAT"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score under the δ of `train`; `seed` draws the benign prompts."""
        ordinary = ordinary_vectors(train, self.ordinary, seed=seed)
        cosines = (ordinary @ ordinary.T)[np.triu_indices(len(ordinary), 1)]
        delta = float(np.percentile(cosines, self.percentile))
        return lambda sample: _scores(sample, delta)


def _scores(sample: Sample, delta: float) -> NDArray[np.float64]:
    scores = np.zeros(len(sample.rows))
    for account, vectors in each_account(sample):
        n = len(vectors)
        if n > 1:
            scores[account] = similar_pairs(vectors, delta) / (n * (n - 1) / 2)
    return scores


def similar_pairs(vectors: NDArray[np.float32], delta: float) -> int:
    """Return the number of pairs of different rows with a cosine of `delta` and up."""
    pairs = 0
    for top in range(0, len(vectors), _TILE):
        rows = vectors[top : top + _TILE]
        pairs += int(np.count_nonzero(rows @ vectors[:top].T >= delta))
        own = rows @ rows.T >= delta
        pairs += int(np.count_nonzero(own) - np.count_nonzero(own.diagonal())) // 2
    return pairs
