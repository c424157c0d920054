"""The formula in whole numbers, without rounding until the end: easy to check, slow for large accounts."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray


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
    spans = list(pairwise(offsets.tolist()))
    expected = np.empty(grid.size)
    for point, (a, m) in enumerate(zip(account.tolist(), grid.tolist(), strict=True)):
        n = int(prompts[a])
        sizes = size[slice(*spans[a])].tolist()
        frequencies = frequency[slice(*spans[a])].tolist()
        absent = sum(f * comb(n - r, m) for r, f in zip(sizes, frequencies, strict=True))
        expected[point] = float(sum(frequencies) - Fraction(absent, comb(n, m)))
    return expected
