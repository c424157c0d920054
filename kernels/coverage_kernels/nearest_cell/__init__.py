"""Cell of each vector at every level of an atlas, and how clearly it is the nearest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_kernels.backends import TritonBackend, chosen
from coverage_kernels.nearest_cell import blocked

__all__ = ["Assignment", "nearest_cell"]


class Assignment(NamedTuple):
    """What `nearest_cell` returns.

    Attributes
    ----------
    cells : int32 (n, levels)
        Coarsest level first, as in `parents`.
    margin : float32 (n,)
        Largest inner product minus the second largest, 0 and up; infinite for a single centroid.
    rechecked : bool (n,)
        Rows that fast arithmetic could not settle and float64 did.
    """

    cells: NDArray[np.int32]
    margin: NDArray[np.float32]
    rechecked: NDArray[np.bool_]


def nearest_cell(
    vectors: NDArray[np.floating],
    centroids: NDArray[np.floating],
    *,
    parents: NDArray[np.integer] | None = None,
    block: int = 1024,
    backend: TritonBackend = "auto",
) -> Assignment:
    """Return the cell of the largest inner product at every level, and its lead over the second.

    Formula: ``fine[i] = argmax over k of vectors[i] · centroids[k]``, ``cells[i, l] = parents[l, fine[i]]``

    Parameters
    ----------
    vectors : float16, float32 or float64 (n, d)
        Finite rows; unit rows where the product is to be the cosine. 'triton' takes float64 as float32.
    centroids : float (K, d)
        Finite, K of 1 or more. 'triton' takes float64 as float32.
    parents : int (levels, K), optional
        Cell of each centroid at each level, as in an atlas; by default one level, the centroids themselves.
    block : int
        Rows whose K products the CPU holds at once (``4 · block · K`` bytes).
    backend : {'auto', 'cpu', 'triton'}
        'triton' needs torch, triton and a CUDA device; 'auto' uses it where they are, and logs its choice
        once.

    Returns
    -------
    Assignment
        The cell is that of exact arithmetic, the lowest id among equals (products within the rounding of
        float64 are equal). The margin of a row that was not rechecked is off by twice the error bound of
        the README at most. Without vectors every array is empty.

    Raises
    ------
    ValueError
        The matrices are not finite floats of one length, there is no centroid, `parents` is not integers of
        shape (levels, K), `block` is below 1, or there is no such backend.
    RuntimeError
        'triton' was asked for and can't run here.
    """
    _check_finite(vectors, "vectors")
    _check_finite(centroids, "centroids")
    if not len(centroids):
        raise ValueError("centroids: expected 1 or more, got none")
    if vectors.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"vectors: expected rows of length {centroids.shape[1]} like centroids, got {vectors.shape[1]}"
        )
    if block < 1:
        raise ValueError(f"block: expected 1 or more, got {block}")
    levels = _checked_parents(parents, len(centroids))
    if chosen(backend, "triton", op="nearest_cell") == "cpu":
        fine, margin, rechecked = blocked.nearest_cell(vectors, centroids, block=block)
    else:
        # Here, not above: torch and triton are an extra.
        from coverage_kernels.nearest_cell import from_host

        fine, margin, rechecked = from_host.nearest_cell(vectors, centroids)
    return Assignment(np.ascontiguousarray(levels[:, fine].T), margin, rechecked)


def _checked_parents(parents: NDArray[np.integer] | None, count: int) -> NDArray[np.int32]:
    if parents is None:
        return np.arange(count, dtype=np.int32)[None]
    if parents.ndim != 2 or parents.shape[1] != count or not np.issubdtype(parents.dtype, np.integer):
        raise ValueError(
            f"parents: expected integers of shape (levels, {count}), got {parents.dtype} of {parents.shape}"
        )
    return parents.astype(np.int32, copy=False)


def _check_finite(matrix: NDArray[np.floating], name: str) -> None:
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
        raise ValueError(f"{name}: expected floats of shape (n, d), got {matrix.dtype} of {matrix.shape}")
    odd = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if odd.size:
        raise ValueError(f"{name}: expected finite rows, got another in row {odd[0]} ({odd.size} such rows)")
