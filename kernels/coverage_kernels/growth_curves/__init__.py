"""Distinct cells that accounts had reached after so many prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from coverage_kernels.backends import CupyBackend, chosen
from coverage_kernels.growth_curves import array_program, gpu
from coverage_kernels.ragged import checked_grid, checked_integers, checked_offsets
from coverage_kernels.tensors import Values, like

__all__ = ["growth_curves"]


def growth_curves(
    cells: Values,
    offsets: ArrayLike,
    grid: Values,
    grid_offsets: ArrayLike,
    *,
    backend: CupyBackend = "auto",
) -> Values:
    """Return the distinct cells that an account had reached after so many prompts.

    Formula: ``D(m) = #{c : c is among the account's first m cells}``

    Parameters
    ----------
    cells : int (n,)
        Cell of each prompt, in time order within each account.
    offsets : int (accounts + 1,)
        Account a has prompts ``offsets[a]:offsets[a + 1]``.
    grid : int (g,)
        Prompt counts m, each from 1 to the account's prompts.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.
    backend : {'auto', 'cpu', 'cupy'}
        'cupy' needs CuPy and a CUDA device; 'auto' uses it where they are, and logs its choice once.

    Returns
    -------
    int64 (g,)
        1 to m; never falls with m. Exact, so all backends agree. Empty for an empty grid. An
        array for arrays, a tensor on the device of `cells` for tensors.

    Raises
    ------
    ValueError
        The arrays do not fit together, m is beyond the account's prompts, or there is no such backend.
    RuntimeError
        'cupy' was asked for and can't run here.
    """
    visited = checked_integers(cells, "cells")
    cut = checked_offsets(offsets, visited.size)
    points, grid_cut = checked_grid(grid, grid_offsets, np.diff(cut))
    if chosen(backend, "cupy", op="growth_curves") == "cpu":
        return like(array_program.growth_curves(np, visited, cut, points, grid_cut), cells)
    return like(gpu.growth_curves(visited, cut, points, grid_cut), cells)
