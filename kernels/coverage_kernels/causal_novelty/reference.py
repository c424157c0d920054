"""The whole square of similarities of each segment: easy to check, quadratic in memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def causal_novelty(
    vectors: NDArray[np.floating], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what `coverage_kernels.causal_novelty.causal_novelty` returns; input is not checked."""
    novelty = np.full(len(vectors), np.nan, dtype=np.float32)
    nearest = np.full(len(vectors), -1, dtype=np.int64)
    for start, stop in pairwise(offsets.tolist()):
        if stop - start < 2:
            continue
        rows = vectors[start:stop].astype(np.float32)
        earlier = np.tri(stop - start, k=-1, dtype=np.bool_)
        similarity = np.where(earlier, rows @ rows.T, -np.inf)
        nearest[start + 1 : stop] = start + similarity[1:].argmax(axis=1)
        novelty[start + 1 : stop] = np.clip(1 - similarity[1:].max(axis=1), 0, 2)
    return novelty, nearest
