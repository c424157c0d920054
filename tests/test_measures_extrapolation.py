"""Extrapolation and coverage curves against iNEXT's output, enumeration, exact fractions and simulation."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product
from math import comb, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ragged_lists import one, ragged

from coverage_lab.measures.extrapolation import coverage_curve, extrapolation, growth_at_coverage
from coverage_lab.measures.nulls import rarefaction
from coverage_lab.measures.richness import chao1
from coverage_lab.measures.sample_coverage import sample_coverage

#: data(spider) of the R package iNEXT (JohnsonHsieh/iNEXT, R/iNEXT.r; Sackett et al. 2011, Ecosphere 2:74).
GIRDLED = [46, 22, 17, 15, 15, 9, 8, 6, 6, 4, *[2] * 4, *[1] * 12]
LOGGED = [88, 22, 16, 15, 13, 10, 8, 8, 7, 7, 7, 5, 4, 4, 4, *[3] * 4, *[2] * 4, *[1] * 14]

#: iNEXT 3.0.2, iNEXT(spider$Girdled, q = 0, size = ...): m, qD, SC; recorded in the tests of a public
#: TypeScript port of it.
INEXT = np.array(
    [
        [1, 1.0, 0.1223268],
        [10, 6.478617, 0.5969308],
        [50, 15.030098, 0.8674807],
        [100, 20.459426, 0.9072004],
        [167, 25.928571, 0.9285714],
        [168, 26.0, 0.9288554],
        [169, 26.071145, 0.9291383],
        [200, 28.141739, 0.9373713],
        [336, 34.730733, 0.9635701],
    ]
)

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=12).filter(lambda counts: sum(counts) > 1)
ACCOUNTS = st.lists(st.lists(st.integers(1, 9), max_size=8), max_size=5)


def sizes(*m: int) -> tuple[np.ndarray, list[int]]:
    return np.array(m, dtype=np.int64), [0, len(m)]


def curve(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return D(m) and C(m) at m = 1..2n, D by rarefaction up to n."""
    n = sum(counts)
    inner, _ = rarefaction(*one(counts), *sizes(*range(1, n + 1)))
    outer, _ = extrapolation(*one(counts), *sizes(*range(n + 1, 2 * n + 1)))
    return np.concatenate([inner, outer]), coverage_curve(*one(counts), *sizes(*range(1, 2 * n + 1)))


def test_curves_are_those_of_inext() -> None:
    m = INEXT[:, 0].astype(np.int64)
    np.testing.assert_allclose(coverage_curve(*one(GIRDLED), *sizes(*m)), INEXT[:, 2], atol=6e-8)
    mean, _ = extrapolation(*one(GIRDLED), *sizes(*m[m >= 168]))
    np.testing.assert_allclose(mean, INEXT[m >= 168, 1], atol=6e-7)


@given(COUNTS)
def test_each_prompt_adds_as_many_cells_as_its_coverage_is_short_of_one(counts: list[int]) -> None:
    distinct, coverage = curve(counts)
    np.testing.assert_allclose(np.diff(distinct), 1 - coverage[:-1], rtol=1e-9, atol=1e-11)


@given(COUNTS)
def test_curves_never_fall_and_stay_in_range(counts: list[int]) -> None:
    distinct, coverage = curve(counts)
    assert np.all(np.diff(distinct) > -1e-11)
    assert np.all(np.diff(coverage) > -1e-12)
    assert np.all((coverage >= 0) & (coverage <= 1))
    assert distinct[-1] <= chao1(*one(counts), bias_corrected=False)[0][0] * (1 + 1e-12)
    n = sum(counts)
    assert coverage[n - 1] == pytest.approx(sample_coverage(*one(counts))[0], rel=1e-13)
    assert distinct[n - 1] == pytest.approx(len(counts), rel=1e-12)


