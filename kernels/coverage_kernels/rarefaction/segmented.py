"""The formula of `kernel.cu` in NumPy, over all pairs of a grid point and a distinct count of its account."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Pairs held at once: one float64 array of them takes 2 MB.
PAIRS = 1 << 18
#: From here on five terms of the series are exact to double precision.
_SERIES_FROM = 16


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


def log_absence(
    population: NDArray[np.int64], marked: NDArray[np.int64], drawn: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return ``ln[C(n − r, m) / C(n, m)]``, −inf where r + m > n; the README has the derivation."""
    log_chance = np.full(population.shape, -np.inf)
    possible = marked + drawn <= population
    few: NDArray[np.float64] = np.minimum(marked, drawn)[possible].astype(np.float64)
    many: NDArray[np.float64] = np.maximum(marked, drawn)[possible].astype(np.float64)
    whole: NDArray[np.float64] = population[possible].astype(np.float64) + 1
    rest: NDArray[np.float64] = whole - many
    log_chance[possible] = (
        (whole - few - 0.5) * np.log1p(-few / whole)
        - (rest - few - 0.5) * np.log1p(-few / rest)
        + few * np.log1p(-many / whole)
        + _stirling_remainder(rest)
        - _stirling_remainder(rest - few)
        - _stirling_remainder(whole)
        + _stirling_remainder(whole - few)
    )
    return log_chance


def _stirling_remainder(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``ln Γ(x) − [(x − ½) ln x − x + ½ ln 2π]`` for whole x of 1 and up."""
    below = np.minimum(x, _SERIES_FROM)
    return np.where(x < _SERIES_FROM, _FIRST_REMAINDERS[below.astype(np.int64)], _series(x))


def _series(x: NDArray[np.float64]) -> NDArray[np.float64]:
    square = 1 / (x * x)
    return (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))) / x


def _first_remainders() -> NDArray[np.float64]:
    """Remainders at 1, 2, ... up to where the series is exact, from the recurrence; index 0 is not used."""
    remainders = np.zeros(_SERIES_FROM + 1)
    remainders[_SERIES_FROM] = _series(np.array([float(_SERIES_FROM)]))[0]
    for x in range(_SERIES_FROM - 1, 0, -1):
        remainders[x] = remainders[x + 1] + (x + 0.5) * np.log1p(1 / x) - 1
    return remainders


_FIRST_REMAINDERS = _first_remainders()
