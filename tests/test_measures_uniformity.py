"""Pairs and dispersion against all draws of tiny cases, SciPy's tail functions and a simulated null."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from support.ragged_lists import ragged

from coverage_lab.measures.collisions import _collision_moments, collisions
from coverage_lab.measures.counts import cell_counts
from coverage_lab.measures.pearson3 import pearson3_tails
from coverage_lab.measures.uniformity import (
    _collision_third,
    _dispersion_moments,
    collision_tails,
    dispersion,
)

CELLS = 7
MASS = np.array([0.4, 0.2, 0.15, 0.1, 0.1, 0.05, 0.0])
ACCOUNTS = st.lists(st.lists(st.integers(0, CELLS - 2), max_size=30), max_size=5)

MASSES = {
    "uniform": np.ones(1024),
    "Zipf": 1 / np.arange(1, 1025),
    "short Zipf": 1 / np.arange(1, 51),
    "Dirichlet 2": np.random.default_rng(1).dirichlet(np.full(1024, 2.0)),
    "Dirichlet 1/2": np.random.default_rng(1).dirichlet(np.full(1024, 0.5)) + 1e-7,
    "one large cell": np.r_[1.0, np.full(500, 0.002)],
}


def everything(mass: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts of all sequences of n draws, with their chances."""
    draws = np.array(list(product(range(len(mass)), repeat=n)))
    counts = (draws[:, :, None] == np.arange(len(mass))).sum(axis=1)
    return counts, mass[draws].prod(axis=1)


