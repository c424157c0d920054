"""The whole square of similarities of each segment: easy to check, quadratic in memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def causal_novelty(
    vectors: NDArray[np.floating],
    offsets: NDArray[np.int64],
    *,
    history: NDArray[np.floating] | None = None,
    history_offsets: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what `coverage_kernels.causal_novelty.causal_novelty` returns; input is not checked."""
    count = len(vectors)
    novelty = np.full(count, np.nan, dtype=np.float32)
    nearest = np.full(count, -1, dtype=np.int64)
    past = vectors[:0] if history is None else history
    cuts = np.zeros_like(offsets) if history_offsets is None else history_offsets
    spans = zip(pairwise(offsets.tolist()), pairwise(cuts.tolist()), strict=True)
    for (start, stop), (past_start, past_stop) in spans:
        rows = vectors[start:stop].astype(np.float32)
        keys = np.concatenate([past[past_start:past_stop].astype(np.float32), rows])
        row_of_key = np.concatenate([count + np.arange(past_start, past_stop), np.arange(start, stop)])
        depth = past_stop - past_start
        earlier = np.tri(len(rows), len(keys), depth - 1, dtype=np.bool_)
        similarity = np.where(earlier, rows @ keys.T, -np.inf)
        known = earlier.any(axis=1)
        if not known.any():
            continue
        where = start + np.flatnonzero(known)
        nearest[where] = row_of_key[similarity[known].argmax(axis=1)]
        novelty[where] = np.clip(1 - similarity[known].max(axis=1), 0, 2)
    return novelty, nearest
