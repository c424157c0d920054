"""What every ragged array here means: rows of segment i lie at ``offsets[i]:offsets[i + 1]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_offsets(offsets: ArrayLike, rows: int, *, name: str = "offsets") -> NDArray[np.int64]:
    """Return the offsets as int64 once they are known to cut `rows` rows into segments.

    Parameters
    ----------
    offsets : int (segments + 1,)
        Starts at 0, never falls, ends at `rows`.
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
    given = np.asarray(offsets)
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
