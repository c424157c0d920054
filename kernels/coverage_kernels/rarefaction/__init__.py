"""Distinct cells expected if an account's prompts had come in any order alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_kernels.backends import CupyBackend, chosen
from coverage_kernels.ragged import checked_grid, checked_integers, checked_offsets
from coverage_kernels.rarefaction import gpu, segmented
from coverage_kernels.tensors import Values, like

__all__ = ["rarefaction"]

#: Beyond this a float64 does not hold every whole number.
LARGEST = 2**53


def rarefaction(
    size: Values,
    frequency: Values,
    offsets: ArrayLike,
    grid: Values,
    grid_offsets: ArrayLike,
    *,
    backend: CupyBackend = "auto",
) -> Values:
    """Return the expected distinct cells among m prompts drawn without replacement.

    Formula: ``E[D(m)] = Σ_r f_r · [1 − C(n − r, m) / C(n, m)]``, ``n = Σ_r r · f_r``

    Parameters
    ----------
    size : int (k,)
        r, 1 and up: how often a cell was reached.
    frequency : int (k,)
        f_r, 1 and up: how many cells were reached that often.
    offsets : int (accounts + 1,)
        Account a has ``size[offsets[a]:offsets[a + 1]]`` and the same of `frequency`.
    grid : int (g,)
        Prompt counts m, each from 1 to the account's prompts n.
    grid_offsets : int (accounts + 1,)
        Account a has ``grid[grid_offsets[a]:grid_offsets[a + 1]]``.
    backend : {'auto', 'cpu', 'cupy'}
        'cupy' needs CuPy and a CUDA device; 'auto' uses it where they are, and logs its choice once.

    Returns
    -------
    float64 (g,)
        1 at m = 1 to K = Σ f_r at m = n, rising with m; within 1e-10 · K of exact for n up to 10⁹. Empty for
        an empty grid. An array for arrays, a tensor on the device of `size` for tensors.

    Raises
    ------
    ValueError
        The arrays do not fit together, a size or frequency is below 1, an account has 2⁵³ prompts or more,
        m is beyond the account's prompts, or there is no such backend.
    RuntimeError
        'cupy' was asked for and can't run here.

    References
    ----------
    .. [1] Hurlbert (1971), Ecology 52:577; Colwell et al. (2012), J. Plant Ecology 5:3, eq. 4.
    """
    sizes = checked_integers(size, "size", rows="k")
    frequencies = checked_integers(frequency, "frequency", rows="k")
    if sizes.size != frequencies.size:
        raise ValueError(f"frequency: expected {sizes.size} entries like size, got {frequencies.size}")
    for name, values in (("size", sizes), ("frequency", frequencies)):
        if values.size and values.min() < 1:
            raise ValueError(f"{name}: expected 1 or more, got {values.min()}")
    cut = checked_offsets(offsets, sizes.size)
    prompts = _prompts(sizes, frequencies, cut)
    points, grid_cut = checked_grid(grid, grid_offsets, prompts)
    account = np.repeat(np.arange(prompts.size), np.diff(grid_cut))
    path = segmented.rarefaction if chosen(backend, "cupy", op="rarefaction") == "cpu" else gpu.rarefaction
    return like(path(sizes, frequencies, cut, prompts, account, points), size)


def _prompts(
    size: NDArray[np.int64], frequency: NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    account = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
    # In float64 too, since products of int64 wrap around without a word.
    roughly = np.bincount(account, size.astype(np.float64) * frequency, offsets.size - 1)
    if np.any(roughly >= LARGEST):
        raise ValueError(f"size: expected below 2**53 prompts an account, got {roughly.max():.3g}")
    total = np.concatenate([[0], np.cumsum(size * frequency)])
    prompts: NDArray[np.int64] = total[offsets[1:]] - total[offsets[:-1]]
    return prompts