@pytest.mark.parametrize("counts", [[4], [1, 1, 1], [3, 1], [2, 2, 1], [4, 1, 1, 1], [2, 2, 2], [3, 2, 1, 1]])
def test_coverage_is_how_often_the_next_of_all_orders_falls_on_known_ground(counts: list[int]) -> None:
    prompts = [cell for cell, count in enumerate(counts) for _ in range(count)]
    n = len(prompts)
    known = np.array([[order[m] in order[:m] for m in range(1, n)] for order in permutations(prompts)])
    got = coverage_curve(*one(counts), *sizes(*range(1, n)))
    np.testing.assert_allclose(got, known.mean(axis=0), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("counts", [[1] * 40 + [2] * 9 + [3, 60], [500, 1, 1], [1] * 200, [7] * 30])
def test_coverage_below_the_prompts_is_the_exact_fraction(counts: list[int]) -> None:
    n = sum(counts)
    m = [1, 2, n // 3, n // 2, n - 2, n - 1]
    exact = [1 - sum(Fraction(x, n) * Fraction(comb(n - x, k), comb(n - 1, k)) for x in counts) for k in m]
    got = coverage_curve(*one(counts), *sizes(*m))
    np.testing.assert_allclose(got, [float(value) for value in exact], rtol=1e-11, atol=1e-12)


def test_coverage_below_the_prompts_is_unbiased_by_enumeration() -> None:
    mass = np.array([0.5, 0.3, 0.15, 0.05])
    n, m = 5, [1, 2, 3, 4]
    expected = np.zeros(len(m))
    for draw in product(range(4), repeat=n):
        counts = [x for x in np.bincount(draw).tolist() if x]
        expected += np.prod(mass[list(draw)]) * coverage_curve(*one(counts), *sizes(*m))
    truth = [(mass * (1 - (1 - mass) ** k)).sum() for k in m]
    np.testing.assert_allclose(expected, truth, rtol=1e-12)


def extrapolated(once: float, twice: float, others: float, n: int, further: int) -> tuple[float, float]:
    """Return D(n + further) and K + f0 for real f1 and f2, so that it can be differentiated at fixed n."""
    known = once + twice + others
    unseen = (n - 1) / n * (once**2 / (2 * twice) if twice > 0 else once * (once - 1) / 2)
    return known + unseen * (1 - (1 - once / (n * unseen + once)) ** further), known + unseen


@given(
    st.integers(2, 30),
    st.integers(0, 15),
    st.lists(st.integers(3, 20), max_size=12),
    st.sampled_from([0.0, 0.01, 0.3, 1.0]),
)
def test_variance_is_the_delta_method_with_numerical_derivatives(
    ones: int, twos: int, others: list[int], share: float
) -> None:
    counts = [1] * ones + [2] * twos + others
    n = sum(counts)
    further = int(share * n)
    step = 1e-5

    def at(once: float, twice: float) -> float:
        return extrapolated(once, twice, len(others), n, further)[0]

    slopes = np.ones(len(others) + 2)
    slopes[0] = (at(ones + step, twos) - at(ones - step, twos)) / (2 * step)
    if twos:
        slopes[1] = (at(ones, twos + step) - at(ones, twos - step)) / (2 * step)
    frequencies = np.array([ones, twos, *[1] * len(others)])
    total = extrapolated(ones, twos, len(others), n, further)[1]
    covariance = np.diag(frequencies) - np.outer(frequencies, frequencies) / total
    mean, variance = extrapolation(*one(counts), *sizes(n + further))
    assert mean[0] == pytest.approx(at(ones, twos), rel=1e-11)
    assert variance[0] == pytest.approx(slopes @ covariance @ slopes, rel=1e-5, abs=1e-5)


def samples(mass: np.ndarray, prompts: int, accounts: int) -> tuple[np.ndarray, np.ndarray]:
    tables = np.random.default_rng(20241).multinomial(prompts, mass / mass.sum(), size=accounts)
    return tables[tables > 0], np.concatenate([[0], np.cumsum((tables > 0).sum(axis=1))])


@pytest.mark.parametrize(
    ("mass", "prompts", "bias", "low", "high"),
    [
        (np.ones(200), 400, 0.01, 0.9, 1.15),
        (np.ones(1000), 400, 0.01, 1.1, 1.6),
        (1 / np.arange(1, 501), 400, 0.02, 0.9, 1.2),
        (1 / np.arange(1, 501), 100, 0.03, 1.0, 1.4),
        (np.arange(1, 2001) ** -1.5, 1000, 0.03, 0.9, 1.15),
    ],
    ids=["flat, half seen", "flat, a third seen", "Zipf", "Zipf, few prompts", "steep"],
)
def test_at_twice_the_prompts_the_mean_is_true_and_the_error_no_lower_than_the_spread(
    mass: np.ndarray, prompts: int, bias: float, low: float, high: float
) -> None:
    accounts = 1500
    grid = np.full(accounts, 2 * prompts), np.arange(accounts + 1)
    mean, variance = extrapolation(*samples(mass, prompts, accounts), *grid)
    truth = (1 - (1 - mass / mass.sum()) ** (2 * prompts)).sum()
    assert mean.mean() == pytest.approx(truth, rel=bias)
    assert low < np.sqrt(variance.mean()) / mean.std() < high


def test_coverage_beyond_the_prompts_is_that_of_the_distribution() -> None:
    mass = 1 / np.arange(1, 301)
    mass /= mass.sum()
    accounts, prompts = 500, 300
    for m in (300, 400, 600):
        coverage = coverage_curve(
            *samples(mass, prompts, accounts), np.full(accounts, m), np.arange(accounts + 1)
        )
        truth = (mass * (1 - (1 - mass) ** m)).sum()
        # What the account has not seen is taken for as few cells as possible: high rather than low.
        assert -0.003 < coverage.mean() - truth < 0.015


@settings(deadline=None)
@given(COUNTS, st.floats(0.001, 0.999))
def test_growth_at_coverage_is_a_search_along_the_curve(counts: list[int], target: float) -> None:
    n = sum(counts)
    distinct, coverage = curve(counts)
    prompts, cells = (values[0] for values in growth_at_coverage(*one(counts), coverage=target))
    if coverage[-1] < target * (1 - 1e-12):
        assert np.isnan(prompts)
        assert np.isnan(cells)
    elif coverage[0] >= target:
        assert prompts == cells == 1
    elif coverage[n - 1] >= target:
        after = int(np.argmax(coverage >= target))
        share = (target - coverage[after - 1]) / (coverage[after] - coverage[after - 1])
        assert prompts == pytest.approx(after + share, rel=1e-9)
        assert cells == pytest.approx(
            distinct[after - 1] + share * (distinct[after] - distinct[after - 1]), rel=1e-9
        )
    else:
        # The closed forms from n on, at a real m.
        once, twice = counts.count(1), counts.count(2)
        unseen = chao1(*one(counts), bias_corrected=False)[0][0] - len(counts)
        kept = n * unseen / (n * unseen + once)
        assert twice >= 0
        assert n <= prompts <= 2 * n
        assert 1 - once / n * kept ** (prompts - n + 1) == pytest.approx(target, rel=1e-9)
        assert cells == pytest.approx(len(counts) + unseen * (1 - kept ** (prompts - n)), rel=1e-9)


def test_growth_at_coverage_of_spiders() -> None:
    spiders = ragged([GIRDLED, LOGGED])
    own = sample_coverage(*spiders)
    # At its own coverage an account has its own prompts and cells; 0.9289 and 0.9446 by iNEXT's DataInfo.
    assert own == pytest.approx([0.9289, 0.9446], abs=5e-5)
    for account, (n, reached) in enumerate([(168, 26), (252, 37)]):
        prompts, distinct = growth_at_coverage(*spiders, coverage=own[account])
        assert prompts[account] == pytest.approx(n)
        assert distinct[account] == pytest.approx(reached)
    # Girdled at 2n has 0.9635701 and 34.730733 by iNEXT 3.0.2, and nothing beyond.
    prompts, distinct = growth_at_coverage(*spiders, coverage=0.96357)
    assert prompts[0] == pytest.approx(336, abs=0.01)
    assert distinct[0] == pytest.approx(34.730733, abs=1e-3)
    assert np.isnan(growth_at_coverage(*spiders, coverage=0.9636)[0]).tolist() == [True, False]


def test_equal_coverage_compares_distributions_where_equal_prompts_do_not() -> None:
    accounts, prompts = 300, 200
    at_prompts, at_coverage = [], []
    for cells in (300, 600):
        sample = samples(np.ones(cells), prompts, accounts)
        at_prompts.append(np.diff(sample[1]).mean())
        at_coverage.append(np.nanmean(growth_at_coverage(*sample, coverage=0.2)[1]))
    assert at_prompts[1] / at_prompts[0] < 1.25
    assert at_coverage[1] / at_coverage[0] == pytest.approx(2, rel=0.1)


@given(ACCOUNTS, st.integers(0, 99), st.sampled_from([0.1, 0.5, 0.8, 0.97]))
@settings(deadline=None)
def test_batch_is_each_account_alone_in_any_order_of_cells(
    accounts: list[list[int]], seed: int, target: float
) -> None:
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(counts).tolist() for counts in accounts]
    outer = [list(range(sum(counts), 2 * sum(counts) + 1)) if counts else [] for counts in accounts]
    whole = [list(range(1, 2 * sum(counts) + 1)) for counts in accounts]
    together = [
        *extrapolation(*ragged(accounts), *ragged(outer)),
        coverage_curve(*ragged(accounts), *ragged(whole)),
        *growth_at_coverage(*ragged(accounts), coverage=target),
    ]
    alone = [
        (
            *extrapolation(*one(counts), *sizes(*outer[a])),
            coverage_curve(*one(counts), *sizes(*whole[a])),
            *growth_at_coverage(*one(counts), coverage=target),
        )
        for a, counts in enumerate(shuffled)
    ]
    for part, values in enumerate(together):
        expected = np.concatenate([np.empty(0), *(parts[part] for parts in alone)])
        np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-11)


