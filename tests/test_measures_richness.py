"""Richness estimators against scikit-bio, SciPy's tails, exact fractions and iNEXT's published output."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom, poisson
from skbio.diversity import alpha
from skbio.diversity.alpha._chao1 import _chao1_var
from support.ragged_lists import one, ragged

from coverage_lab.measures.richness import ace, chao1, good_toulmin

#: data(spider) of the R package iNEXT (JohnsonHsieh/iNEXT, R/iNEXT.r; Sackett et al. 2011, Ecosphere 2:74).
GIRDLED = [46, 22, 17, 15, 15, 9, 8, 6, 6, 4, *[2] * 4, *[1] * 12]
LOGGED = [88, 22, 16, 15, 13, 10, 8, 8, 7, 7, 7, 5, 4, 4, 4, *[3] * 4, *[2] * 4, *[1] * 14]

COUNTS = st.lists(st.integers(1, 14), min_size=1, max_size=20)
ACCOUNTS = st.lists(st.lists(st.integers(1, 14), max_size=12), max_size=5)
MEASURES = {
    "chao1": lambda c, o: chao1(c, o)[0],
    "chao1 error": lambda c, o: chao1(c, o)[1],
    "chao1 plain": lambda c, o: chao1(c, o, bias_corrected=False)[0],
    "chao1 plain error": lambda c, o: chao1(c, o, bias_corrected=False)[1],
    "ace": ace,
    "ace 3": lambda c, o: ace(c, o, rare_threshold=3),
    "good_toulmin": lambda c, o: good_toulmin(c, o, t=0.7),
    "good_toulmin binomial": lambda c, o: good_toulmin(c, o, t=2.5),
    "good_toulmin poisson": lambda c, o: good_toulmin(c, o, t=2.5, smoothing="poisson"),
}


@pytest.mark.parametrize("name", MEASURES)
@given(accounts=ACCOUNTS, seed=st.integers(0, 99))
def test_batch_is_each_account_alone_in_any_order_of_cells(
    name: str, accounts: list[list[int]], seed: int
) -> None:
    measure = MEASURES[name]
    together = measure(*ragged(accounts))
    assert together.dtype == np.float64
    assert together.shape == (len(accounts),)
    rng = np.random.default_rng(seed)
    alone = [measure(*one(rng.permutation(counts).tolist()))[0] for counts in accounts]
    np.testing.assert_allclose(together, np.array(alone), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", MEASURES)
def test_empty_accounts_are_not_a_number(name: str) -> None:
    measure = MEASURES[name]
    assert measure(np.empty(0, dtype=np.int64), [0]).shape == (0,)
    values = measure(np.array([3, 2, 1, 1] * 5), [0, 0, 20, 20])
    assert np.isnan(values).tolist() == [True, False, True]


@given(COUNTS)
def test_bias_corrected_chao1_is_that_of_scikit_bio(counts: list[int]) -> None:
    cells, error = chao1(*one(counts))
    assert cells[0] == pytest.approx(alpha.chao1(counts), rel=1e-13)
    # scikit-bio takes the equation for f2 = 0 where f1 = f2 = 0 (it never asks for it there).
    assume(1 in counts or 2 in counts)
    assert error[0] ** 2 == pytest.approx(_chao1_var(np.array(counts)), rel=1e-12, abs=1e-12)


def test_bias_corrected_chao1_error_without_cells_reached_once_or_twice() -> None:
    # EstimateS eq. 8 by hand: K = 2, n = 8.
    assert chao1(*one([5, 3]))[1][0] == pytest.approx(sqrt(2 * exp(-4) * (1 - exp(-4))))


def test_plain_chao1_is_that_of_inext() -> None:
    cells, error = chao1(*ragged([GIRDLED, LOGGED]), bias_corrected=False)
    # ChaoRichness(spider) of iNEXT 3.0.2; the error of Logged was not found in print.
    assert cells == pytest.approx([43.893, 61.403], abs=5e-4)
    assert error[0] == pytest.approx(14.306, abs=5e-4)


@given(st.integers(2, 20), st.integers(0, 10), st.lists(st.integers(3, 40), max_size=10))
def test_plain_chao1_error_is_the_delta_method_in_exact_fractions(
    ones: int, twos: int, others: list[int]
) -> None:
    counts = [1] * ones + [2] * twos + others
    n, f = sum(counts), Counter(counts)
    shrink, once, twice = Fraction(n - 1, n), f[1], f[2]
    slope = dict.fromkeys(f, Fraction(1))
    if twice:
        total = len(counts) + shrink * once**2 / (2 * twice)
        slope[1] += shrink * Fraction(once, twice)
        slope[2] -= shrink * Fraction(once**2, 2 * twice**2)
    else:
        total = len(counts) + shrink * once * (once - 1) / 2
        slope[1] += shrink * Fraction(2 * once - 1, 2)
    variance = Fraction(0)
    for r in f:
        for s in f:
            variance += slope[r] * slope[s] * ((f[r] if r == s else 0) - f[r] * f[s] / total)
    cells, error = chao1(*one(counts), bias_corrected=False)
    assert cells[0] == pytest.approx(float(total), rel=1e-13)
    assert error[0] ** 2 == pytest.approx(float(variance), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("counts", [[5], [2, 2, 7], [1, 3, 3], [1], [3, 4, 4, 9]])
def test_plain_chao1_adds_nothing_without_two_cells_reached_once(counts: list[int]) -> None:
    cells, error = chao1(*one(counts), bias_corrected=False)
    assert cells[0] == len(counts)
    # Poisson numbers, given their total: the formula of iNEXT's ChaoRichness, cell by cell.
    missed = sum(exp(-x) - exp(-2 * x) for x in counts) - sum(x * exp(-x) for x in counts) ** 2 / sum(counts)
    assert error[0] ** 2 == pytest.approx(missed, rel=1e-12)


def test_chao1_finds_equal_cells_and_its_error_is_the_spread_of_its_estimates() -> None:
    rng = np.random.default_rng(5)
    tables = rng.multinomial(400, np.full(200, 1 / 200), size=2000)
    counts, offsets = tables[tables > 0], np.concatenate([[0], np.cumsum((tables > 0).sum(axis=1))])
    for corrected in (True, False):
        cells, error = chao1(counts, offsets, bias_corrected=corrected)
        assert cells.mean() == pytest.approx(200, rel=0.01)
        assert np.sqrt((error**2).mean()) == pytest.approx(cells.std(), rel=0.1)


@given(COUNTS, st.integers(1, 15))
def test_ace_is_that_of_scikit_bio(counts: list[int], threshold: int) -> None:
    got = ace(*one(counts), rare_threshold=threshold)[0]
    try:
        expected = alpha.ace(counts, rare_threshold=threshold)
    except ValueError:
        assert np.isnan(got)
    else:
        assert got == pytest.approx(expected, rel=1e-12)


def test_ace_of_hand_calculations() -> None:
    # No rare cell; no cell reached once: C = 1, so K; all rare cells reached once: not defined.
    assert ace(*one([11, 40]))[0] == 2
    assert ace(*one([2, 2, 30]))[0] == 3
    assert np.isnan(ace(*one([1, 1, 30]))[0])
    # Rare: 1, 1, 2, so n = 4, C = 1/2, gamma² = max(0, 6 · 2/12 − 1) = 0: 3/C = 6, and one abundant.
    assert ace(*one([1, 1, 2, 30]))[0] == pytest.approx(7)
    # Recorded in the tests of a public Julia package as what vegan's estimateR(spider) should give.
    assert ace(*ragged([GIRDLED, LOGGED])) == pytest.approx([48.41522903033908, 52.68499427262313], rel=1e-13)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.fractions(Fraction(1, 50), 1))
def test_good_toulmin_up_to_twice_the_prompts_is_the_plain_series(counts: list[int], t: Fraction) -> None:
    exact = -sum((-t) ** x for x in counts)
    for smoothing in ("binomial", "poisson"):
        got = good_toulmin(*one(counts), t=float(t), smoothing=smoothing)[0]
        assert got == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("t", [1 + 1e-12, 1.001, 1.5, 2.0, 3.3, 5.0])
@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_good_toulmin_is_the_smoothed_series_with_scipy_tails(counts: list[int], t: float) -> None:
    n = sum(counts)
    trials = int(np.floor(0.5 * log(n * t * t / (t - 1)) / log(3)))
    mean = log(n * (t + 1) ** 2 / (t - 1)) / (2 * t)
    tails = {
        "binomial": binom.sf(np.array(counts) - 1, trials, 2 / (t + 2)),
        "poisson": poisson.sf(np.array(counts) - 1, mean),
    }
    for smoothing, tail in tails.items():
        got = good_toulmin(*one(counts), t=t, smoothing=smoothing)[0]
        if t > log(n):
            assert np.isnan(got)
        else:
            terms = -((-t) ** np.array(counts)) * tail
            assert got == pytest.approx(terms.sum(), rel=1e-9, abs=1e-10 * np.abs(terms).max())


def test_good_toulmin_of_cells_with_many_prompts() -> None:
    few = [1] * 40 + [2] * 9 + [3] * 4
    many = [2**31 - 1, 700, 513, 512, 300]
    n = sum(few + many)
    mean = log(n * 16 / 2) / 6
    expected = -((-3.0) ** np.array(few) * poisson.sf(np.array(few) - 1, mean)).sum()
    assert good_toulmin(*one(few + many), t=3.0, smoothing="poisson")[0] == pytest.approx(expected, rel=1e-12)


def test_good_toulmin_forecasts_three_times_the_prompts() -> None:
    rng = np.random.default_rng(8)
    mass = 1 / np.arange(1, 3001)
    mass /= mass.sum()
    tables = rng.multinomial(3000, mass, size=300)
    counts, offsets = tables[tables > 0], np.concatenate([[0], np.cumsum((tables > 0).sum(axis=1))])
    ahead = ((1 - mass) ** 3000 - (1 - mass) ** 12_000).sum()
    plain = -np.array([((-3.0) ** x[x > 0]).sum() for x in tables])
    assert np.abs(plain - ahead).mean() > 1e6
    for smoothing, most in (("binomial", 0.08), ("poisson", 0.15)):
        forecast = good_toulmin(counts, offsets, t=3.0, smoothing=smoothing)
        assert forecast.mean() == pytest.approx(ahead, rel=most)
        assert np.abs(forecast - ahead).mean() < 2 * most * ahead


def test_good_toulmin_reaches_as_far_as_the_logarithm_of_the_prompts() -> None:
    counts, offsets = ragged([[1] * 50, [1] * 60, [1], [4] * 15])
    assert np.isnan(good_toulmin(counts, offsets, t=4.0)).tolist() == [True, False, True, False]
    assert not np.isnan(good_toulmin(counts, offsets, t=1.0)).any()
    assert np.isnan(good_toulmin(counts, offsets, t=1e300)).all()


def test_every_keyword_changes_something() -> None:
    account = one(GIRDLED)
    assert chao1(*account)[0] != chao1(*account, bias_corrected=False)[0]
    assert ace(*account) != ace(*account, rare_threshold=5)
    assert good_toulmin(*account, t=2) != good_toulmin(*account, t=3)
    assert good_toulmin(*account, t=2) != good_toulmin(*account, t=2, smoothing="poisson")


def test_errors() -> None:
    account = one([2, 1])
    for measure in MEASURES.values():
        with pytest.raises(ValueError, match="counts: expected integers from 1"):
            measure(*one([2, 0]))
        with pytest.raises(ValueError, match="offsets: expected to end at the number of rows"):
            measure(np.array([2, 1]), [0, 1])
    with pytest.raises(ValueError, match="rare_threshold: expected 1 or more, got 0"):
        ace(*account, rare_threshold=0)
    for t in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="t: expected a number above 0, got"):
            good_toulmin(*account, t=t)
    with pytest.raises(ValueError, match="smoothing: expected 'binomial' or 'poisson', got 'normal'"):
        good_toulmin(*account, t=2, smoothing="normal")  # type: ignore[arg-type]
