"""Time `pitman_yor` against SciPy, one account at a time, or on a GPU against the CPU; one JSON row per case.

A row is written only if the likelihood of the first accounts is that of the reference's grid search. SciPy
has the easier task: the branch 0 ≤ d < 1 only, from one start, on counts of counts, without standard errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
from coverage_kernels.pitman_yor import pitman_yor, reference
from numpy.typing import NDArray

from benchmarks.rows import Case, Target

#: Every second account draws from the head of a long tail, the others evenly from fewer cells.
TAIL, EVEN = 4096, 1000
MILLION = 1_000_000
#: Accounts of each case.
ROWS = {"cpu": 100_000, "cuda": MILLION}
#: Accounts that are drawn; a larger batch repeats them.
DRAWN = 10_000
#: Accounts that SciPy or, for a GPU, the CPU fits.
SAMPLE = {"cpu": 100, "cuda": 10_000}
#: Accounts that are held against the reference, and how far ln L may be from its own, relative to it.
CHECKED = 4
TOLERANCE = 1e-7

Tally = tuple[NDArray[np.int64], NDArray[np.int64]]
Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def tallies(accounts: int, length: int, seed: int) -> list[Tally]:
    """Return counts of counts (r, f_r) of accounts of equally many prompts."""
    draw = np.random.default_rng(seed)
    drawn = []
    for account in range(min(accounts, DRAWN)):
        cells = draw.integers(EVEN, size=length) if account % 2 else draw.zipf(1.3, length) % TAIL
        drawn.append(np.unique(np.unique(cells, return_counts=True)[1], return_counts=True))
    return [drawn[account % len(drawn)] for account in range(accounts)]


def batch(told: list[Tally]) -> Batch:
    """Return the ragged arrays of accounts."""
    return (
        np.concatenate([r for r, _ in told]),
        np.concatenate([frequency for _, frequency in told]),
        np.cumsum([0, *[r.size for r, _ in told]]),
    )


def scipy_fits(told: list[Tally]) -> None:
    """Fit each account by L-BFGS-B on (d, ln(θ + d))."""
    from scipy.optimize import minimize
    from scipy.special import gammaln

    for r, frequency in told:
        cells, prompts = int(frequency.sum()), int((r * frequency).sum())

        def loss(
            at: NDArray[np.float64],
            r: NDArray[np.int64] = r,
            frequency: NDArray[np.int64] = frequency,
            cells: int = cells,
            prompts: int = prompts,
        ) -> float:
            d, theta = at[0], np.exp(at[1]) - at[0]
            new = (cells - 1) * np.log(d) + gammaln(theta / d + cells) - gammaln(theta / d + 1)
            again = (frequency * (gammaln(r - d) - gammaln(1 - d))).sum()
            return float(gammaln(theta + prompts) - gammaln(theta + 1) - new - again)

        minimize(loss, np.array([0.5, 0.0]), method="L-BFGS-B", bounds=[(1e-4, 1 - 1e-4), (-10, 15)])


def gap(told: list[Tally], backend: Literal["cpu", "cupy"]) -> float:
    """Return the largest relative difference of ln L to that of the reference's grid search."""
    # With one cell only, or without a revisit, the likelihood has no top to search for.
    searched = [(r, f) for r, f in told if 1 < f.sum() < (r * f).sum()][:CHECKED]
    best = pitman_yor(*batch(searched), backend=backend).log_likelihood
    plain = np.array([reference.fit(np.repeat(r, f)).log_likelihood for r, f in searched])
    return float(np.abs(best / plain - 1).max())


def cases(device: str, rows: int, seed: int) -> Iterator[Case]:
    """Yield the cases of a device; `rows` are accounts."""
    backend: Literal["cpu", "cupy"] = "cpu" if device == "cpu" else "cupy"
    for length in (100, 300):
        told = tallies(rows, length, seed)
        arrays, sample = batch(told), told[: SAMPLE[device]]
        few = batch(sample)
        target = Target("speedup", 50) if device == "cpu" else Target("rows_per_s", rows)
        yield Case(
            op="pitman_yor",
            case=f"accounts of {length}",
            shape={"accounts": rows, "counts": len(arrays[0]), "dtype": "float64"},
            rows=rows,
            call=partial(pitman_yor, *arrays, backend=backend),
            baseline=partial(scipy_fits, sample)
            if device == "cpu"
            else partial(pitman_yor, *few, backend="cpu"),
            baseline_name="L-BFGS-B, one account at a time (SciPy)"
            if device == "cpu"
            else "this op on the CPU",
            baseline_rows=len(sample),
            gap=partial(gap, told, backend),
            tolerance=TOLERANCE,
            target=target if device == "cpu" or rows == MILLION else None,
        )
