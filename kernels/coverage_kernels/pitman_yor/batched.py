"""All accounts at once: safeguarded Newton steps where both branches and their limit are one region."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_kernels.pitman_yor.progression import DIRECT, first_terms, progression_sums, tail_sums
from coverage_kernels.tensors import Values

Array = NDArray[Any]

#: u at which the likelihood is tried for a start: d = −4, 0, 2/3. One start reached the same top as twenty
#: for each of 20,000 simulated accounts of all shapes; three cost little.
_STARTS = (0.2, 1.0, 3.0)
#: Half the Newton decrement (in units of ln L) at which the step about to be taken is the last.
_TOLERANCE = 1e-9
#: Longest step in scaled coordinates.
_LONGEST = 1.5
#: Floor of the scale of u.
_U_SCALE = 0.1
#: Accounts that a CPU works on at once, so that their arrays stay in its cache.
BLOCK = 4096
#: Nearer to θ = −d than this the likelihood is taken as 0.
_LEAST = 1e-100


class Fits(NamedTuple, Generic[Values]):
    """Maximum-likelihood estimates, one row an account; see `coverage_kernels.pitman_yor.pitman_yor`."""

    discount: Values
    concentration: Values
    support: Values
    log_likelihood: Values
    discount_se: Values
    concentration_se: Values
    new_chance: Values
    converged: Values


class _Accounts(NamedTuple):
    """Sufficient statistics of g accounts.

    `above` (DIRECT, g) are the cells of more than 1 + i prompts, i from 1. Cells of more than
    ``2 + DIRECT`` lie ragged: `frequency` cells of ``2 + terms`` prompts for the account in `row`.
    """

    cells: Array
    prompts: Array
    above: Array
    row: Array
    terms: Array
    frequency: Array


class _Point(NamedTuple):
    """A place (e, u) with ln L, its gradient and its Hessian there, each (g,)."""

    e: Array
    u: Array
    value: Array
    grad_e: Array
    grad_u: Array
    hess_ee: Array
    hess_eu: Array
    hess_uu: Array


def fit(
    r: Array, frequency: Array, offsets: Array, *, iterations: int, block: int = BLOCK, xp: Any = np
) -> Fits[Array]:
    """Return what `coverage_kernels.pitman_yor.pitman_yor` returns; input is not checked.

    Parameters
    ----------
    r, frequency : int64 (k,)
    offsets : int64 (accounts + 1,)
    iterations : int
    block : int
        Accounts worked on at once.
    xp : module
        NumPy, or CuPy for arrays that are its own.
    """
    accounts = offsets.size - 1
    parts = []
    for first in range(0, max(accounts, 1), block):
        last = min(first + block, accounts)
        rows = slice(int(offsets[first]), int(offsets[last]))
        parts.append(
            _fit(r[rows], frequency[rows], offsets[first : last + 1] - offsets[first], iterations, xp)
        )
    return Fits(*(xp.concatenate(columns) for columns in zip(*parts, strict=True)))


def _fit(r: Array, frequency: Array, offsets: Array, iterations: int, xp: Any) -> Fits[Array]:
    size = offsets.size - 1
    row = xp.searchsorted(offsets, xp.arange(r.size), side="right") - 1
    cells = _sum(row, frequency, size, xp)
    prompts = _sum(row, frequency * r, size, xp)
    inner = (cells > 1) & (cells < prompts)
    chosen = xp.flatnonzero(inner)
    place = xp.cumsum(inner) - 1
    kept = inner[row]
    accounts = _accounts(cells[chosen], prompts[chosen], place[row[kept]], r[kept], frequency[kept], xp)
    once = _sum(row, frequency * (r == 1), size, xp)[chosen]
    point, converged = _maximise(accounts, _start(accounts, once, xp), iterations, xp)
    return _results(cells, prompts, chosen, point, converged, xp)


def _sum(row: Array, values: Array, size: int, xp: Any) -> Array:
    sums: Array = xp.bincount(row, weights=values.astype(np.float64), minlength=size)
    return sums.astype(np.float64)


def _accounts(cells: Array, prompts: Array, row: Array, r: Array, frequency: Array, xp: Any) -> _Accounts:
    size = cells.size
    terms = r - 2
    some = terms > 0
    level = xp.minimum(terms[some], DIRECT) - 1
    exactly = _sum(level * size + row[some], frequency[some], DIRECT * size, xp).reshape(DIRECT, size)
    above = xp.cumsum(exactly[::-1], axis=0)[::-1]
    many = terms > DIRECT
    return _Accounts(
        cells, prompts, above, row[many], terms[many].astype(np.float64), frequency[many].astype(np.float64)
    )


def _select(accounts: _Accounts, keep: Array, xp: Any) -> _Accounts:
    place = xp.cumsum(keep) - 1
    there = keep[accounts.row]
    return _Accounts(
        accounts.cells[keep],
        accounts.prompts[keep],
        accounts.above[:, keep],
        place[accounts.row[there]],
        accounts.terms[there],
        accounts.frequency[there],
    )


def _evaluate(accounts: _Accounts, e: Array, u: Array, xp: Any) -> _Point:
    """Return ln L and its derivatives: the three progressions of the README."""
    cells, prompts = accounts.cells, accounts.prompts
    rising = u >= 1
    base = xp.where(rising, e - cells * (u - 1), e)
    sound = base + xp.abs(u - 1) > _LEAST
    # Where the likelihood is 0, some place at which it is not keeps the arithmetic finite.
    safe_e, safe_u = xp.where(sound, e, cells), xp.where(sound, u, 0.0)
    base = xp.where(sound, base, cells)
    rising = rising & sound
    total = safe_e - cells * (safe_u - 1)

    new = progression_sums(base, xp.abs(safe_u - 1), cells - 1, xp=xp)
    all_prompts = progression_sums(total, safe_u, prompts - 1, xp=xp)
    # d/du of a term at fixed e is `sign · i − shift`.
    sign, shift = xp.where(rising, 1.0, -1.0), xp.where(rising, cells, 0.0)

    again = first_terms(xp.ones_like(safe_u), safe_u, xp=xp)
    index = xp.arange(1, DIRECT + 1.0)[:, None]
    slope = index * again.inverse
    item_u = safe_u[accounts.row]
    long = tail_sums(xp.ones_like(item_u), item_u, accounts.terms, xp=xp)

    def summed(values: Array) -> Array:
        return _sum(accounts.row, accounts.frequency * values, e.size, xp)

    value = new.log - all_prompts.log + (accounts.above * again.log).sum(axis=0) + summed(long.log)
    return _Point(
        e,
        u,
        xp.where(sound, value, -np.inf),
        new.inverse - all_prompts.inverse,
        sign * new.index_inverse
        - shift * new.inverse
        - (all_prompts.index_inverse - cells * all_prompts.inverse)
        + (accounts.above * slope).sum(axis=0)
        + summed(long.index_inverse),
        all_prompts.square - new.square,
        all_prompts.index_square
        - cells * all_prompts.square
        - (sign * new.index_square - shift * new.square),
        all_prompts.index2_square
        - 2 * cells * all_prompts.index_square
        + cells**2 * all_prompts.square
        - (new.index2_square - 2 * sign * shift * new.index_square + shift**2 * new.square)
        - (accounts.above * slope**2).sum(axis=0)
        - summed(long.index2_square),
    )


def _start(accounts: _Accounts, once: Array, xp: Any) -> _Point:
    """Return the best of a few u, each with e such that the chance of a new cell is about Good's f₁/n."""
    cells, prompts = accounts.cells, accounts.prompts
    odds = (once + 0.5) / (prompts - once + 0.5)
    best: _Point | None = None
    for start in _STARTS:
        u = xp.full(cells.shape, start)
        least = (cells - 1) * max(start - 1, 0.0) + 0.5 * min(start, 1.0)
        point = _evaluate(accounts, xp.maximum(odds * (cells + (prompts - cells) * u), least), u, xp)
        best = point if best is None else _where(point.value > best.value, point, best, xp)
    assert best is not None
    return best


