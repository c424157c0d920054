"""All products in float64: what is exact, and what settles the rows that faster arithmetic can't."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Products held at once.
BLOCK = 1 << 20


def nearest_cell(
    vectors: NDArray[np.floating], centroids: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the centroid of the largest inner product and its lead over the second; input is not checked.

    Products that differ by less than the rounding of float64 are equal, and the lowest id wins.
    """
    cell = np.empty(len(vectors), dtype=np.int64)
    margin = np.empty(len(vectors), dtype=np.float32)
    wide = centroids.astype(np.float64)
    largest = np.linalg.norm(wide, axis=1).max()
    step = max(1, BLOCK // len(wide))
    for start in range(0, len(vectors), step):
        rows = vectors[start : start + step].astype(np.float64)
        similarity = rows @ wide.T
        tie = rounding(rows.shape[1]) * np.linalg.norm(rows, axis=1) * largest
        best = (similarity >= (similarity.max(axis=1) - tie)[:, None]).argmax(axis=1)
        line = np.arange(len(rows))
        highest = similarity[line, best]
        similarity[line, best] = -np.inf
        cell[start : start + step] = best
        margin[start : start + step] = np.maximum(highest - similarity.max(axis=1), 0)
    return cell, margin


def rounding(dim: int) -> float:
    """Return how far two float64 products may lie apart through rounding alone, per unit of both norms."""
    return 2 * dim * 2.0**-53
