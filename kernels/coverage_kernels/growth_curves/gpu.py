"""The array program on the GPU through CuPy."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_kernels.growth_curves import array_program


def growth_curves(
    cells: NDArray[np.int64],
    offsets: NDArray[np.int64],
    grid: NDArray[np.int64],
    grid_offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return what `coverage_kernels.growth_curves.growth_curves` returns; input is not checked."""
    cupy: Any = importlib.import_module("cupy")
    arrays = [cupy.asarray(array) for array in (cells, offsets, grid, grid_offsets)]
    distinct: NDArray[np.int64] = cupy.asnumpy(array_program.growth_curves(cupy, *arrays))
    return distinct
