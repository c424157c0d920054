"""The set of cells seen so far, one account and one grid point after another: easy to check, slow."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def growth_curves(
    cells: NDArray[np.int64],
    offsets: NDArray[np.int64],
    grid: NDArray[np.int64],
    grid_offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return what `coverage_kernels.growth_curves.growth_curves` returns; input is not checked."""
    spans = zip(pairwise(offsets.tolist()), pairwise(grid_offsets.tolist()), strict=True)
    distinct = [
        len(set(cells[start : start + prompts].tolist()))
        for (start, _), (first, last) in spans
        for prompts in grid[first:last].tolist()
    ]
    return np.array(distinct, dtype=np.int64)