def _where(condition: Array, chosen: _Point, other: _Point, xp: Any) -> _Point:
    return _Point(*(xp.where(condition, one, two) for one, two in zip(chosen, other, strict=True)))


def _maximise(accounts: _Accounts, start: _Point, iterations: int, xp: Any) -> tuple[_Point, Array]:
    size = accounts.cells.size
    final = _Point(*(part.copy() for part in start))
    converged = xp.zeros(size, dtype=bool)
    which = xp.arange(size)
    point, damping = start, xp.full(size, 1e-3)
    for _ in range(iterations):
        if which.size == 0:
            break
        e, u, expected, decrement, bent = _step(accounts, point, damping, xp)
        tried = _evaluate(accounts, e, u, xp)
        noise = 1e-13 * accounts.prompts
        gain = tried.value - point.value
        taken = gain >= xp.where(expected > noise, 1e-4 * expected, -noise)
        good = taken & (gain >= 0.7 * expected)
        damping = xp.where(good, damping * 0.1, xp.where(taken, damping, xp.maximum(damping, 1e-4) * 10))
        point = _where(taken, tried, point, xp)
        # So near the top, a step that was not taken failed by rounding only.
        done = (decrement <= _TOLERANCE) & ~bent
        if bool(done.any()):
            for whole, part in zip(final, point, strict=True):
                whole[which[done]] = part[done]
            converged[which[done]] = True
            keep = ~done
            accounts, which, damping = _select(accounts, keep, xp), which[keep], damping[keep]
            point = _Point(*(part[keep] for part in point))
    for whole, part in zip(final, point, strict=True):
        whole[which] = part
    return final, converged


