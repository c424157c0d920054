"""Volume alone: what every other method has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import prompt_counts
from coverage_lab.evaluate.baselines.baseline import Sample, Score


@dataclass(frozen=True)
class Volume:
    """Number of an account's prompts.

    The rule of rate limits, and of the reports of harvests by their count of exchanges. Where a benchmark
    gives all accounts one n, it tells nothing.

    Notes
    -----
    Range: 0 and up; higher = more like harvesting.
    """

    name: str = "volume"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score; neither `train` nor `seed` changes it."""
        del train, seed
        return _scores


def _scores(sample: Sample) -> NDArray[np.float64]:
    return prompt_counts(sample).astype(np.float64)
