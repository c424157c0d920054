"""The Pitman–Yor kernel: its sums against mpmath, ln L term by term, maxima against SciPy's optimisers."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from coverage_kernels import backends
from coverage_kernels.pitman_yor import batched, gpu, pitman_yor, reference
from coverage_kernels.pitman_yor.progression import DIRECT, first_terms, progression_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln, polygamma

#: Of ln L; a batch differs from its accounts by the order of summation only.
TOLERANCE = 1e-9

#: All that the kernel may take from its array module; each was checked to exist in CuPy 14.2.0.
IN_CUPY = {
    "abs", "arange", "bincount", "clip", "concatenate", "cumsum", "flatnonzero", "full", "log", "log1p",
    "maximum", "minimum", "ones_like", "searchsorted", "sqrt", "where", "zeros",
}  # fmt: skip

COUNTS = st.lists(st.integers(1, 20), min_size=2, max_size=12).filter(lambda counts: max(counts) > 1)


def packed(accounts: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts of counts by `numpy.unique`, account by account."""
    tallies = [np.unique(np.array(one, dtype=np.int64), return_counts=True) for one in accounts]
    empty = [np.empty(0, dtype=np.int64)]
    return (
        np.concatenate([*empty, *(r for r, _ in tallies)]),
        np.concatenate([*empty, *(f for _, f in tallies)]),
        np.cumsum([0, *(len(r) for r, _ in tallies)]),
    )