def _step(
    accounts: _Accounts, point: _Point, damping: Array, xp: Any
) -> tuple[Array, Array, Array, Array, Array]:
    """Return the next (e, u), the gain that the quadratic model expects there, and how near the top is.

    The model is scaled: y₁ moves the distance to the edge that the likelihood itself keeps away from (θ = −d,
    or e = 0), y₂ moves u. It is bent down where it is not concave, damped, and cut at e = 0 and u = 0.
    """
    cells, prompts = accounts.cells, accounts.prompts
    rising = point.u >= 1
    lean = xp.where(rising, 1 - cells, 0.0)
    edge = point.e + lean * (point.u - 1)
    scale_e = xp.where(rising, edge, edge + (cells + (prompts - cells) * point.u) / prompts)
    scale_u = point.u + _U_SCALE

    g1 = scale_e * point.grad_e
    g2 = scale_u * (point.grad_u - lean * point.grad_e)
    b11 = -(scale_e**2) * point.hess_ee
    b12 = -scale_e * scale_u * (point.hess_eu - lean * point.hess_ee)
    b22 = -(scale_u**2) * (point.hess_uu - 2 * lean * point.hess_eu + lean**2 * point.hess_ee)

    held1, held2 = (point.e <= 0) & (g1 <= 0), (point.u <= 0) & (g2 <= 0)
    g1, g2 = xp.where(held1, 0.0, g1), xp.where(held2, 0.0, g2)
    b12 = xp.where(held1 | held2, 0.0, b12)
    b11, b22 = xp.where(held1, 1.0, b11), xp.where(held2, 1.0, b22)

    middle, radius = (b11 + b22) / 2, xp.sqrt(((b11 - b22) / 2) ** 2 + b12**2)
    lowest, highest = middle - radius, xp.abs(middle) + radius
    bent = lowest <= 1e-12 * highest
    lift = damping * highest + xp.where(bent, 1e-3 * highest - lowest, 0.0)
    c11, c22 = b11 + lift, b22 + lift
    determinant = c11 * c22 - b12**2
    y1, y2 = (c22 * g1 - b12 * g2) / determinant, (c11 * g2 - b12 * g1) / determinant
    shorter = _LONGEST / xp.maximum(xp.sqrt(y1**2 + y2**2), _LONGEST)
    y1, y2 = y1 * shorter, y2 * shorter

    # Where one coordinate is cut, the other goes to its best place beside it.
    cut1 = (point.e + scale_e * y1 < 0) & ~rising
    y1 = xp.where(cut1, -point.e / scale_e, y1)
    y2 = xp.where(cut1, xp.clip((g2 - b12 * y1) / c22, -_LONGEST, _LONGEST), y2)
    cut2 = point.u + scale_u * y2 < 0
    y2 = xp.where(cut2, -point.u / scale_u, y2)
    y1 = xp.where(cut2 & ~cut1, xp.clip((g1 - b12 * y2) / c11, -_LONGEST, _LONGEST), y1)

    e = xp.where(cut1, 0.0, xp.maximum(point.e + scale_e * y1 - lean * scale_u * y2, 0.0))
    u = xp.where(cut2, 0.0, xp.maximum(point.u + scale_u * y2, 0.0))
    expected = g1 * y1 + g2 * y2 - (b11 * y1**2 + 2 * b12 * y1 * y2 + b22 * y2**2) / 2
    plain = xp.where(bent, 1.0, b11 * b22 - b12**2)
    decrement = (b22 * g1**2 - 2 * b12 * g1 * g2 + b11 * g2**2) / plain / 2
    return e, u, expected, decrement, bent


