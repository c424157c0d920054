"""PRADA: how far from normal the distances between an account's prompts and its earlier ones are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from coverage_kernels.causal_novelty import causal_novelty
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import each_account
from coverage_lab.evaluate.baselines.baseline import Sample, Score

#: Shapiro and Wilk's W is defined from 3 values; its coefficients are trusted to 5,000.
_FEWEST, _MOST = 3, 5000


@dataclass(frozen=True)
class Prada:
    """Non-normality of the distances from each prompt to the nearest earlier one.

    Formula: ``1 − W(D′)``, W of Shapiro and Wilk; ``D = {min over j < i of |x_i − x_j|}``, D′ without what is
    3 standard deviations or more from the mean of D

    Nothing is fitted. Prompts have no predicted class, so that all are of one; distances are Euclidean
    between unit vectors, not between images; every earlier prompt counts, where the paper's growing set
    leaves some out to save time. The paper raises no alarm before 100 distances; here every account with
    3 or more is scored, since a benchmark sets its own least number of prompts.

    Notes
    -----
    Range: 0 (normal, or fewer than 3 distances left) to 1; higher = more like harvesting.

    References
    ----------
    .. [1] Juuti, Szyller, Marchal and Asokan (2019), EuroS&P, section V-B; arXiv 1805.02628. The outliers'
       rule is that of the authors' code. Score 1 − W as in arXiv 2606.05725.
    """

    name: str = "PRADA"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score; neither `train` nor `seed` changes it."""
        del train, seed
        return _scores


def _scores(sample: Sample) -> NDArray[np.float64]:
    scores = np.zeros(len(sample.rows))
    for account, vectors in each_account(sample):
        _, nearest = causal_novelty(vectors, [0, len(vectors)], backend="cpu")
        # The first prompt has no earlier one. Not from the cosines: their rounding would part equal prompts.
        gap = vectors[1:] - vectors[nearest[1:]]
        scores[account] = non_normality(np.sqrt(np.einsum("nd,nd->n", gap, gap).astype(np.float64)))
    return scores


def non_normality(distances: NDArray[np.float64]) -> float:
    """Return 1 − W of distances without outliers; 0 where too few are left or all are the same.

    Of more than 5,000, as many at even steps are taken.
    """
    # Here, not above: the import takes half a second.
    from scipy.stats import shapiro

    if distances.size < _FEWEST:
        return 0.0
    kept = distances[np.abs(distances - distances.mean()) < 3 * distances.std()]
    if kept.size > _MOST:
        kept = kept[np.linspace(0, kept.size - 1, _MOST).astype(np.int64)]
    if kept.size < _FEWEST or np.ptp(kept) == 0:
        return 0.0
    return float(1 - shapiro(kept).statistic)
