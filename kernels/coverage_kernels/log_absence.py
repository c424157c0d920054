"""Log-probability that a draw without replacement misses a given set of prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: From here on five terms of the Stirling series are exact to double precision.
_SERIES_FROM = 16


def log_absence(
    population: NDArray[np.int64], marked: NDArray[np.int64], drawn: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return ln of the chance that none of the marked prompts is drawn.

    Formula: ``ln[C(n − r, m) / C(n, m)]``

    Log-gamma values near n ln n would cancel to about 1e−16 · n ln n, too coarse for the covariances that
    are made of these; here the large terms cancel on paper and the error stays near
    ``1e−16 · min(r, m)``.

    Parameters
    ----------
    population, marked, drawn : int64, equal shapes
        n, r and m, with ``0 <= r <= n`` and ``0 <= m <= n``.

    Returns
    -------
    float64
        0 or less; −inf where ``r + m > n``: then a marked prompt is always drawn.
    """
    log_chance = np.full(population.shape, -np.inf)
    possible = marked + drawn <= population
    # The chance is the same with r and m exchanged; the smaller one sets the error.
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


def stirling_series(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first five terms of the remainder of Stirling's series for ln Γ(x); exact from x = 16 on."""
    square = 1 / (x * x)
    return (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))) / x


def _first_remainders() -> NDArray[np.float64]:
    """Remainders at 1, 2, ..., from the first where the series is exact downwards; index 0 is not used."""
    remainders = np.zeros(_SERIES_FROM + 1)
    remainders[_SERIES_FROM] = stirling_series(np.array([float(_SERIES_FROM)]))[0]
    for x in range(_SERIES_FROM - 1, 0, -1):
        remainders[x] = remainders[x + 1] + (x + 0.5) * np.log1p(1 / x) - 1
    return remainders


_FIRST_REMAINDERS = _first_remainders()


def _stirling_remainder(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``ln Γ(x) − [(x − ½) ln x − x + ½ ln 2π]`` for whole x of 1 and up."""
    below = np.minimum(x, _SERIES_FROM)
    return np.where(x < _SERIES_FROM, _FIRST_REMAINDERS[below.astype(np.int64)], stirling_series(x))
