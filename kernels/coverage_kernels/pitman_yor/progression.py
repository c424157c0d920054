"""Sums over arithmetic progressions: differences of log-gamma, digamma and trigamma, for any spacing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Terms that are added one by one before the Euler–Maclaurin formula takes over.
DIRECT = 8
#: B₂ₖ / (2k (2k − 1)): Stirling's series. Nine terms at 1/8 leave 3e−17.
_STIRLING = (
    1 / 12,
    -1 / 360,
    1 / 1260,
    -1 / 1680,
    1 / 1188,
    -691 / 360360,
    1 / 156,
    -3617 / 122400,
    43867 / 244188,
)
#: Below this y, `atanh(y)/y − 1` is summed as a series; 16 terms leave 1e−18.
_SERIES_BELOW = 0.3
_SERIES_TERMS = 16


class ProgressionSums(NamedTuple):
    """Sums over the terms ``v_i = base + i · step``, i from 1 to N.

    Attributes
    ----------
    log, inverse, square : float64
        ``Σ ln v_i``, ``Σ 1/v_i``, ``Σ 1/v_i²``.
    index_inverse, index_square, index2_square : float64
        ``Σ i/v_i``, ``Σ i/v_i²``, ``Σ i²/v_i²``.
    """

    log: Array
    inverse: Array
    square: Array
    index_inverse: Array
    index_square: Array
    index2_square: Array


def progression_sums(base: Array, step: Array, terms: Array, *, xp: Any = np) -> ProgressionSums:
    """Return the sums over the terms in closed form; a step of 0 is a step like any other.

    Parameters
    ----------
    base, step : float64, equal shapes (g,)
        ``step >= 0`` and ``base + step > 0``.
    terms : int64 (g,)
        N, 0 and up.
    xp : module
        NumPy, or CuPy for arrays that are its own.

    Returns
    -------
    ProgressionSums of float64 (g,)
        All 0 for no terms. Relative error below 1e−13 (tests, against mpmath).
    """
    low = first_terms(base, step, xp=xp)
    index = xp.arange(1, DIRECT + 1.0)[:, None]
    there = (index <= terms).astype(np.float64)
    inverse = low.inverse * there
    square = inverse * inverse
    high = tail_sums(base, step, terms, xp=xp)
    return ProgressionSums(
        (low.log * there).sum(axis=0) + high.log,
        inverse.sum(axis=0) + high.inverse,
        square.sum(axis=0) + high.square,
        (index * inverse).sum(axis=0) + high.index_inverse,
        (index * square).sum(axis=0) + high.index_square,
        (index * index * square).sum(axis=0) + high.index2_square,
    )


class FirstTerms(NamedTuple):
    """The first terms, one by one.

    Attributes
    ----------
    log, inverse : float64 (DIRECT, g)
        ``ln v_i`` and ``1/v_i``.
    """

    log: Array
    inverse: Array


def first_terms(base: Array, step: Array, *, xp: Any = np) -> FirstTerms:
    """Return logarithms and inverses of terms 1 to `DIRECT`."""
    term = base + step * xp.arange(1, DIRECT + 1.0)[:, None]
    return FirstTerms(xp.log(term), 1 / term)


def tail_sums(base: Array, step: Array, terms: Array, *, xp: Any = np) -> ProgressionSums:
    """Return the sums over terms ``DIRECT + 1`` to N; 0 where there are none.

    Euler–Maclaurin from a (the first of them) to c (the last), L steps apart: integral, half of both ends,
    Stirling's corrections. The integrals are written in ``z = L · step / a`` so that none of them cancels as
    z goes to 0.
    """
    first = DIRECT + 1.0
    beyond = terms > DIRECT
    steps = xp.where(beyond, terms - first, 0.0)
    a = base + first * step
    c = a + steps * step
    z = steps * step / a
    one_less_y = 2 / (2 + z)  # 1 − y of y = z/(2 + z)
    y = z / (2 + z)
    k = _atanh_excess(y, z, xp)
    mean_inverse = one_less_y * (1 + y * y * k)  # a/L · ∫ 1/v
    mean_index = one_less_y / 2 * (1 - one_less_y * y * k)  # a/L² · ∫ i/v
    mean_index_square = one_less_y**2 / 2 * (1 / (1 + y) + y * k)  # a²/L² · ∫ i/v²
    mean_index2_square = one_less_y**3 / 2 * (1 / (one_less_y * (1 + y)) - k)  # a²/L³ · ∫ i²/v²
    mean_log = z * one_less_y / 2 * (1 + y * k * (1 + y))  # 1/L · ∫ ln(v/a)

    per_a, per_c = 1 / a, 1 / c
    near, near1, near2 = _stirling(step * per_a)
    far, far1, far2 = _stirling(step * per_c)
    log_a = xp.log(a)
    log = steps * (log_a + mean_log) + log_a + xp.log1p(z) / 2 + far - near
    inverse = (
        steps * per_a * mean_inverse
        + (per_a + per_c) / 2
        + step * (per_a * per_a * near1 - per_c * per_c * far1)
    )
    square = (
        steps * per_a * per_c
        + (per_a * per_a + per_c * per_c) / 2
        + step * per_a**3 * (2 * near1 + step * per_a * near2)
        - step * per_c**3 * (2 * far1 + step * per_c * far2)
    )
    # From here on the index counts from a; the shift by `first` is added at the end.
    ratio = a * per_c
    index_inverse = (
        steps * steps * per_a * mean_index + steps * per_c / 2 + ratio * per_c * far1 - per_a * near1
    )
    index_square = (
        steps * steps * per_a * per_a * mean_index_square
        + steps * per_c * per_c / 2
        + per_c * per_c * ((2 * ratio - 1) * far1 + step * ratio * per_c * far2)
        - per_a * per_a * (near1 + step * per_a * near2)
    )
    index2_square = (
        steps**3 * per_a * per_a * mean_index2_square
        + steps * steps * per_c * per_c / 2
        + per_c * per_c * ratio * (2 * steps * far1 - ratio * far2)
        + per_a * per_a * near2
    )
    here = beyond.astype(np.float64)
    return ProgressionSums(
        log * here,
        inverse * here,
        square * here,
        (first * inverse + index_inverse) * here,
        (first * square + index_square) * here,
        (first * first * square + 2 * first * index_square + index2_square) * here,
    )


def _atanh_excess(y: Array, z: Array, xp: Any) -> Array:
    """Return ``(atanh(y)/y − 1)/y²``, where ``2 atanh(y) = ln(1 + z)``."""
    small = xp.minimum(y, _SERIES_BELOW) ** 2
    series = xp.full(y.shape, 1 / (2 * _SERIES_TERMS + 1))
    for term in range(_SERIES_TERMS - 1, 0, -1):
        series = series * small + 1 / (2 * term + 1)
    large = xp.maximum(y, _SERIES_BELOW)
    excess: Array = xp.where(y < _SERIES_BELOW, series, (xp.log1p(z) / (2 * large) - 1) / (large * large))
    return excess


def _stirling(x: Array) -> tuple[Array, Array, Array]:
    """Return Stirling's remainder ``Σ B₂ₖ/(2k(2k−1)) x^(2k−1)`` with its first and second derivative."""
    square = x * x
    value = x * 0
    first = x * 0
    second = x * 0
    for term in range(len(_STIRLING), 0, -1):
        power = 2 * term - 1
        value = value * square + _STIRLING[term - 1]
        first = first * square + power * _STIRLING[term - 1]
        if term > 1:
            second = second * square + power * (power - 1) * _STIRLING[term - 1]
    return value * x, first, second * x
