"""Logistic regression on an account's mean vector: the plainest method that learns from harvests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import each_account, prompt_counts
from coverage_lab.evaluate.baselines.baseline import Sample, Score


@dataclass(frozen=True)
class MeanEmbedding:
    """Log odds of harvesting that a logistic regression gives an account's mean vector.

    Formula: ``b + wᵀz``, z the mean of the account's vectors, standardised with the training accounts'
    weighted mean and deviation; w, b minimise ``|w|²/2 + C Σ_a v_a log-loss_a``, v the weights
    scaled to a mean of 1

    It learns what harvested corpora are about, and so what a new harvest is not.

    Parameters
    ----------
    c : float
        C, above 0: the less, the more w is drawn to 0.

    Notes
    -----
    Range: any; higher = more like harvesting. An account without prompts gets the average training account's.

    References
    ----------
    .. [1] scikit-learn's `StandardScaler` and `LogisticRegression`; no paper.
    """

    c: float = 1.0
    name: str = "mean embedding"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score that `train` teaches; `seed` does not change it.

        Raises
        ------
        ValueError
            `train` lacks harvesting or benign accounts with prompts and a weight above 0.
        """
        # Here, not above: the import takes a second.
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        del seed
        used = (prompt_counts(train) > 0) & (train.weight > 0)
        if not (np.any(used & train.harvest) and np.any(used & ~train.harvest)):
            raise ValueError("train: expected harvesting and benign accounts with prompts, got one kind only")
        weight = train.weight[used] / train.weight[used].mean()
        means = account_means(train)[used]
        scaler = StandardScaler().fit(means, sample_weight=weight)
        model = LogisticRegression(C=self.c, max_iter=1000)
        model.fit(scaler.transform(means), train.harvest[used], sample_weight=weight)
        slope: NDArray[np.float64] = model.coef_[0] / scaler.scale_
        start = float(model.intercept_[0] - slope @ scaler.mean_)
        blank = float(model.intercept_[0])
        return lambda sample: np.where(
            prompt_counts(sample) > 0, account_means(sample) @ slope + start, blank
        )


def account_means(sample: Sample) -> NDArray[np.float64]:
    """Return the mean vector of every account, (A, d); 0 for one without prompts."""
    means = np.zeros((len(sample.rows), sample.vectors.shape[1]))
    for account, vectors in each_account(sample):
        means[account] = vectors.mean(axis=0, dtype=np.float64)
    return means
