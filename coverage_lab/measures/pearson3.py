"""Tail probabilities of a statistic of which mean, variance and third moment are known."""

from __future__ import annotations

import numpy as np
from coverage_kernels.log_absence import stirling_series
from numpy.typing import NDArray

#: From this shape on the cube root of a gamma variable is normal to 3e−6 in probability.
_NORMAL_FROM = 3000.0
#: Beyond this skewness three moments say little about the short tail, and the normal's longer one is taken.
MAX_SKEWNESS = 1.0
_ENOUGH = 1e-14
#: Terms at most; a shape of 3,000 needs about 600.
_TERMS = 3000
#: log-gamma is taken this far up, where its series is exact.
_SHIFT = 16


def pearson3_tails(
    z: NDArray[np.float64], skewness: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the chances of a value as low, and as high, under the Pearson III law with these moments.

    That law is a shifted gamma (mirrored where the skewness is negative) of shape ``4/skewness²``. It ends at
    ``−2/skewness`` standard deviations, which a real statistic need not: on the side of that end, for a
    skewness beyond 1, the normal's chance is given if it is larger.

    Parameters
    ----------
    z : float64 (g,)
        Distance from the mean in standard deviations.
    skewness : float64 (g,)
        Third central moment over the cube of the standard deviation.

    Returns
    -------
    low, high : float64 (g,)
        0 to 1; NaN where `z` or `skewness` is.
    """
    low, high = np.full(z.shape, np.nan), np.full(z.shape, np.nan)
    known = np.isfinite(skewness) & ~np.isnan(z)
    mirrored = np.where(skewness[known] < 0, -1.0, 1.0)
    size = np.maximum(np.abs(skewness[known]), 1e-8)
    distance = np.clip(z[known] * mirrored, -1e8, 1e8)
    shape = 4 / size**2
    short, long = gamma_tails(shape, np.maximum(shape + 2 * distance / size, 0))
    short = np.where(size > MAX_SKEWNESS, np.maximum(short, normal_tails(distance)[0]), short)
    low[known] = np.where(mirrored > 0, short, long)
    high[known] = np.where(mirrored > 0, long, short)
    return low, high


def normal_tails(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the chances of a standard normal value as low, and as high."""
    inside, outside = _incomplete(np.full(z.shape, 0.5), z * z / 2)
    far, near = outside / 2, 0.5 + inside / 2
    return np.where(z < 0, far, near), np.where(z < 0, near, far)


def gamma_tails(
    shape: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the chances of a standard gamma value as low as x >= 0, and as high.

    Absolute error below 1e−11 up to a shape of 3,000, below 3e−6 above, by Wilson and Hilferty's cube root
    (tests, against SciPy).
    """
    low, high = np.empty(x.shape), np.empty(x.shape)
    round_ = shape >= _NORMAL_FROM
    low[~round_], high[~round_] = _incomplete(shape[~round_], x[~round_])
    root = 9 * shape[round_]
    low[round_], high[round_] = normal_tails(
        (np.cbrt(x[round_] / shape[round_]) - 1 + 1 / root) * np.sqrt(root)
    )
    return low, high


def _incomplete(
    shape: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the regularised incomplete gamma functions P and Q; Numerical Recipes, section 6.2."""
    low, high = np.zeros(x.shape), np.ones(x.shape)
    rising = (x > 0) & (x < shape + 1)
    falling = x >= shape + 1
    low[rising] = _series_below(shape[rising], x[rising])
    high[rising] = 1 - low[rising]
    high[falling] = _fraction_above(shape[falling], x[falling])
    low[falling] = 1 - high[falling]
    return low, high


def _series_below(shape: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    term = 1 / shape
    total = term.copy()
    at = shape.copy()
    for _ in range(_TERMS):
        if not np.any(term > _ENOUGH * total):
            break
        at += 1
        term = term * x / at
        total += term
    below: NDArray[np.float64] = np.minimum(total * _density(shape, x), 1.0)
    return below


def _fraction_above(shape: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate Legendre's continued fraction by Lentz's method."""
    b = x + 1 - shape
    c = np.full(x.shape, 1e300)
    d = 1 / b
    value = d.copy()
    for i in range(1, _TERMS):
        step = -i * (i - shape)
        b = b + 2
        d = 1 / _nonzero(step * d + b)
        c = _nonzero(b + step / c)
        change = c * d
        value *= change
        if not np.any(np.abs(change - 1) > _ENOUGH):
            break
    above: NDArray[np.float64] = np.minimum(value * _density(shape, x), 1.0)
    return above


def _nonzero(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 1e-300, 1e-300, x)


def _density(shape: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``x^shape e^−x / Γ(shape)``."""
    return np.exp(shape * np.log(x) - x - _log_gamma(shape))


def _log_gamma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    high = x + _SHIFT
    shifted = sum((np.log(x + i) for i in range(1, _SHIFT)), np.log(x))
    stirling: NDArray[np.float64] = (
        (high - 0.5) * np.log(high) - high + np.log(2 * np.pi) / 2 + stirling_series(high)
    )
    return stirling - shifted
