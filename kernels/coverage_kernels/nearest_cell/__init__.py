"""Cell of each vector at every level of an atlas, and how clearly it is the nearest."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_kernels.backends import TritonBackend, chosen
from coverage_kernels.nearest_cell import blocked
from coverage_kernels.tensors import Values, as_array, check_floats, finite_rows, like

__all__ = ["Assignment", "nearest_cell"]


class Assignment(NamedTuple, Generic[Values]):
    """What `nearest_cell` returns: arrays for arrays, tensors on the device of `vectors` for tensors.

    Attributes
    ----------
    cells : int32 (n, levels)
        Coarsest level first, as in `parents`.
    margin : float32 (n,)
        Largest inner product minus the second largest, 0 and up; infinite for a single centroid.
    rechecked : bool (n,)
        Rows that fast arithmetic could not settle and float64 did.
    """

    cells: Values
    margin: Values
    rechecked: Values


def nearest_cell(
    vectors: Values,
    centroids: Values,
    *,
    parents: Values | None = None,
    block: int = 1024,
    backend: TritonBackend = "auto",
) -> Assignment[Values]:
    """Return the cell of the largest inner product at every level, and its lead over the second.

    Formula: ``fine[i] = argmax over k of vectors[i] · centroids[k]``, ``cells[i, l] = parents[l, fine[i]]``

    Parameters
    ----------
    vectors : float16, float32 or float64 (n, d), in a tensor also bfloat16
        Finite rows; unit rows where the product is to be the cosine. 'triton' reads a tensor of the GPU where
        it is, and takes float64 as float32.
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
    cells: Any
    margin: Any
    rechecked: Any
    if chosen(backend, "triton", op="nearest_cell") == "cpu":
        fine, margin, rechecked = blocked.nearest_cell(as_array(vectors), as_array(centroids), block=block)
        cells = np.ascontiguousarray(levels[:, fine].T)
    else:
        # Here, not above: torch and triton are an extra.
        from coverage_kernels.nearest_cell import on_gpu

        cells, margin, rechecked = on_gpu.nearest_cell(vectors, centroids, levels)
    return Assignment(like(cells, vectors), like(margin, vectors), like(rechecked, vectors))


def _checked_parents(parents: Values | None, count: int) -> NDArray[np.int32]:
    if parents is None:
        return np.arange(count, dtype=np.int32)[None]
    given = as_array(parents)
    if given.ndim != 2 or given.shape[1] != count or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"parents: expected integers of shape (levels, {count}), got {given.dtype} of {given.shape}"
        )
    return given.astype(np.int32, copy=False)


def _check_finite(matrix: Values, name: str) -> None:
    check_floats(matrix, name)
    odd = np.flatnonzero(~finite_rows(matrix))
    if odd.size:
        raise ValueError(f"{name}: expected finite rows, got another in row {odd[0]} ({odd.size} such rows)")