def _results(
    cells: Array, prompts: Array, chosen: Array, point: _Point, converged: Array, xp: Any
) -> Fits[Array]:
    size = cells.size
    e, u, count, n = point.e, point.u, cells[chosen], prompts[chosen]
    uniform = u <= 0
    some_u = xp.where(uniform, 1.0, u)
    total = e - count * (u - 1)
    finite = u < 1

    determinant = point.hess_ee * point.hess_uu - point.hess_eu**2
    inside = (e > 0) & ~uniform & (determinant > 0) & (point.hess_ee < 0)
    safe = xp.where(inside, determinant, 1.0)
    var_e, var_u, cov = -point.hess_uu / safe, -point.hess_ee / safe, point.hess_eu / safe
    by_u = -(e + count) / some_u**2
    var_theta = (var_e / some_u**2 + 2 * by_u / some_u * cov + by_u**2 * var_u) * inside

    def column(values: Array) -> Array:
        filled: Array = xp.full(size, np.nan)
        filled[chosen] = values
        return filled

    discount = column(xp.where(uniform, -np.inf, (u - 1) / some_u))
    support = column(xp.where(finite, total / xp.where(finite, 1 - u, 1.0), np.inf))
    new_chance = column(e / (total + n * u))
    log_likelihood = column(point.value)
    # One cell only, or no revisit: the likelihood has no single top but a known limit, 1.
    one_cell, all_new = (cells == 1) & (prompts > 1), (cells == prompts) & (prompts > 1)
    certain = one_cell | all_new
    settled = xp.zeros(size, dtype=bool)
    settled[chosen] = converged
    return Fits(
        discount,
        column(xp.where(uniform, np.inf, total / some_u)),
        xp.where(one_cell, 1.0, xp.where(all_new, np.inf, support)),
        xp.where(certain, 0.0, log_likelihood),
        column(xp.where(inside, xp.sqrt(xp.maximum(var_u, 0.0) * inside) / some_u**2, np.nan)),
        column(xp.where(inside, xp.sqrt(xp.maximum(var_theta, 0.0)), np.nan)),
        xp.where(one_cell, 0.0, xp.where(all_new, 1.0, new_chance)),
        settled | certain,
    )
