"""The CUDA kernel of `kernel.cu`, compiled and started through CuPy."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Four warps; one warp to a grid point.
_THREADS = 128
_LANES = 32


def source() -> str:
    """Return the CUDA source, which is part of the package."""
    return files(__package__).joinpath("kernel.cu").read_text(encoding="utf-8")


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
    cupy: Any = importlib.import_module("cupy")
    expected = cupy.empty(grid.size, dtype=cupy.float64)
    if grid.size:
        arrays = [cupy.asarray(array) for array in (size, frequency, offsets, prompts, account, grid)]
        warps_a_block = _THREADS // _LANES
        blocks = (grid.size + warps_a_block - 1) // warps_a_block
        _kernel()((blocks,), (_THREADS,), (*arrays, np.int64(grid.size), expected))
    host: NDArray[np.float64] = cupy.asnumpy(expected)
    return host


@cache
def _kernel() -> Any:
    cupy: Any = importlib.import_module("cupy")
    return cupy.RawModule(code=source()).get_function("rarefaction")
