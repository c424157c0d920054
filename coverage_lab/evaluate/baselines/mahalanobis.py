"""Marginal Mahalanobis: how far an account's prompts lie from ordinary traffic's mean, on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import account_vectors
from coverage_lab.evaluate.baselines.baseline import Sample, Score
from coverage_lab.evaluate.baselines.ordinary import ordinary_vectors
from coverage_lab.measures import mahalanobis, shrunk_covariance, whitened_sums


@dataclass(frozen=True)
class Mahalanobis:
    """Mean squared Mahalanobis distance of an account's prompts to ordinary traffic.

    Formula: ``Σ_i (x_i − μ)ᵀC⁻¹(x_i − μ)/n``, μ and C mean and shrunk covariance of prompts of benign
    training accounts

    Marginal: one mean and covariance for all, since prompts have no class. C is drawn towards a multiple of
    one (Ledoit and Wolf), where arXiv 2606.05725 adds 10⁻⁶ to each variance.

    Parameters
    ----------
    ordinary : int
        Benign prompts that give μ and C.

    Notes
    -----
    Range: 0 (also for no prompts) and up, about d for ordinary traffic; higher = more like harvesting.

    References
    ----------
    .. [1] Lee, Lee, Lee and Shin (2018), NeurIPS 31; marginal and averaged over an account's prompts:
       arXiv 2606.05725.
    """

    ordinary: int = 20_000
    name: str = "Mahalanobis"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score under `train`'s mean and covariance; `seed` draws the benign prompts."""
        mean, covariance, _ = shrunk_covariance(ordinary_vectors(train, self.ordinary, seed=seed))
        # Prompts in a subspace leave directions of no variance, which only a ridge makes invertible.
        covariance += 1e-6 * np.eye(mean.size)
        return lambda sample: _scores(sample, mean, covariance)


def _scores(
    sample: Sample, mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    scores = np.zeros(len(sample.rows))
    for accounts, vectors, offsets in account_vectors(sample):
        sums, squares = whitened_sums(vectors, offsets, mean, covariance)
        scores[accounts] = np.nan_to_num(mahalanobis(sums, squares, np.diff(offsets))["mahalanobis_prompts"])
    return scores