def shapes(rng: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    """Yield counts of n prompts of every shape: uniform, Dirichlet, Zipf, all equal, arbitrary."""
    while True:
        yield np.unique(rng.integers(0, rng.integers(2, 3 * n), n), return_counts=True)[1]
        yield rng.multinomial(n, rng.dirichlet(np.full(rng.integers(2, 2 * n), 10 ** rng.uniform(-1.5, 2))))
        zipf = 1 / np.arange(1, 5 * n) ** rng.uniform(0.5, 2.5)
        yield rng.multinomial(n, zipf / zipf.sum())
        yield np.full(rng.integers(2, 10), rng.integers(2, 8))
        yield rng.integers(1, rng.integers(3, 12), rng.integers(2, 15))


def some_accounts(seed: int, how_many: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    accounts: list[np.ndarray] = []
    streams = [shapes(rng, n) for n in sizes]
    while len(accounts) < how_many:
        for stream in streams:
            counts = next(stream)
            counts = counts[counts > 0]
            if 1 < len(counts) < counts.sum():
                accounts.append(counts)
    return accounts[:how_many]


@pytest.mark.parametrize("terms", [0, 1, 7, DIRECT, DIRECT + 1, 63, 1009])
@pytest.mark.parametrize("step", [0.0, 1e-12, 1e-4, 0.03, 1.0, 300.0])
@pytest.mark.parametrize("base", [None, 0.001, 1.0, 4e5], ids=["edge", "0.001", "1", "4e5"])
def test_progression_sums_are_those_of_mpmath(base: float | None, step: float, terms: int) -> None:
    if base is None:  # minus almost a step; without a step, almost 0
        base = -step * (1 - 2**-20) if step else 2**-20
    got = progression_sums(np.array([base]), np.array([step]), np.array([terms]))
    with mpmath.workdps(40):
        v = [mpmath.mpf(base) + i * mpmath.mpf(step) for i in range(1, terms + 1)]
        summands = {
            "log": [mpmath.log(x) for x in v],
            "inverse": [1 / x for x in v],
            "square": [1 / x**2 for x in v],
            "index_inverse": [i / x for i, x in enumerate(v, 1)],
            "index_square": [i / x**2 for i, x in enumerate(v, 1)],
            "index2_square": [i * i / x**2 for i, x in enumerate(v, 1)],
        }
        for name, parts in summands.items():
            gap = abs(mpmath.mpf(float(getattr(got, name)[0])) - mpmath.fsum(parts))
            # ln of a number near 1 is only as good as that number.
            scale = mpmath.fsum(abs(x) for x in parts) + (terms * 1e-3 if name == "log" else 0)
            # Rounding of base + i · step itself, where they cancel, is not the sum's error.
            cancelled = 1e7 if base < 0 else 1
            assert gap <= 1e-13 * scale * cancelled, name


@pytest.mark.parametrize("terms", [1, 9, 300, 10**6])
def test_progression_of_step_one_is_log_gamma_digamma_and_trigamma(terms: int) -> None:
    x = np.array([0.3, 1.0, 7.5, 900.0])
    got = progression_sums(x - 1, np.ones(4), np.full(4, terms))
    assert np.allclose(got.inverse, digamma(x + terms) - digamma(x), rtol=1e-12)
    assert np.allclose(got.square, polygamma(1, x) - polygamma(1, x + terms), rtol=1e-8)
    assert np.allclose(got.log, gammaln(x + terms) - gammaln(x), rtol=1e-12)


def test_first_terms_are_the_numbers_themselves() -> None:
    got = first_terms(np.array([2.0]), np.array([0.5]))
    assert np.allclose(got.inverse[:, 0], 1 / (2 + 0.5 * np.arange(1, DIRECT + 1)), rtol=1e-15)
    assert np.allclose(np.exp(got.log[:, 0]), 2 + 0.5 * np.arange(1, DIRECT + 1), rtol=1e-14)


def test_log_likelihood_at_the_estimate_is_that_of_the_reference_term_by_term() -> None:
    accounts = some_accounts(3, 200, (5, 30, 300))
    fits = pitman_yor(*packed(accounts))
    assert fits.converged.all()
    branches = {"d > 0": 0, "d < 0": 0, "uniform": 0, "M = K": 0}
    for a, counts in enumerate(accounts):
        d, theta, support = fits.discount[a], fits.concentration[a], fits.support[a]
        if np.isneginf(d):
            branches["uniform"] += 1
            expected = reference.uniform_log_likelihood(counts, support)
        else:
            branches["d > 0" if d > 0 else "M = K" if fits.new_chance[a] == 0 else "d < 0"] += 1
            expected = reference.log_likelihood(counts, d, theta)
        # d near −∞ loses digits as d and θ; the finite branch is smooth there.
        assert fits.log_likelihood[a] == pytest.approx(
            expected, abs=TOLERANCE * max(1, -d if d > -1e9 else 1)
        )
    assert min(branches.values()) >= 5, branches


def negative(counts: np.ndarray, d: float, theta: float) -> float:
    value = reference.log_likelihood(counts, d, theta)
    return -value if np.isfinite(value) else 1e9


def scipy_best(counts: np.ndarray) -> float:
    """Return the best ln L that Nelder–Mead finds from several starts on each branch."""
    cells = len(counts)
    best = -np.inf
    options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 2000, "maxfev": 2000}
    for start in ([-2.0, 0.0], [0.0, 1.0], [2.0, 3.0]):
        found = minimize(
            lambda x: negative(counts, expit(x[0]), np.exp(min(x[1], 25)) - expit(x[0])),
            start,
            method="Nelder-Mead",
            options=options,
        )
        best = max(best, -found.fun)
    for start in ([0.0, 0.0], [2.0, -3.0], [-2.0, 3.0]):
        found = minimize(
            lambda x: negative(
                counts, -np.exp(min(x[0], 20)), (cells + np.exp(min(x[1], 25))) * np.exp(min(x[0], 20))
            ),
            start,
            method="Nelder-Mead",
            options=options,
        )
        best = max(best, -found.fun)
    for start in (-3.0, 0.0, 3.0):
        found = minimize(
            lambda x: -reference.uniform_log_likelihood(counts, cells + np.exp(min(x[0], 25))),
            [start],
            method="Nelder-Mead",
            options=options,
        )
        best = max(best, -found.fun)
    return best


def test_maximum_is_not_below_any_that_scipy_finds() -> None:
    accounts = some_accounts(8, 30, (5, 12, 40))
    fits = pitman_yor(*packed(accounts))
    for a, counts in enumerate(accounts):
        best = scipy_best(counts)
        assert fits.log_likelihood[a] >= best - 1e-7, counts
        # And no higher than the likelihood goes: Nelder–Mead nears even a boundary to this.
        assert fits.log_likelihood[a] <= best + 1e-4, counts


def test_estimates_are_those_of_the_reference_search() -> None:
    accounts = some_accounts(5, 40, (5, 12, 40))
    fits = pitman_yor(*packed(accounts))
    for a, counts in enumerate(accounts):
        found = reference.fit(counts)
        assert fits.log_likelihood[a] == pytest.approx(found.log_likelihood, abs=1e-7)
        assert fits.log_likelihood[a] >= found.log_likelihood - TOLERANCE
        assert fits.new_chance[a] == pytest.approx(found.new_chance, abs=1e-4)
        if np.isfinite(fits.discount_se[a]):
            assert fits.discount[a] == pytest.approx(found.discount, abs=0.01 * fits.discount_se[a])
            assert fits.concentration[a] == pytest.approx(
                found.concentration, abs=0.01 * fits.concentration_se[a]
            )


def test_standard_errors_are_those_of_the_observed_information() -> None:
    accounts = some_accounts(11, 60, (40, 100))
    fits = pitman_yor(*packed(accounts))
    inside = np.flatnonzero(np.isfinite(fits.discount_se))
    assert len(inside) >= 20
    signs = set()
    for a in inside[:20]:
        counts, at = accounts[a], (fits.discount[a], fits.concentration[a])
        signs.add(bool(at[0] > 0))

        def exact(d: Any, theta: Any, counts: np.ndarray = counts) -> Any:
            above = [theta + i * d for i in range(1, len(counts))]
            above += [j - d for x in counts.tolist() for j in range(1, x)]
            below = [theta + i for i in range(1, int(counts.sum()))]
            return mpmath.log(mpmath.fprod(above)) - mpmath.log(mpmath.fprod(below))

        with mpmath.workdps(40):
            dd, dt, tt = (float(mpmath.diff(exact, at, order)) for order in ((2, 0), (1, 1), (0, 2)))
        errors = np.sqrt(np.diag(np.linalg.inv(-np.array([[dd, dt], [dt, tt]]))))
        assert fits.discount_se[a] == pytest.approx(errors[0], rel=1e-4)
        assert fits.concentration_se[a] == pytest.approx(errors[1], rel=1e-4)
    assert signs == {True, False}


@settings(max_examples=25)
@given(st.lists(COUNTS, max_size=6))
def test_a_batch_is_its_accounts(accounts: list[list[int]]) -> None:
    together = pitman_yor(*packed(accounts))
    for a, counts in enumerate(accounts):
        alone = pitman_yor(*packed([counts]))
        assert alone.log_likelihood[0] == pytest.approx(together.log_likelihood[a], abs=TOLERANCE)
        assert alone.new_chance[0] == pytest.approx(together.new_chance[a], abs=1e-6)
        assert alone.converged[0] == together.converged[a]


def test_blocks_and_empty_accounts_change_nothing() -> None:
    accounts: list[Any] = some_accounts(2, 50, (5, 63))
    for a in (0, 7, 7, 40):
        accounts.insert(a, [])
    r, frequency, offsets = packed(accounts)
    whole = batched.fit(r, frequency, offsets, iterations=100)
    for block in (1, 7, 54):
        parts = batched.fit(r, frequency, offsets, iterations=100, block=block)
        assert np.allclose(parts.log_likelihood, whole.log_likelihood, rtol=0, atol=TOLERANCE, equal_nan=True)
    assert np.isnan(whole.log_likelihood).sum() == 4


def test_large_accounts() -> None:
    rng = np.random.default_rng(6)
    n = 200_000
    mass = 1 / np.arange(1, 16_385)
    accounts = [
        np.bincount(rng.choice(16_384, n, p=mass / mass.sum())),
        np.bincount(rng.integers(0, 16_384, n)),
        np.bincount(rng.integers(0, 10**7, n)),
    ]
    fits = pitman_yor(*packed([counts[counts > 0] for counts in accounts]))
    assert fits.converged.all()
    assert 0 < fits.discount[0] < 1
    assert fits.support[1] == pytest.approx(16_384, rel=1e-3)
    assert fits.support[2] == pytest.approx(10**7, rel=0.1)


def test_edges() -> None:
    accounts: list[list[int]] = [[], [1], [2], [7], [1, 1], [1] * 50, [3, 3, 3], [2, 1]]
    fits = pitman_yor(*packed(accounts))
    assert fits.converged.tolist() == [False, False, True, True, True, True, True, True]
    for column in (fits.discount, fits.concentration, fits.discount_se, fits.concentration_se):
        assert np.isnan(column[:6]).all()
    assert np.array_equal(fits.support[:6], [np.nan, np.nan, 1, 1, np.inf, np.inf], equal_nan=True)
    assert np.array_equal(fits.log_likelihood[:6], [np.nan, np.nan, 0, 0, 0, 0], equal_nan=True)
    assert np.array_equal(fits.new_chance[:6], [np.nan, np.nan, 0, 0, 1, 1], equal_nan=True)
    # Three cells of three prompts: more even than uniform draws. 1/(M−1) + 1/(M−2) < 8/M at M = 3 already?
    # No: 1/2 + 1 < 8/3, so ln L falls from M = K = 3 on: ln(2 · 1) − 8 ln 3.
    assert fits.discount[6] == -np.inf
    assert fits.concentration[6] == np.inf
    assert fits.support[6] == pytest.approx(3)
    assert fits.new_chance[6] == 0
    assert fits.log_likelihood[6] == pytest.approx(np.log(2) - 8 * np.log(3), abs=1e-12)
    assert np.isnan(fits.discount_se[6])


def test_no_accounts() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert all(column.shape == (0,) for column in pitman_yor(nothing, nothing, [0]))


def test_iterations_change_the_answer() -> None:
    accounts = some_accounts(2, 20, (30,))
    few, enough = pitman_yor(*packed(accounts), iterations=1), pitman_yor(*packed(accounts))
    assert not few.converged.any()
    assert enough.converged.all()
    assert np.all(few.log_likelihood <= enough.log_likelihood + TOLERANCE)
    assert np.any(few.log_likelihood < enough.log_likelihood - 1e-6)


def test_errors() -> None:
    ones, cut = np.array([1, 2]), [0, 2]
    with pytest.raises(ValueError, match=r"r: expected integers of shape \(k,\), got float64"):
        pitman_yor(ones.astype(float), ones, cut)
    with pytest.raises(ValueError, match="frequency: expected 1 or more, got 0"):
        pitman_yor(ones, np.array([0, 1]), cut)
    with pytest.raises(ValueError, match="frequency: expected the shape of r"):
        pitman_yor(ones, np.array([1]), cut)
    with pytest.raises(ValueError, match="offsets: expected to end at the number of rows"):
        pitman_yor(ones, ones, [0, 1])
    with pytest.raises(ValueError, match="iterations: expected 1 or more, got 0"):
        pitman_yor(ones, ones, cut, iterations=0)
    with pytest.raises(ValueError, match="backend: expected 'auto', 'cpu' or 'cupy', got 'triton'"):
        pitman_yor(ones, ones, cut, backend="triton")  # type: ignore[arg-type]


def test_cupy_asked_for_by_name_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_lacking", lambda gpu: "there is none")
    with pytest.raises(RuntimeError, match="backend: 'cupy' was asked for, but there is none"):
        pitman_yor(np.array([1, 2]), np.array([1, 1]), [0, 2], backend="cupy")


def test_the_array_code_needs_only_names_that_cupy_has(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    stand_in = SimpleNamespace(
        asarray=np.asarray, asnumpy=np.asarray, **{name: getattr(np, name) for name in IN_CUPY}
    )
    monkeypatch.setattr(backends, "_lacking", lambda gpu: None)
    monkeypatch.setattr(gpu, "import_module", lambda name: asked.append(name) or stand_in)
    columns = packed([*some_accounts(4, 20, (12, 63)), [], [1, 1], [5]])
    for one, other in zip(pitman_yor(*columns, backend="cupy"), pitman_yor(*columns), strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    assert asked == ["cupy"]
