"""Rows of vectors cut into accounts: checks, sums and groups of accounts with equally many rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from coverage_kernels.ragged import checked_offsets
from numpy.typing import ArrayLike, NDArray

#: How far a row's norm may be from 1, as `coverage_kernels.causal_novelty` takes it.
NORM_TOLERANCE = 5e-3
#: Numbers of float64 work held at once (8 MB).
_BLOCK = 1 << 20


def checked_vectors(vectors: NDArray[np.floating], *, name: str = "vectors") -> NDArray[np.floating]:
    """Return a matrix once it is known to hold finite floats.

    Raises
    ------
    ValueError
        It is not a matrix of floats with one column or more, or holds NaN or an infinity.
    """
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating) or vectors.shape[1] == 0:
        raise ValueError(
            f"{name}: expected floats of shape (n, d), got {vectors.dtype} of shape {vectors.shape}"
        )
    odd = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if odd.size:
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity in row {odd[0]}")
    return vectors


def checked_units(
    vectors: NDArray[np.floating], offsets: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Return unit rows and the int64 offsets that cut them once both are known to be sound.

    Raises
    ------
    ValueError
        A row is not of norm 1 (NaN and zero rows are not), or the arrays do not fit together.
    """
    checked = checked_vectors(vectors)
    cut = checked_offsets(offsets, len(checked))
    norms = np.sqrt(np.einsum("nd,nd->n", checked, checked, dtype=np.float32, casting="same_kind"))
    odd = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if odd.size:
        raise ValueError(
            f"vectors: expected rows of norm 1, got {norms[odd[0]]:.4g} in row {odd[0]}"
            f" ({odd.size} such rows)"
        )
    return checked, cut


def equal_lengths(offsets: NDArray[np.int64], width: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield accounts that have equally many rows, and how many: as many accounts as one block of work holds.

    Parameters
    ----------
    offsets : int64 (accounts + 1,)
    width : int
        Numbers of work per row.

    Yields
    ------
    accounts : int64 (g,)
    length : int
        1 and up; accounts without rows are left out.
    """
    lengths = np.diff(offsets)
    for length in np.unique(lengths[lengths > 0]).tolist():
        accounts = np.flatnonzero(lengths == length)
        group = max(1, _BLOCK // (length * width))
        for first in range(0, accounts.size, group):
            yield accounts[first : first + group], length


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, each with about one block of work of `width` numbers a row."""
    step = max(1, _BLOCK // max(1, width))
    for top in range(0, rows, step):
        yield slice(top, min(top + step, rows))


def add_rows(total: NDArray[np.float64], rows: NDArray[np.float64], segments: NDArray[np.int64]) -> None:
    """Add each row to the total of its segment, in place; `segments` never falls."""
    first = np.flatnonzero(np.diff(segments, prepend=-1))
    if first.size:
        total[segments[first]] += np.add.reduceat(rows, first, axis=0)
