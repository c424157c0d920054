"""MMD to the nearest customer: whether an account is like any one benign account, not like their mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import account_vectors
from coverage_lab.evaluate.baselines.baseline import Sample, Score
from coverage_lab.evaluate.baselines.mmd import MEDIAN_OF, MULTIPLES, median_distance
from coverage_lab.evaluate.baselines.ordinary import ordinary_vectors
from coverage_lab.measures import feature_sums, fourier_frequencies


@dataclass(frozen=True)
class MmdNearest:
    """Unbiased MMD² between an account and the benign training account nearest to it.

    Formula: ``min over b of m_a + m_b − 2 S_a · S_b/(n_a n_b)``, ``m = (|S|² − n)/(n(n−1))``, S the sum of an
    account's random Fourier features of the four kernels of `Mmd`

    A variant of this project's: customers differ from each other, so that each is far from their mixture. It
    rates accounts that were not in `train`: one that was is nearest to itself. Accounts are thinned as in
    `Mmd`. Small accounts have noisier distances, of which the least is taken: they rank lower.

    Parameters
    ----------
    most : int, optional
        Prompts of an account that are used; all where None.
    frequencies : int
        Per kernel; the error of a kernel value is about ``1/√(2 frequencies)``, the same for all accounts.

    Notes
    -----
    Range: about 0 to 2, below 0 by chance; higher = more like harvesting. 0 for fewer than 2 prompts.

    References
    ----------
    .. [1] Kernel as in arXiv 2606.05725; features: Rahimi and Recht (2007), NeurIPS 20.
    """

    most: int | None = 500
    frequencies: int = 128
    name: str = "MMD nearest"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score against `train`'s benign accounts; `seed` draws frequencies and thins accounts."""
        width = median_distance(ordinary_vectors(train, MEDIAN_OF, seed=seed))
        waves = fourier_frequencies(
            train.vectors.shape[1],
            bandwidths=[width * multiple for multiple in MULTIPLES],
            count=self.frequencies,
            seed=seed,
        )
        means, within = _account_features(train, waves, self.most, seed)
        known = ~train.harvest & (train.weight > 0) & np.isfinite(within)
        if not np.any(known):
            raise ValueError("train: expected a benign account with 2 prompts or more, got none")
        return lambda sample: _scores(sample, waves, means[known], within[known], self.most, seed)


def _scores(
    sample: Sample,
    waves: NDArray[np.float64],
    means: NDArray[np.float64],
    within: NDArray[np.float64],
    most: int | None,
    seed: int,
) -> NDArray[np.float64]:
    own_means, own = _account_features(sample, waves, most, seed)
    scores = np.zeros(own.size)
    for first in range(0, own.size, 1024):
        rows = slice(first, first + 1024)
        nearest = (within - 2 * (own_means[rows] @ means.T)).min(axis=1)
        scores[rows] = np.where(np.isfinite(own[rows]), own[rows] + nearest, 0.0)
    return scores


def _account_features(
    sample: Sample, waves: NDArray[np.float64], most: int | None, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the accounts' mean features, scaled so that k(x, x) = 1, and m; NaN for fewer than 2 prompts."""
    kernels, _, count = waves.shape
    means = np.zeros((len(sample.rows), kernels * 2 * count))
    within = np.full(len(sample.rows), np.nan)
    for accounts, vectors, offsets in account_vectors(sample, most=most, seed=seed):
        sums = feature_sums(vectors, offsets, waves).reshape(offsets.size - 1, -1) / np.sqrt(kernels)
        n = np.diff(offsets).astype(np.float64)
        means[accounts] = sums / np.maximum(n, 1)[:, None]
        square = np.einsum("af,af->a", sums, sums)
        within[accounts] = np.divide(square - n, n * (n - 1), out=np.full(n.shape, np.nan), where=n > 1)
    return means, within
