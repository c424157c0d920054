"""Time `growth_curves` against its reference on the CPU, or on a GPU against the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
from coverage_kernels.growth_curves import growth_curves, reference
from numpy.typing import NDArray

from benchmarks.rows import Case, Target

CELLS = 16384
POINTS = 24
MILLION = 1_000_000
#: Prompts of each case, and of its accounts: a GPU's accounts of 100 are a million.
ROWS = {"cpu": 100_000, "cuda": 100 * MILLION}
LENGTHS = {"cpu": (30, 1000), "cuda": (30, 100, 1000)}
Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def batch(rows: int, length: int, seed: int) -> Batch:
    """Return cells with a heavy tail for accounts of equal length, and about geometric grids."""
    accounts = max(1, rows // length)
    cells = np.random.default_rng(seed).zipf(1.3, accounts * length) % CELLS
    points = np.unique(np.geomspace(1, length, POINTS).astype(np.int64))
    return (
        cells,
        np.arange(accounts + 1) * length,
        np.tile(points, accounts),
        np.arange(accounts + 1) * points.size,
    )


def gap(arrays: Batch, backend: Literal["cpu", "cupy"]) -> float:
    """Return the largest difference to the reference."""
    return float(np.abs(growth_curves(*arrays, backend=backend) - reference.growth_curves(*arrays)).max())


def cases(device: str, rows: int, seed: int) -> Iterator[Case]:
    """Yield the cases of a device."""
    backend: Literal["cpu", "cupy"] = "cpu" if device == "cpu" else "cupy"
    for length in LENGTHS[device]:
        arrays = batch(rows, length, seed)
        small = batch(min(rows, 100 * length), length, seed)
        # The CPU gets a hundredth of a GPU's million accounts.
        base = arrays if device == "cpu" else batch(rows // 100, length, seed)
        accounts = len(arrays[1]) - 1
        yield Case(
            op="growth_curves",
            case=f"accounts of {length}",
            shape={"accounts": accounts, "points": len(arrays[2]), "dtype": "int64"},
            rows=len(arrays[0]),
            call=partial(growth_curves, *arrays, backend=backend),
            baseline=partial(reference.growth_curves, *base)
            if device == "cpu"
            else partial(growth_curves, *base, backend="cpu"),
            baseline_name="a set for each point (reference)" if device == "cpu" else "this op on the CPU",
            baseline_rows=len(base[0]),
            gap=partial(gap, small, backend),
            tolerance=0,
            target=Target("rows_per_s", len(arrays[0])) if accounts == MILLION else None,
        )