def test_curves_are_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    accounts = [rng.integers(1, 9, size).tolist() for size in (20, 0, 25, 15)]
    grid = ragged([list(range(1, 2 * sum(counts) + 1)) for counts in accounts])
    whole = coverage_curve(*ragged(accounts), *grid)
    monkeypatch.setattr("coverage_lab.measures.nulls._BLOCK", 11)
    np.testing.assert_array_equal(coverage_curve(*ragged(accounts), *grid), whole)


def test_large_account_keeps_its_digits() -> None:
    once, twice, rest = 60_000, 10_000, 2**30
    counts = one([1] * once + [2] * twice + [rest])
    n = once + 2 * twice + rest
    m = n // 1000
    exact = [
        f * Fraction(x, n) * Fraction(comb(n - x, 2), comb(n - 1, 2))
        for x, f in ((1, once), (2, twice), (rest, 1))
    ]
    assert coverage_curve(*counts, *sizes(2))[0] == pytest.approx(float(1 - sum(exact)), rel=1e-12)
    prompts, distinct = growth_at_coverage(*counts, coverage=float(coverage_curve(*counts, *sizes(m))[0]))
    assert prompts[0] == pytest.approx(m, rel=1e-3)
    assert distinct[0] == pytest.approx(rarefaction(*counts, *sizes(m))[0][0], rel=1e-3)
    # With 1 − A = 2 f2 / ((n − 1) f1 + 2 f2), A^n tends to e^{−2 f2 / f1}.
    unseen = once**2 / (2 * twice)
    expected = once + twice + 1 + unseen * -np.expm1(-2 * twice / once)
    assert extrapolation(*counts, *sizes(2 * n))[0][0] == pytest.approx(expected, rel=1e-7)


