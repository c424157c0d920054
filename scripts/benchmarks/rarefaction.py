"""Time `rarefaction` against one account at a time on the CPU, or on a GPU against the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
from coverage_kernels.rarefaction import rarefaction, reference
from numpy.typing import NDArray

from benchmarks.rows import Case, Target

CELLS = 16384
POINTS = 24
MILLION = 1_000_000
#: Grid points of each case: of a million accounts on a GPU.
ROWS = {"cpu": 20_000, "cuda": POINTS * MILLION}
#: Accounts that are drawn; a larger batch repeats them.
DRAWN = 10_000
TOLERANCE = 1e-9
#: Accounts that are held against whole numbers.
CHECKED = 5
Ints = NDArray[np.int64]
Batch = tuple[Ints, Ints, Ints, Ints, Ints]


def batch(rows: int, length: int, seed: int) -> Batch:
    """Return counts of counts of accounts with a heavy tail, and about geometric grids."""
    draw = np.random.default_rng(seed)
    accounts = max(1, rows // POINTS)
    points = np.unique(np.geomspace(1, length, POINTS).astype(np.int64))
    tallies = []
    for _ in range(min(accounts, DRAWN)):
        _, counts = np.unique(draw.zipf(1.3, length) % CELLS, return_counts=True)
        tallies.append(np.unique(counts, return_counts=True))
    tallies = [tallies[account % len(tallies)] for account in range(accounts)]
    return (
        np.concatenate([size for size, _ in tallies]),
        np.concatenate([frequency for _, frequency in tallies]),
        np.cumsum([0, *[size.size for size, _ in tallies]]),
        np.tile(points, accounts),
        np.arange(accounts + 1) * points.size,
    )


def one_at_a_time(arrays: Batch) -> None:
    """Answer each account by a call of its own."""
    size, frequency, offsets, grid, grid_offsets = arrays
    spans = zip(pairwise(offsets.tolist()), pairwise(grid_offsets.tolist()), strict=True)
    for (start, stop), (first, last) in spans:
        cut, points = [0, stop - start], grid[first:last]
        rarefaction(size[start:stop], frequency[start:stop], cut, points, [0, last - first], backend="cpu")


def gap(arrays: Batch, backend: Literal["cpu", "cupy"]) -> float:
    """Return the largest difference to whole numbers in the first accounts."""
    size, frequency, offsets, grid, grid_offsets = arrays
    offsets, grid_offsets = offsets[: CHECKED + 1], grid_offsets[: CHECKED + 1]
    size, frequency, grid = size[: offsets[-1]], frequency[: offsets[-1]], grid[: grid_offsets[-1]]
    prompts = np.add.reduceat(size * frequency, offsets[:-1])
    account = np.repeat(np.arange(prompts.size), np.diff(grid_offsets))
    got = rarefaction(size, frequency, offsets, grid, grid_offsets, backend=backend)
    return float(np.abs(got - reference.rarefaction(size, frequency, offsets, prompts, account, grid)).max())


def cases(device: str, rows: int, seed: int) -> Iterator[Case]:
    """Yield the cases of a device; `rows` are grid points."""
    backend: Literal["cpu", "cupy"] = "cpu" if device == "cpu" else "cupy"
    for length in (100, 2000):
        arrays = batch(rows, length, seed)
        # The CPU gets a hundredth of a GPU's million accounts.
        base = arrays if device == "cpu" else batch(rows // 100, length, seed)
        accounts = len(arrays[2]) - 1
        yield Case(
            op="rarefaction",
            case=f"accounts of {length}",
            shape={"accounts": accounts, "counts": len(arrays[0]), "dtype": "float64"},
            rows=len(arrays[3]),
            call=partial(rarefaction, *arrays, backend=backend),
            baseline=partial(one_at_a_time, base)
            if device == "cpu"
            else partial(rarefaction, *base, backend="cpu"),
            baseline_name="one account at a time" if device == "cpu" else "this op on the CPU",
            baseline_rows=len(base[3]),
            gap=partial(gap, arrays, backend),
            tolerance=TOLERANCE,
            target=Target("rows_per_s", len(arrays[3])) if accounts == MILLION else None,
        )
