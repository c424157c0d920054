"""What every ragged array here means: rows of segment i lie at ``offsets[i]:offsets[i + 1]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_kernels.tensors import as_array


def checked_offsets(offsets: ArrayLike, rows: int, *, name: str = "offsets") -> NDArray[np.int64]:
    """Return the offsets as int64 once they are known to cut `rows` rows into segments.

    Parameters
    ----------
    offsets : int (segments + 1,)
        Starts at 0, never falls, ends at `rows`. An array or a tensor.
    rows : int
        Rows that the offsets cut.
    name : str
        What the error calls the offsets.

    Returns
    -------
    int64 (segments + 1,)

    Raises
    ------
    ValueError
        The offsets are not one-dimensional integers, are empty, do not start at 0, fall, or do not end
        at `rows`.
    """
    given = as_array(offsets)
    if given.ndim != 1 or given.size == 0 or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"{name}: expected integers of shape (segments + 1,), got {given.dtype} of shape {given.shape}"
        )
    checked = given.astype(np.int64, copy=False)
    if checked[0] != 0:
        raise ValueError(f"{name}: expected to start at 0, got {checked[0]}")
    if np.any(checked[1:] < checked[:-1]):
        raise ValueError(f"{name}: expected never to fall, got a segment of negative length")
    if checked[-1] != rows:
        raise ValueError(f"{name}: expected to end at the number of rows ({rows}), got {checked[-1]}")
    return checked


def checked_integers(values: ArrayLike, name: str, *, rows: str = "n") -> NDArray[np.int64]:
    """Return integers of one dimension, an array or a tensor, as an int64 array.

    `rows` is what the error calls their number.

    Raises
    ------
    ValueError
        They are not, or one is beyond int64.
    """
    given = as_array(values)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"{name}: expected integers of shape ({rows},), got {given.dtype} of {given.shape}")
    if given.dtype == np.uint64 and given.size and given.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected integers below 2**63, got {given.max()}")
    return given.astype(np.int64, copy=False)


def checked_grid(
    grid: ArrayLike,
    grid_offsets: ArrayLike,
    lengths: NDArray[np.int64],
    *,
    segment: str = "segment",
    length: str = "length",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a ragged grid and its offsets once each point is known to be from 1 to its segment's length.

    `segment` and `length` are what the caller's errors call these two.

    Raises
    ------
    ValueError
        It is not, or the grid has another number of segments than `lengths`.
    """
    points = checked_integers(grid, "grid")
    cut = checked_offsets(grid_offsets, points.size, name="grid_offsets")
    if cut.size != lengths.size + 1:
        raise ValueError(f"grid_offsets: expected {lengths.size} {segment}s, got {cut.size - 1}")
    if np.any((points < 1) | (points > np.repeat(lengths, np.diff(cut)))):
        raise ValueError(f"grid: expected points from 1 to the {segment}'s {length}, got one outside")
    return points, cut
