"""Buckets of random hyperplanes: what CAP and B4B count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_lab.evaluate.baselines.account_vectors import each_account
from coverage_lab.evaluate.baselines.baseline import Sample


def hyperplanes(d: int, bits: int, *, seed: int) -> NDArray[np.float32]:
    """Return normal vectors of random hyperplanes through 0, (d, bits): one bit of the hash each.

    Raises
    ------
    ValueError
        `bits` is not 1 to 62.

    References
    ----------
    .. [1] Charikar (2002), STOC.
    """
    if not 1 <= bits <= 62:
        raise ValueError(f"bits: expected 1 to 62, got {bits}")
    return np.random.default_rng(seed).standard_normal((d, bits)).astype(np.float32)


def occupied_buckets(sample: Sample, planes: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many of the ``2^bits`` buckets each account's prompts fall into; 0 without prompts."""
    occupied = np.zeros(len(sample.rows), dtype=np.int64)
    powers = 1 << np.arange(planes.shape[1], dtype=np.int64)
    for account, vectors in each_account(sample):
        occupied[account] = np.unique((vectors @ planes >= 0) @ powers).size
    return occupied
