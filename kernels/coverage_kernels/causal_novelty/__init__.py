"""Novelty of each row against the earlier rows of its own segment."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_kernels.causal_novelty import blocked
from coverage_kernels.ragged import checked_offsets

__all__ = ["causal_novelty"]

#: How far a row's norm may be from 1. Rounding a unit vector to float16 moves its norm by less than 5e-4.
NORM_TOLERANCE = 5e-3


def causal_novelty(
    vectors: NDArray[np.floating], offsets: ArrayLike, *, tile: int = 1024
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return 1 − the largest cosine to an earlier row of the same segment, and which row that is.

    Formula: ``novelty[i] = 1 − max(vectors[j] · vectors[i] for j < i in i's segment)``

    Parameters
    ----------
    vectors : float16, float32 or float64 (n, d)
        Unit rows, in time order within each segment. Products are taken in float32.
    offsets : int (segments + 1,)
        Segment s holds rows ``offsets[s]:offsets[s + 1]``. Empty segments are allowed.
    tile : int
        Rows and columns of the largest block of similarities held at once (``4 · tile²`` bytes).

    Returns
    -------
    novelty : float32 (n,)
        0 (seen before) to 2 (opposite to all before); NaN for the first row of a segment.
    nearest : int64 (n,)
        Row of `vectors` with the largest cosine, the earliest of equals; −1 for the first of a segment.

    Raises
    ------
    ValueError
        `vectors` is not a floating matrix of unit rows (NaN and zero rows are not), `offsets` does not
        cut it, or `tile` is below 1.
    """
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(
            f"vectors: expected floats of shape (n, d), got {vectors.dtype} of shape {vectors.shape}"
        )
    cut = checked_offsets(offsets, len(vectors))
    if tile < 1:
        raise ValueError(f"tile: expected 1 or more, got {tile}")
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32, casting="same_kind")
    odd = np.flatnonzero(~(np.abs(np.sqrt(squares) - 1) <= NORM_TOLERANCE))
    if odd.size:
        raise ValueError(
            f"vectors: expected rows of norm 1, got {np.sqrt(squares[odd[0]]):.4g} in row {odd[0]}"
            f" ({odd.size} such rows)"
        )
    return blocked.causal_novelty(vectors, cut, tile=tile)
