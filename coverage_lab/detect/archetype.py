"""What kind of account it is, with a probability for each kind: a multinomial logistic model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from scipy.special import softmax

from coverage_lab.config import Frozen

#: Standardised features count as at most so many benign standard deviations.
CLIP = 3.0


class ArchetypeModel(Frozen):
    """Softmax of ``W [clip(z), vectors] + b``, one row of W an archetype.

    `vectors` names what is weighed besides the standardised features, in this order
    (`coverage_lab.detect.scorecard.ARCHETYPE_VECTORS`).
    """

    names: tuple[str, ...]
    vectors: tuple[str, ...]
    intercept: tuple[float, ...]
    weight: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _one_length(self) -> ArchetypeModel:
        if not len(self.names) == len(self.intercept) == len(self.weight):
            raise ValueError("names, intercept and weight of the archetypes must be equally long")
        if len({len(row) for row in self.weight}) > 1:
            raise ValueError("every archetype needs as many weights as the others")
        return self

    def probabilities(self, z: NDArray[np.float64], *vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each archetype.

        Parameters
        ----------
        z : float64 (A, F)
            Features standardised by size; NaN counts as 0.
        vectors : float64 (A, k) each
            Those that `vectors` names.

        Returns
        -------
        float64 (A, K)
            In the order of `names`; rows sum to 1. Of corpora, not of traffic: kinds count the same.
        """
        x = np.column_stack([clipped(z), *vectors])
        # Not `@`: BLAS rounds a row otherwise among many than alone, and each account is judged alone.
        logits = np.einsum("ad,kd->ak", x, np.array(self.weight)) + np.array(self.intercept)
        shares: NDArray[np.float64] = softmax(logits, axis=1)
        return shares


def clipped(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hold z within ±`CLIP`; what is not defined is 0."""
    return np.nan_to_num(np.clip(z, -CLIP, CLIP))
