"""The formula of `kernel.cu` in NumPy, over all pairs of a grid point and a distinct count of its account."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_kernels.log_absence import log_absence

#: Pairs held at once: one float64 array of them takes 2 MB.
PAIRS = 1 << 18


def rarefaction(
    size: NDArray[np.int64],
    frequency: NDArray[np.int64],
    offsets: NDArray[np.int64],
    prompts: NDArray[np.int64],
    account: NDArray[np.int64],
    grid: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return what `coverage_kernels.rarefaction.rarefaction` returns; input is not checked.

    `prompts` are n of each account, `account` is that of each grid point.
    """
    expected = np.empty(grid.size)
    entries = np.diff(offsets)[account]
    total = np.concatenate([[0], np.cumsum(entries)])
    start = 0
    while start < grid.size:
        stop = max(start + 1, int(np.searchsorted(total, total[start] + PAIRS, side="right")) - 1)
        point = np.repeat(np.arange(stop - start), entries[start:stop])
        within = np.arange(point.size) - (total[start:stop] - total[start])[point]
        entry = offsets[account[start:stop]][point] + within
        log_absent = log_absence(prompts[account[start:stop]][point], size[entry], grid[start:stop][point])
        present = frequency[entry] * -np.expm1(log_absent)
        expected[start:stop] = np.bincount(point, present, stop - start)
        start = stop
    return expected
