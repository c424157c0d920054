"""Rows of length one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each row by its Euclidean norm, x / ‖x‖, in float32; the input is overwritten.

    A row of zeros has no direction and becomes the uniform vector, 1/√d everywhere.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    directed = norms > 0
    vectors[~directed] = 1.0
    norms[~directed] = np.sqrt(vectors.shape[1])
    vectors /= norms[:, None].astype(np.float32)
    return vectors