def tallied(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cells, counts and offsets of a dense table of counts, one row an account."""
    account, cell = np.nonzero(counts)
    return cell, counts[account, cell], np.searchsorted(account, np.arange(len(counts) + 1))


@pytest.mark.parametrize("mass", [[0.5, 0.3, 0.2], [0.7, 0.1, 0.1, 0.1], [0.25] * 4, [0.9, 0.1]], ids=str)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_moments_are_those_of_all_draws(mass: list[float], n: int) -> None:
    p = np.array(mass)
    counts, chance = everything(p, n)
    pairs = (counts * (counts - 1) / 2).sum(axis=1)
    pearson = ((counts - n * p) ** 2 / (n * p)).sum(axis=1)
    size = np.array([float(n)])
    mean, variance = _collision_moments(size, p)
    expected = (chance * pairs).sum()
    assert mean[0] == pytest.approx(expected, rel=1e-12)
    assert variance[0] == pytest.approx((chance * (pairs - expected) ** 2).sum(), rel=1e-11)
    third = (chance * (pairs - expected) ** 3).sum()
    assert _collision_third(size, p)[0] == pytest.approx(third, rel=1e-9, abs=1e-12)

    variance, third = _dispersion_moments(size, p)
    assert (chance * pearson).sum() == pytest.approx(len(p) - 1, rel=1e-12)
    assert variance[0] == pytest.approx((chance * (pearson - len(p) + 1) ** 2).sum(), rel=1e-10)
    assert third[0] == pytest.approx((chance * (pearson - len(p) + 1) ** 3).sum(), rel=1e-9)


@pytest.mark.parametrize("n", [2, 5])
def test_dispersion_of_all_draws_is_pearsons(n: int) -> None:
    p = np.array([0.5, 0.3, 0.2])
    counts, chance = everything(p, n)
    ratio, z, _ = dispersion(*tallied(counts), p)
    pearson = np.array([stats.chisquare(one, n * p).statistic for one in counts])
    sd = np.sqrt((chance * (pearson - 2) ** 2).sum())
    assert np.allclose(ratio, pearson / 2, rtol=1e-12, atol=1e-14)
    assert np.allclose(z, (pearson - 2) / sd, rtol=1e-10, atol=1e-12)


def test_third_moments_keep_their_digits_for_many_cells_and_prompts() -> None:
    # Equal masses: X² is the pairs, scaled: X² = 2kC/n + const, so the skewness of both is the same.
    k, n = 16_384, np.array([2.0, 300.0, 1e5])
    mass = np.full(k, 1 / k)
    _, variance = _collision_moments(n, mass)
    of_pairs = _collision_third(n, mass) / variance**1.5
    variance, third = _dispersion_moments(n, mass)
    assert np.allclose(of_pairs, third / variance**1.5, rtol=1e-9)
    # Two prompts: one pair, a Bernoulli variable of chance 1/k.
    assert of_pairs[0] == pytest.approx(stats.bernoulli(1 / k).stats("s"), rel=1e-9)


def rejected(p_values: np.ndarray) -> list[float]:
    return [float((p_values <= level).mean()) for level in (0.01, 0.05, 0.2)]


@pytest.mark.parametrize("n", [5, 20, 60, 300, 1000])
@pytest.mark.parametrize("name", MASSES)
def test_tails_hold_their_level_at_the_null(name: str, n: int) -> None:
    mass = MASSES[name] / MASSES[name].sum()
    runs = min(10_000, 600_000 // n)
    draws = np.searchsorted(np.cumsum(mass)[:-1], np.random.default_rng(n).uniform(size=runs * n))
    cells, counts, offsets = cell_counts(draws, np.arange(runs + 1) * n)
    size = np.array([float(n)])
    few, many = collision_tails(counts, offsets, mass)
    _, _, even = dispersion(cells, counts, offsets, mass)
    _, variance = _collision_moments(size, mass)
    pair_skewness = (_collision_third(size, mass) / variance**1.5)[0]
    variance, third = _dispersion_moments(size, mass)
    skewness = (third / variance**1.5)[0]
    # The stated bounds, with four standard errors of the simulation.
    most = [level + 4 * np.sqrt(level / runs) for level in (0.015, 0.06, 0.27)]
    for p_values in (few, many, even):
        assert np.all(np.array(rejected(p_values)) <= most)
    # And they are not idle, where the null is not far from symmetric and has values enough.
    least = [level - 4 * np.sqrt(level / runs) for level in (0.005, 0.03, 0.15)]
    for p_values, skew in ((few, pair_skewness), (many, pair_skewness), (even, skewness)):
        if skew < 0.5 and n >= 300:
            assert np.all(np.array(rejected(p_values)) >= least), skew


@pytest.mark.parametrize("n", [4, 6])
def test_tails_of_tiny_accounts_are_near_those_of_all_draws(n: int) -> None:
    mass = np.array([0.4, 0.3, 0.2, 0.1])
    counts, chance = everything(mass, n)
    pairs = (counts * (counts - 1) / 2).sum(axis=1)
    _, held, offsets = tallied(counts)
    few, many = collision_tails(held, offsets, mass)
    for value in np.unique(pairs):
        at = np.flatnonzero(pairs == value)[0]
        assert few[at] == pytest.approx(chance[pairs <= value].sum(), abs=0.12)
        assert many[at] == pytest.approx(chance[pairs >= value].sum(), abs=0.12)


def test_no_revisit_among_few_prompts_is_no_evidence() -> None:
    mass = np.full(4096, 1 / 4096)
    cells, counts, offsets = np.arange(20), np.ones(20, dtype=np.int64), [0, 20]
    # All chance is at no revisit: Π(1 − i/4096) = 0.955.
    assert collision_tails(counts, offsets, mass)[0][0] > 0.5
    assert dispersion(cells, counts, offsets, mass)[2][0] > 0.5


def test_on_equal_masses_even_is_few() -> None:
    # X² = 2kC/n + const there: one statistic, on one grid of values, so half a step is half a step of both.
    rng = np.random.default_rng(13)
    mass = np.full(200, 1 / 200)
    for n in (5, 40, 300):
        cells, counts, offsets = cell_counts(rng.integers(0, 200, 100 * n), np.arange(101) * n)
        even = dispersion(cells, counts, offsets, mass)[2]
        assert np.allclose(even, collision_tails(counts, offsets, mass)[0], rtol=1e-8)


def test_a_sweep_a_quota_and_a_narrow_task_are_told_apart() -> None:
    mass = MASSES["short Zipf"] / MASSES["short Zipf"].sum()
    n = 2000
    rng = np.random.default_rng(4)
    quota = np.floor(n * mass).astype(np.int64) + 1
    accounts = np.stack(
        [
            rng.multinomial(n, mass),
            rng.multinomial(n, np.full(50, 0.02)),
            quota,
            np.r_[n - 49, np.ones(49, int)],
        ]
    )
    cells, counts, offsets = tallied(accounts)
    few, many = collision_tails(counts, offsets, mass)
    ratio, _, even = dispersion(cells, counts, offsets, mass)
    assert np.array_equal(few < 1e-3, [False, True, False, False])
    assert np.array_equal(many < 1e-3, [False, False, False, True])
    assert np.array_equal(even < 1e-6, [False, False, True, False])
    assert ratio[2] < 0.1
    assert ratio[0] == pytest.approx(1, abs=0.6)


@given(ACCOUNTS)
def test_ranges_and_a_batch_is_its_accounts(accounts: list[list[int]]) -> None:
    cells, counts, offsets = cell_counts(*ragged(accounts))
    columns = (*collision_tails(counts, offsets, MASS), *dispersion(cells, counts, offsets, MASS))
    for a, prompts in enumerate(accounts):
        cell, count, cut = cell_counts(*ragged([prompts]))
        alone = (*collision_tails(count, cut, MASS), *dispersion(cell, count, cut, MASS))
        few, many, ratio, z, even = (column[a] for column in columns)
        assert np.allclose([few, many, ratio, z, even], np.concatenate(alone), rtol=1e-12, equal_nan=True)
        if len(prompts) < 2:
            assert np.isnan([few, many, ratio, z, even]).all()
            continue
        assert all(0 <= chance <= 1 for chance in (few, many, even))
        assert ratio >= -1e-12
        assert np.isfinite(z)
    for column in columns:
        assert column.shape == (len(accounts),)
        assert column.dtype == np.float64


@given(st.lists(st.integers(0, CELLS - 2), min_size=2, max_size=30), st.permutations(range(CELLS)))
def test_names_and_order_of_cells_do_not_matter(prompts: list[int], order: list[int]) -> None:
    names = np.array(order)
    mass = np.empty(CELLS)
    mass[names] = MASS
    cell, count, cut = cell_counts(*ragged([prompts]))
    before = (*collision_tails(count, cut, MASS), *dispersion(cell, count, cut, MASS))
    after = (
        *collision_tails(count[::-1], cut, mass),
        *dispersion(names[cell][::-1], count[::-1], cut, mass),
    )
    assert np.allclose(before, after, rtol=1e-9, atol=1e-12)


def test_few_and_many_agree_with_z() -> None:
    rng = np.random.default_rng(9)
    mass = MASSES["Zipf"] / MASSES["Zipf"].sum()
    _, counts, offsets = tallied(rng.multinomial(300, mass, size=50))
    _, z = collisions(counts, offsets, mass)
    few, many = collision_tails(counts, offsets, mass)
    order = np.argsort(z)
    assert np.all(np.diff(few[order]) >= 0)
    assert np.all(np.diff(many[order]) <= 0)
    # Half a pair to each side of the value itself is counted in both.
    assert np.all((few + many > 1) & (few + many < 1.02))


def test_edges() -> None:
    one_cell = np.array([1.0, 0.0])
    few, many = collision_tails(np.array([1, 3]), [0, 0, 1, 2], one_cell)
    assert np.isnan([few, many]).all()
    columns = dispersion(np.array([0, 0]), np.array([1, 3]), [0, 0, 1, 2], one_cell)
    assert np.isnan(columns).all()
    # A prompt where ordinary traffic has none, or as good as none.
    for nothing in (0.0, 1e-200):
        ratio, z, even = dispersion(np.array([0, 2]), np.array([3, 1]), [0, 2], np.array([0.5, 0.5, nothing]))
        assert (ratio[0], z[0], even[0]) == (np.inf, np.inf, 1)
    empty = np.empty(0, dtype=np.int64)
    assert all(column.shape == (0,) for column in collision_tails(empty, [0], MASS))
    assert all(column.shape == (0,) for column in dispersion(empty, empty, [0], MASS))


def test_errors() -> None:
    one = np.array([1])
    with pytest.raises(ValueError, match="cells: expected below the 7 masses, got 7"):
        dispersion(np.array([7]), one, [0, 1], MASS)
    with pytest.raises(ValueError, match="offsets: expected to end at the number of rows"):
        dispersion(np.array([1, 2]), one, [0, 2], MASS)
    with pytest.raises(ValueError, match="counts: expected integers from 1"):
        dispersion(one, np.array([0]), [0, 1], MASS)
    with pytest.raises(ValueError, match="mass: expected a sum of 1"):
        collision_tails(one, [0, 1], MASS * 2)


def test_only_cells_reached_are_visited() -> None:
    # 20,000 accounts on 65,536 cells: a table of both would be 10 GB.
    rng = np.random.default_rng(0)
    mass = np.full(65_536, 1 / 65_536)
    cells, counts, offsets = cell_counts(rng.integers(0, 65_536, 100_000), np.arange(20_001) * 5)
    assert dispersion(cells, counts, offsets, mass)[2].shape == (20_000,)
    assert collision_tails(counts, offsets, mass)[0].shape == (20_000,)


@pytest.mark.parametrize("skewness", [1e-7, 1e-4, 0.0019, 0.0021, 0.01])
def test_pearson3_tails_of_hardly_any_skewness(skewness: float) -> None:
    """Where SciPy's incomplete gamma functions run out of terms, and Cornish and Fisher's series is exact."""
    z = np.concatenate([np.linspace(-9, 9, 37), [-4.6, 4.6]])
    # To second order in the skewness: what a normal variable is at the quantile z.
    normal = (
        z
        - skewness * (z**2 - 1) / 6
        + skewness**2 * (4 * z**3 - 7 * z) / 36
        - skewness**2 * (z**3 - 3 * z) / 16
    )
    low, high = pearson3_tails(z, np.full(z.size, skewness))
    tolerance = max(1e-14, 2e-3 * skewness**2, skewness**3)
    assert np.allclose(low, special.ndtr(normal), rtol=0, atol=tolerance)
    assert np.allclose(high, special.ndtr(-normal), rtol=0, atol=tolerance)
    assert np.all(np.diff(low[:37]) >= 0)
    assert np.all(low[z <= -4] > 0), "a far tail is small, never nothing"


@pytest.mark.parametrize("skewness", [-0.9, -0.1, 0.06, 0.5, 1.0])
def test_pearson3_tails_are_those_of_scipy(skewness: float) -> None:
    z = np.linspace(-4, 4, 41)
    low, high = pearson3_tails(z, np.full(41, skewness))
    assert np.allclose(low, stats.pearson3.cdf(z, skewness), rtol=1e-10, atol=0)
    assert np.allclose(high, stats.pearson3.sf(z, skewness), rtol=1e-10, atol=0)


def test_pearson3_tails_beyond_skewness_one_and_without_any() -> None:
    z = np.array([-2.0, -0.3, 2.0])
    low, high = pearson3_tails(z, np.full(3, 4.0))
    assert np.allclose(low, np.maximum(stats.pearson3.cdf(z, 4), stats.norm.cdf(z)), atol=1e-9)
    assert np.allclose(high, stats.pearson3.sf(z, 4), atol=1e-9)
    mirrored_low, mirrored_high = pearson3_tails(-z, np.full(3, -4.0))
    assert np.array_equal(mirrored_low, high)
    assert np.array_equal(mirrored_high, low)
    assert np.allclose(pearson3_tails(z, np.zeros(3))[0], stats.norm.cdf(z), atol=1e-7)
    assert np.isnan(pearson3_tails(np.array([np.nan, 0.0]), np.array([1.0, np.nan]))).all()
