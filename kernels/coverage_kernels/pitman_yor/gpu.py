"""The array code of `batched` on a CUDA device, through CuPy."""

from __future__ import annotations

from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from coverage_kernels.pitman_yor import batched
from coverage_kernels.pitman_yor.batched import Array, Fits

#: Accounts on the device at once: about 1 kB each.
BLOCK = 1 << 20


def fit(
    r: NDArray[np.int64], frequency: NDArray[np.int64], offsets: NDArray[np.int64], *, iterations: int
) -> Fits[Array]:
    """Return what `batched.fit` returns, in NumPy arrays; the backend was checked."""
    xp = import_module("cupy")
    fits = batched.fit(
        xp.asarray(r), xp.asarray(frequency), xp.asarray(offsets), iterations=iterations, block=BLOCK, xp=xp
    )
    return Fits(*(xp.asnumpy(column) for column in fits))