def test_accounts_with_too_few_prompts() -> None:
    # Empty; one prompt; one cell twice; two cells once.
    accounts = ragged([[], [1], [2], [1, 1]])
    grid = ragged([[], [1, 2], [2, 4], [2, 4]])
    mean, variance = extrapolation(*accounts, *grid)
    # Two cells once: f0 = 1/2, A = 1/3; K + f0 = 2.5.
    np.testing.assert_allclose(mean, [np.nan, np.nan, 1, 1, 2, 2 + 0.5 * (1 - 1 / 9)], rtol=1e-13)
    np.testing.assert_allclose(variance[:5], [np.nan, np.nan, 0, 0, 2 - 4 / 2.5], rtol=1e-13)
    coverage = coverage_curve(*accounts, *grid)
    np.testing.assert_allclose(coverage, [np.nan, np.nan, 1, 1, 2 / 3, 1 - 1 / 27], rtol=1e-13)
    prompts, distinct = growth_at_coverage(*accounts, coverage=0.9)
    further = log(0.1) / log(1 / 3) - 1
    np.testing.assert_allclose(prompts, [np.nan, np.nan, 1, 2 + further], rtol=1e-13)
    np.testing.assert_allclose(distinct, [np.nan, np.nan, 1, 2 + 0.5 * (1 - 3**-further)], rtol=1e-13)
    assert growth_at_coverage(np.empty(0, dtype=np.int64), [0], coverage=0.5)[0].shape == (0,)


