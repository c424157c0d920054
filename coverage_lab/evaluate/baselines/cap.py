"""CAP: what coverage-aware perturbation would charge an account for the ground that its prompts cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import each_account, prompt_counts
from coverage_lab.evaluate.baselines.baseline import Sample, Score
from coverage_lab.evaluate.baselines.hashed import hyperplanes, occupied_buckets

#: λ, α, β and the weights of coverage, novelty and spread, as arXiv 2606.05725 runs CAP.
_LAMBDA, _ALPHA, _BETA = 0.0005, 8.0, 0.19
_COVERAGE, _NOVELTY, _SPREAD = 0.05, 0.35, 0.45


@dataclass(frozen=True)
class Cap:
    """Cost of an account's coverage: buckets occupied, how many of them a prompt opens, and spread.

    Formula: ``λ + 0.05 (exp(c/β · ln(α/λ)) − 1) + 0.35 α K/n + 0.45 α min(s, 1)``, K of ``2^bits`` buckets
    occupied by n prompts, ``c = K/2^bits``, s the root mean squared distance of prompts to their mean;
    λ = 0.0005, α = 8, β = 0.19

    One-sided as published: what is broad is suspect. A harvest narrower than ordinary use costs less than it
    and is missed. The account is one batch, so that K/n is its rate of new buckets. The noise that CAP puts
    into answers is no part of this.

    Parameters
    ----------
    bits : int
        Random hyperplanes, 1 to 62.

    Notes
    -----
    Range: 0 (no prompts), about 0.35 α/n (all alike) and up; higher = more like harvesting.

    References
    ----------
    .. [1] Stealing and Defending the Ends of LLMs, OpenReview dOS3e1kC5u; adaptation and constants: the code
       of arXiv 2606.05725.
    """

    bits: int = 11
    name: str = "CAP"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score under a hash drawn with `seed`; the accounts of `train` do not change it."""
        planes = hyperplanes(train.vectors.shape[1], self.bits, seed=seed)
        return lambda sample: _costs(sample, planes)


def _costs(sample: Sample, planes: NDArray[np.float32]) -> NDArray[np.float64]:
    prompts = prompt_counts(sample)
    occupied = occupied_buckets(sample, planes)
    coverage = occupied / 2 ** planes.shape[1]
    cost = (
        _LAMBDA
        + _COVERAGE * (np.exp(coverage / _BETA * np.log(_ALPHA / _LAMBDA)) - 1)
        + _ALPHA * _NOVELTY * occupied / np.maximum(prompts, 1)
        + _ALPHA * _SPREAD * np.minimum(_spread(sample), 1)
    )
    return np.where(prompts > 0, cost, 0.0)


def _spread(sample: Sample) -> NDArray[np.float64]:
    spread = np.zeros(len(sample.rows))
    for account, vectors in each_account(sample):
        centred = vectors - vectors.mean(axis=0, dtype=np.float64)
        spread[account] = np.sqrt((centred**2).sum() / len(vectors))
    return spread
