"""B4B: how much of the embedding space an account's prompts cover, in buckets of a random hash."""

from __future__ import annotations

from dataclasses import dataclass

from coverage_lab.evaluate.baselines.baseline import Sample, Score
from coverage_lab.evaluate.baselines.hashed import hyperplanes, occupied_buckets


@dataclass(frozen=True)
class B4b:
    """Share of a random hash's buckets that an account's prompts fall into.

    Formula: ``K / 2^bits``, K the buckets occupied

    B4B's noise rises with this share alone, so that its order of accounts is the share's. Neither the noise
    nor the transformations against colluding accounts are part of this. The share rises with n:
    among accounts of unlike n it is volume in part.

    Parameters
    ----------
    bits : int
        Random hyperplanes, 1 to 62.

    Notes
    -----
    Range: 0 (no prompts) to 1; higher = more like harvesting.

    References
    ----------
    .. [1] Dubiński, Pawlak, Boenisch, Trzciński and Dziedzic (2023), NeurIPS 36; arXiv 2310.08571. The number
       of bits is this project's choice.
    """

    bits: int = 12
    name: str = "B4B"

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score under a hash drawn with `seed`; the accounts of `train` do not change it."""
        planes = hyperplanes(train.vectors.shape[1], self.bits, seed=seed)
        return lambda sample: occupied_buckets(sample, planes) / 2**self.bits
