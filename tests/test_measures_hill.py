"""Hill numbers and evenness against scikit-bio, decimal arithmetic, enumeration and iNEXT's output."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, localcontext
from itertools import pairwise, product
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, hyp2f1, logsumexp
from skbio.diversity import alpha
from support.ragged_lists import one, ragged

from coverage_lab.measures.hill import evenness, hill_estimate, hill_number, hill_ratio
from coverage_lab.measures.richness import chao1

#: data(spider) of the R package iNEXT (JohnsonHsieh/iNEXT, R/iNEXT.r; Sackett et al. 2011, Ecosphere 2:74).
GIRDLED = [46, 22, 17, 15, 15, 9, 8, 6, 6, 4, *[2] * 4, *[1] * 12]
LOGGED = [88, 22, 16, 15, 13, 10, 8, 8, 7, 7, 7, 5, 4, 4, 4, *[3] * 4, *[2] * 4, *[1] * 14]

COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=15)
ACCOUNTS = st.lists(st.lists(st.integers(1, 9), max_size=8), max_size=5)
MEASURES = {
    "hill 0": lambda c, o: hill_number(c, o, q=0),
    "hill 1": lambda c, o: hill_number(c, o, q=1),
    "hill 2": lambda c, o: hill_number(c, o, q=2),
    "hill 0.7": lambda c, o: hill_number(c, o, q=0.7),
    "hill inf": lambda c, o: hill_number(c, o, q=float("inf")),
    "estimate 0": lambda c, o: hill_estimate(c, o, q=0),
    "estimate 1": lambda c, o: hill_estimate(c, o, q=1),
    "estimate 2": lambda c, o: hill_estimate(c, o, q=2),
    "ratio": hill_ratio,
    "evenness": evenness,
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
    np.testing.assert_allclose(together, np.array(alone), rtol=1e-12)


@pytest.mark.parametrize("q", [0, 0.3, 0.5, 0.9, 1, 1.2, 1.5, 2, 3.7, 20, float("inf")])
@given(counts=COUNTS)
def test_hill_number_is_that_of_scikit_bio(counts: list[int], q: float) -> None:
    assert hill_number(*one(counts), q=q)[0] == pytest.approx(alpha.hill(counts, order=q), rel=1e-12)


@given(COUNTS)
def test_hill_number_keeps_its_digits_where_the_plain_formula_does_not(counts: list[int]) -> None:
    share = np.array(counts) / sum(counts)
    log_share, count = np.log(share), len(counts)
    # Close to 1 the logarithm falls from entropy H by (q − 1)/2 times the variance of ln p.
    entropy = -(share * log_share).sum()
    slope = ((share * log_share**2).sum() - entropy**2) / 2
    for step in (1e-9, -1e-9, 1e-6, -1e-6):
        got = log(hill_number(*one(counts), q=1 + step)[0])
        assert got == pytest.approx(entropy - step * slope, rel=1e-11, abs=1e-11)
    for q in (200.0, 5000.0):
        expected = np.exp(logsumexp(q * log_share) / (1 - q))
        assert hill_number(*one(counts), q=q)[0] == pytest.approx(expected, rel=1e-12)
    assert hill_number(*one([7] * count), q=5000.0)[0] == pytest.approx(count, rel=1e-12)


@given(COUNTS)
def test_hill_number_never_rises_with_order_and_stays_in_range(counts: list[int]) -> None:
    numbers = [
        hill_number(*one(counts), q=q)[0] for q in (0, 0.2, 0.5, 0.99, 1, 1.01, 1.5, 2, 9, float("inf"))
    ]
    assert numbers[0] == len(counts)
    assert all(1 <= number <= len(counts) for number in numbers)
    assert all(high >= low * (1 - 1e-12) for high, low in pairwise(numbers))


@given(COUNTS, st.sampled_from([0.0, 0.5, 1.0, 2.0, float("inf")]))
def test_hill_number_doubles_and_hill_ratio_stays_if_every_cell_is_split(counts: list[int], q: float) -> None:
    double = [2 * x for x in counts]
    assert hill_number(*one(counts * 2), q=q) == pytest.approx(2 * hill_number(*one(double), q=q), rel=1e-12)
    assert hill_ratio(*one(counts * 2), q=q) == pytest.approx(hill_ratio(*one(double), q=q), rel=1e-12)


def test_estimates_are_those_of_inext() -> None:
    spider = ragged([GIRDLED, LOGGED])
    # iNEXT 3.0.2: ChaoRichness, ChaoShannon (entropy) and ChaoSimpson (1 − 1/D) of spider$Girdled, recorded
    # in the tests of a public TypeScript port of it; ChaoRichness of spider$Logged in those of a Python one.
    assert hill_estimate(*spider, q=0) == pytest.approx([43.893, 61.403], abs=5e-4)
    assert np.log(hill_estimate(*spider, q=1)[0]) == pytest.approx(2.627, abs=5e-4)
    assert 1 - 1 / hill_estimate(*spider, q=2)[0] == pytest.approx(0.878, abs=5e-4)
    # Observed diversities of spider$Girdled by the same run of iNEXT.
    girdled = one(GIRDLED)
    assert [hill_number(*girdled, q=q)[0] for q in (0, 1, 2)] == pytest.approx([26, 12.05965, 7.84], rel=1e-6)


def chao_wang_jost(counts: list[int]) -> float:
    """Entropy by the formula as printed, in enough digits for its cancellation."""
    with localcontext() as context:
        context.prec = 400
        n, f = sum(counts), Counter(counts)
        entropy = sum((Decimal(x) / n * sum(Decimal(1) / k for k in range(x, n)) for x in counts), Decimal(0))
        if f[2] > 0:
            rest = Decimal(2 * f[2]) / ((n - 1) * f[1] + 2 * f[2])
        elif f[1] > 0:
            rest = Decimal(2) / ((n - 1) * (f[1] - 1) + 2)
        else:
            rest = Decimal(1)
        if rest != 1:
            known = sum((1 - rest) ** r / r for r in range(1, n))
            entropy += Decimal(f[1]) / n * (1 - rest) ** (1 - n) * (-rest.ln() - known)
        return float(entropy)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 15), min_size=1, max_size=12).filter(lambda counts: sum(counts) > 1))
def test_estimate_of_order_1_is_the_printed_formula(counts: list[int]) -> None:
    assert log(hill_estimate(*one(counts), q=1)[0]) == pytest.approx(
        chao_wang_jost(counts), rel=1e-12, abs=1e-14
    )


@pytest.mark.parametrize("counts", [[1] * 2, [1] * 300, [1] * 299 + [400], [1] * 5 + [2] * 200, [1, 500]])
def test_estimate_of_order_1_of_extreme_accounts(counts: list[int]) -> None:
    assert log(hill_estimate(*one(counts), q=1)[0]) == pytest.approx(
        chao_wang_jost(counts), rel=1e-12, abs=1e-14
    )


def test_estimate_of_order_1_keeps_its_digits_for_a_large_account() -> None:
    once, twice, rest = 30_000, 20_000, 900_000
    counts = [1] * once + [2] * twice + [rest]
    n = sum(counts)
    entropy = sum(f * x * (digamma(n) - digamma(x)) for x, f in ((1, once), (2, twice), (rest, 1))) / n
    kept = (n - 1) * once / ((n - 1) * once + 2 * twice)
    entropy += once / n * kept * series(kept, n)
    assert log(hill_estimate(*one(counts), q=1)[0]) == pytest.approx(entropy, rel=1e-12)


def series(kept: float, n: int) -> float:
    """Sum kept^j / (n + j) until nothing is added."""
    total, start, block = 0.0, 0, 1 << 20
    while True:
        j = np.arange(start, start + block)
        part = float((np.exp(j * np.log(kept)) / (n + j)).sum())
        total += part
        start += block
        if part < 1e-17 * total:
            return total


def test_series_of_the_oracle_is_the_hypergeometric_function() -> None:
    assert series(0.9, 7) == pytest.approx(hyp2f1(1, 7, 8, 0.9) / 7, rel=1e-13)


def test_estimate_of_order_2_is_unbiased_by_enumeration() -> None:
    mass = np.array([0.5, 0.3, 0.2])
    expected = 0.0
    for draw in product(range(3), repeat=6):
        counts = list(Counter(draw).values())
        inverse = 1 / hill_estimate(*one(counts), q=2)[0]
        expected += float(np.prod(mass[list(draw)])) * inverse
    assert expected == pytest.approx((mass**2).sum(), rel=1e-12)


def test_estimates_find_the_distribution_that_the_plain_numbers_fall_short_of() -> None:
    rng = np.random.default_rng(12)
    mass = rng.dirichlet(np.full(300, 2.0))
    truth = {0: 300.0, 1: exp(-(mass * np.log(mass)).sum()), 2: 1 / (mass**2).sum()}
    tables = rng.multinomial(500, mass, size=400)
    counts, offsets = tables[tables > 0], np.concatenate([[0], np.cumsum((tables > 0).sum(axis=1))])
    # Order 0 is a lower bound: cells rarer than those reached once stay out of it.
    for q, most in ((0, 0.1), (1, 0.02), (2, 0.01)):
        plain = hill_number(counts, offsets, q=q).mean() / truth[q]
        estimate = hill_estimate(counts, offsets, q=q).mean() / truth[q]
        assert estimate == pytest.approx(1, abs=most)
        assert plain < 0.85 if q < 2 else plain < 0.75


@given(COUNTS)
def test_estimate_of_order_0_is_plain_chao1(counts: list[int]) -> None:
    if sum(counts) > 1:
        assert hill_estimate(*one(counts), q=0) == chao1(*one(counts), bias_corrected=False)[0]


@given(st.lists(st.integers(1, 60), min_size=2, max_size=15))
def test_evenness_is_that_of_scikit_bio(counts: list[int]) -> None:
    assert evenness(*one(counts))[0] == pytest.approx(alpha.heip_e(counts), rel=1e-11)
    assert hill_ratio(*one(counts))[0] == pytest.approx(alpha.simpson_e(counts), rel=1e-12)
    assert log(evenness(*one(counts))[0] * (len(counts) - 1) + 1) == pytest.approx(
        alpha.pielou_e(counts) * log(len(counts)), rel=1e-12
    )


def test_evenness_ends_at_one_and_near_zero_for_any_number_of_cells() -> None:
    for cells in (2, 10, 500):
        assert evenness(*one([6] * cells))[0] == pytest.approx(1)
        assert hill_ratio(*one([6] * cells))[0] == pytest.approx(1)
        assert 0 < evenness(*one([10**8] + [1] * (cells - 1)))[0] < 1e-3
        assert hill_ratio(*one([10**9] + [1] * (cells - 1)))[0] == pytest.approx(1 / cells, rel=1e-5)


def test_accounts_with_too_few_prompts() -> None:
    # Empty; one prompt; one cell twice; two cells once.
    accounts = ragged([[], [1], [2], [1, 1]])
    expected = {
        "hill 0": [np.nan, 1, 1, 2],
        "hill 1": [np.nan, 1, 1, 2],
        "hill 2": [np.nan, 1, 1, 2],
        "hill 0.7": [np.nan, 1, 1, 2],
        "hill inf": [np.nan, 1, 1, 2],
        "estimate 0": [np.nan, np.nan, 1, 2.5],
        # −Σ x/n Σ 1/k = 1; A = 1/3, so the rest is f1/n · A^{−1} (ln 1.5 − 1/3).
        "estimate 1": [np.nan, np.nan, 1, exp(1 + 3 * (log(1.5) - 1 / 3))],
        "estimate 2": [np.nan, np.nan, 1, np.nan],
        "ratio": [np.nan, 1, 1, 1],
        "evenness": [np.nan, np.nan, np.nan, 1],
    }
    for name, measure in MEASURES.items():
        np.testing.assert_allclose(measure(*accounts), expected[name], rtol=1e-12, err_msg=name)
        assert measure(np.empty(0, dtype=np.int64), [0]).shape == (0,)


def test_every_order_changes_something() -> None:
    account = one(GIRDLED)
    assert len({round(hill_number(*account, q=q)[0], 6) for q in (0, 0.5, 1, 2, float("inf"))}) == 5
    assert len({round(hill_estimate(*account, q=q)[0], 6) for q in (0, 1, 2)}) == 3
    assert hill_ratio(*account, q=1) != hill_ratio(*account)
    assert evenness(*account, q=2) != evenness(*account)


def test_errors() -> None:
    account = one([2, 1])
    for measure in MEASURES.values():
        with pytest.raises(ValueError, match="counts: expected integers from 1"):
            measure(*one([2, 0]))
        with pytest.raises(ValueError, match="offsets: expected to end at the number of rows"):
            measure(np.array([2, 1]), [0, 1])
    for q in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="q: expected 0 or more, got"):
            hill_number(*account, q=q)
        with pytest.raises(ValueError, match="q: expected 0 or more, got"):
            hill_ratio(*account, q=q)
    for q in (0, float("nan")):
        with pytest.raises(ValueError, match="q: expected above 0, got"):
            evenness(*account, q=q)
    for q in (3, -1):
        with pytest.raises(ValueError, match="q: expected 0, 1 or 2, got"):
            hill_estimate(*account, q=q)