def test_one_cell_reached_once_adds_no_unseen_cell() -> None:
    counts = one([5, 3, 1])
    mean, variance = extrapolation(*counts, *sizes(9, 10, 18))
    assert mean.tolist() == [3, 3, 3]
    # d1 = 1 + (n − 1)/n · (2 f1 − 1)/2 from the first further prompt on, against three cells in all.
    slope = 1 + 8 / 9 / 2
    np.testing.assert_allclose(variance[1:], slope**2 + 2 - (slope + 2) ** 2 / 3, rtol=1e-12)
    assert variance[0] == pytest.approx(0, abs=1e-12)
    assert coverage_curve(*counts, *sizes(9, 18)).tolist() == [1, 1]


def test_the_coverage_asked_for_changes_something() -> None:
    low, high = (growth_at_coverage(*one(GIRDLED), coverage=c) for c in (0.5, 0.6))
    assert low[0] < high[0]
    assert low[1] < high[1]


def test_errors() -> None:
    account = one([2, 1])
    with pytest.raises(ValueError, match="grid: expected points from 3 to 6 for 3 prompts, got 2"):
        extrapolation(*account, *sizes(2))
    for curves in (extrapolation, coverage_curve):
        with pytest.raises(ValueError, match=r"grid: expected points from . to 6 for 3 prompts, got 7"):
            curves(*account, *sizes(7))
        with pytest.raises(ValueError, match="grid: expected points from 1 to 0 for 0 prompts, got 0"):
            curves(np.empty(0, dtype=np.int64), [0, 0], *sizes(0))
        with pytest.raises(ValueError, match="grid_offsets: expected 1 accounts, got 2"):
            curves(*account, np.array([3, 3]), [0, 1, 2])
        with pytest.raises(ValueError, match="counts: expected integers from 1"):
            curves(*one([2, 0]), *sizes(2))
    with pytest.raises(ValueError, match="grid: expected points from 1 to 6 for 3 prompts, got 0"):
        coverage_curve(*account, *sizes(0))
    with pytest.raises(ValueError, match="counts: expected integers from 1"):
        growth_at_coverage(*one([2, 0]), coverage=0.5)
    for coverage in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="coverage: expected above 0 and below 1, got"):
            growth_at_coverage(*account, coverage=coverage)
