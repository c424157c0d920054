"""Float32 products in blocks on the CPU, the two largest of each row; float64 where they are too close."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_kernels.nearest_cell import reference
from coverage_kernels.nearest_cell.bound import CPU_UNIT, summation

Found = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]


def nearest_cell(vectors: NDArray[np.floating], centroids: NDArray[np.floating], *, block: int) -> Found:
    """Return fine cell, margin, and which rows were settled by the reference; input is not checked."""
    cell = np.empty(len(vectors), dtype=np.int64)
    margin = np.empty(len(vectors), dtype=np.float32)
    bound = np.empty(len(vectors), dtype=np.float32)
    narrow = centroids.astype(np.float32)
    largest = np.linalg.norm(narrow, axis=1).max()
    # What casting to float32 loses, for float64 input.
    lost = np.linalg.norm(centroids - narrow, axis=1).max()
    gamma = summation(vectors.shape[1], CPU_UNIT)
    for start in range(0, len(vectors), block):
        stop = min(start + block, len(vectors))
        rows = vectors[start:stop].astype(np.float32)
        similarity = rows @ narrow.T
        line = np.arange(len(rows))
        best = similarity.argmax(axis=1)
        highest = similarity[line, best]
        similarity[line, best] = -np.inf
        cell[start:stop] = best
        margin[start:stop] = highest - similarity.max(axis=1)
        norm = np.linalg.norm(rows, axis=1)
        missed = np.linalg.norm(vectors[start:stop] - rows, axis=1)
        bound[start:stop] = missed * largest + norm * lost + gamma * norm * largest
    # Written so that NaN, of products beyond float32, counts as too close.
    close = ~(margin > 2 * bound)
    cell[close], margin[close] = reference.nearest_cell(vectors[close], centroids)
    return cell, margin, close
