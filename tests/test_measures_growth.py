"""Growth curves and their nulls against enumeration of all orders, exact fractions and simulation."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, permutations, product
from math import comb, log

import numpy as np
import pytest
from coverage_kernels.log_absence import log_absence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from support.ragged_lists import ragged

from coverage_lab.measures import (
    curve_grid,
    curve_grids,
    growth_curve,
    order_z,
    rarefaction,
    reference_growth,
    uniform_growth,
)

ACCOUNTS = st.lists(st.lists(st.integers(0, 6), max_size=12), max_size=5)


def every_m(counts: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return `rarefaction`'s arguments for one account at m = 1..n."""
    n = sum(counts)
    return np.array(counts, dtype=np.int64), np.array([0, len(counts)]), np.arange(1, n + 1), np.array([0, n])


def exact_rarefaction(counts: list[int], m: int) -> tuple[Fraction, Fraction]:
    n = sum(counts)

    def absent(marked: int) -> Fraction:
        return Fraction(comb(n - marked, m), comb(n, m))

    mean = sum((1 - absent(x) for x in counts), Fraction(0))
    variance = Fraction(0)
    for i, x in enumerate(counts):
        for j, y in enumerate(counts):
            both = absent(x) if i == j else absent(x + y)
            variance += both - absent(x) * absent(y)
    return mean, variance


@pytest.mark.parametrize("points", [2, 3, 8, 24, 100])
def test_grid_rises_from_one_to_n_within_its_size(points: int) -> None:
    for n in [*range(1, 300), 999, 10_007, 2**31 - 1]:
        grid = curve_grid(n, points=points)
        assert len(grid) == min(n, points)
        assert grid[-1] == n
        assert n == 1 or grid[0] == 1
        assert np.all(np.diff(grid) >= 1)
        if n <= points:
            assert grid.tolist() == list(range(1, n + 1))


def test_grid_is_about_geometric_once_the_integers_are_used_up() -> None:
    grid = curve_grid(100_000).astype(float)
    steps = (grid[1:] / grid[:-1])[grid[:-1] > 20]
    assert np.allclose(steps, 100_000 ** (1 / 23), rtol=0.05)


def test_grids_of_a_batch_are_the_grids_of_its_accounts() -> None:
    lengths = np.array([0, 5, 1000, 1, 0, 77])
    values, offsets = curve_grids(lengths, points=10)
    alone = [curve_grid(int(n), points=10).tolist() for n in lengths]
    assert [values[a:b].tolist() for a, b in pairwise(offsets)] == alone


def test_grid_errors() -> None:
    with pytest.raises(ValueError, match="points: expected 2 or more, got 1"):
        curve_grid(10, points=1)
    with pytest.raises(ValueError, match="lengths: expected 0 or more, got -3"):
        curve_grid(-3)


@given(ACCOUNTS)
def test_growth_curve_counts_the_set_of_each_prefix(accounts: list[list[int]]) -> None:
    cells, offsets = ragged(accounts)
    grid, grid_offsets = ragged([list(range(1, len(one) + 1)) for one in accounts])
    expected = [len(set(one[:m])) for one in accounts for m in range(1, len(one) + 1)]
    assert growth_curve(cells, offsets, grid, grid_offsets).tolist() == expected


def test_growth_curve_errors() -> None:
    cells, offsets = np.array([3, 1, 3]), [0, 3]
    with pytest.raises(ValueError, match="grid: expected points from 1 to the account's prompts"):
        growth_curve(cells, offsets, np.array([4]), [0, 1])
    with pytest.raises(ValueError, match="grid: expected points from 1"):
        growth_curve(cells, offsets, np.array([0]), [0, 1])
    with pytest.raises(ValueError, match="grid_offsets: expected 1 accounts, got 2"):
        growth_curve(cells, offsets, np.array([1, 1]), [0, 1, 2])
    with pytest.raises(ValueError, match=r"cells: expected integers from 0 .* got -1 to 3"):
        growth_curve(np.array([3, -1, 3]), offsets, np.array([1]), [0, 1])
    with pytest.raises(ValueError, match="offsets: expected to end at the number of rows"):
        growth_curve(cells, [0, 2], np.array([1]), [0, 1])
    with pytest.raises(ValueError, match="cells: expected integers of shape"):
        growth_curve(cells.astype(float), offsets, np.array([1]), [0, 1])


@pytest.mark.parametrize("counts", [[1], [4], [1, 1, 1], [3, 1], [2, 2, 1], [4, 1, 1, 1], [2, 2, 2]])
def test_rarefaction_is_the_mean_and_variance_over_all_orders(counts: list[int]) -> None:
    prompts = [cell for cell, count in enumerate(counts) for _ in range(count)]
    curves = np.array([[len(set(o[: m + 1])) for m in range(len(o))] for o in permutations(prompts)])
    mean, variance = rarefaction(*every_m(counts))
    assert np.allclose(mean, curves.mean(axis=0), rtol=1e-13)
    assert np.allclose(variance, curves.var(axis=0), rtol=1e-12, atol=1e-13)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=8))
def test_rarefaction_is_exact_for_any_counts(counts: list[int]) -> None:
    mean, variance = rarefaction(*every_m(counts))
    for m in range(1, sum(counts) + 1):
        exact_mean, exact_variance = exact_rarefaction(counts, m)
        assert mean[m - 1] == pytest.approx(float(exact_mean), rel=1e-12)
        assert variance[m - 1] == pytest.approx(float(exact_variance), rel=1e-9, abs=1e-12)


def test_rarefaction_mean_is_that_of_scipy_for_a_large_account() -> None:
    rng = np.random.default_rng(20240601)
    counts = np.concatenate([rng.zipf(1.6, 500).clip(1, 20_000), [30_000]])
    n = int(counts.sum())
    grid = curve_grid(n, points=10)
    mean, _ = rarefaction(counts, [0, len(counts)], grid, [0, len(grid)])
    expected = [hypergeom.sf(0, n, counts, m).sum() for m in grid]
    # SciPy's own log-gamma differences are good to about 1e-10 here.
    assert np.allclose(mean, expected, rtol=1e-8)


def test_rarefaction_variance_keeps_its_digits_for_a_large_account() -> None:
    counts = [1] * 60_000 + [2] * 10_000 + [20_000]
    n = sum(counts)
    m = 5_000
    f = {1: 60_000, 2: 10_000, 20_000: 1}
    whole = comb(n, m)
    q = {r: Fraction(comb(n - r, m), whole) for r in {*f, *(r + s for r in f for s in f)}}
    exact = sum(f[r] * q[r] * (1 - q[r]) for r in f)
    for r in f:
        for s in f:
            exact += f[r] * (f[s] - (r == s)) * (q[r + s] - q[r] * q[s])
    _, variance = rarefaction(np.array(counts), [0, len(counts)], np.array([m]), [0, 1])
    assert variance[0] == pytest.approx(float(exact), rel=1e-7)


def test_rarefaction_variance_is_zero_where_order_can_not_matter() -> None:
    for counts in ([1] * 1000, [1000], [1]):
        assert not rarefaction(*every_m(counts))[1].any()
    mean, variance = rarefaction(*every_m([5, 3, 1, 1]))
    assert mean[0] == pytest.approx(1)
    assert mean[-1] == pytest.approx(4)
    assert variance[0] == variance[-1] == 0


@given(ACCOUNTS)
def test_rarefaction_of_a_batch_is_that_of_its_accounts(accounts: list[list[int]]) -> None:
    accounts = [[x + 1 for x in one] for one in accounts]
    counts, offsets = ragged(accounts)
    grid, grid_offsets = ragged([list(range(1, sum(one) + 1)) for one in accounts])
    together = rarefaction(counts, offsets, grid, grid_offsets)
    alone = [rarefaction(*every_m(one)) for one in accounts]
    for part in (0, 1):
        expected = np.concatenate([np.empty(0), *(one[part] for one in alone)])
        assert np.allclose(together[part], expected, rtol=1e-12, atol=1e-14)


def test_rarefaction_is_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 9, 60)
    offsets = np.array([0, 20, 20, 45, 60])
    prompts = np.add.reduceat(counts, [0, 20, 45])
    grid, grid_offsets = curve_grids(np.array([prompts[0], 0, prompts[1], prompts[2]]))
    whole = rarefaction(counts, offsets, grid, grid_offsets)
    monkeypatch.setattr("coverage_lab.measures.nulls._BLOCK", 50)
    blocks = rarefaction(counts, offsets, grid, grid_offsets)
    assert np.allclose(whole, blocks, rtol=1e-13)


def test_rarefaction_errors() -> None:
    with pytest.raises(ValueError, match="counts: expected integers from 1"):
        rarefaction(np.array([2, 0]), [0, 2], np.array([1]), [0, 1])
    with pytest.raises(ValueError, match="grid: expected points from 1"):
        rarefaction(np.array([2, 1]), [0, 2], np.array([4]), [0, 1])


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 63, 1009])
def test_log_absence_is_the_log_of_the_exact_fraction(n: int) -> None:
    rng = np.random.default_rng(n)
    for r, m in {(0, n), (n, 0), (1, n - 1), *map(tuple, rng.integers(0, n + 1, (60, 2)).tolist())}:
        got = float(log_absence(np.array([n]), np.array([r]), np.array([m]))[0])
        chance = Fraction(comb(n - r, m), comb(n, m))
        if chance == 0:
            assert got == -np.inf
        else:
            expected = log(chance.numerator) - log(chance.denominator)
            assert got == pytest.approx(expected, rel=1e-13, abs=1e-12)


def test_log_absence_of_one_prompt_keeps_its_digits_in_a_huge_account() -> None:
    n, m = 2**30, 2**20
    got = log_absence(np.array([n]), np.array([1]), np.array([m]))[0]
    assert got == pytest.approx(np.log1p(-(2.0**-10)), rel=1e-12)


def exact_occupancy(mass: np.ndarray, m: int) -> tuple[float, float]:
    """Enumerate all sequences of m draws."""
    mean = square = 0.0
    for draw in product(range(len(mass)), repeat=m):
        chance = float(np.prod(mass[list(draw)]))
        mean += chance * len(set(draw))
        square += chance * len(set(draw)) ** 2
    return mean, square - mean**2


def pairwise_occupancy_variance(mass: np.ndarray, m: int) -> float:
    absent = (1 - mass) ** m
    both = (1 - mass[:, None] - mass[None]) ** m
    np.fill_diagonal(both, absent)
    return float((both - np.outer(absent, absent)).sum())


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_uniform_growth_is_the_mean_and_variance_of_all_draws(m: int) -> None:
    for cells in (1, 2, 3, 5):
        mean, variance = uniform_growth(cells, np.array([m]))
        expected = exact_occupancy(np.full(cells, 1 / cells), m)
        assert mean[0] == pytest.approx(expected[0], rel=1e-12)
        assert variance[0] == pytest.approx(expected[1], rel=1e-9, abs=1e-12)


def test_uniform_growth_keeps_its_digits_for_many_cells() -> None:
    cells, m = 10**6, 300
    a, b = Fraction(cells - 1, cells) ** m, Fraction(cells - 2, cells) ** m
    mean, variance = uniform_growth(cells, np.array([m]))
    assert mean[0] == pytest.approx(float(cells * (1 - a)), rel=1e-13)
    exact = cells * a * (1 - a) + cells * (cells - 1) * (b - a * a)
    assert variance[0] == pytest.approx(float(exact), rel=1e-7)


def test_reference_growth_mean_is_that_of_all_draws() -> None:
    mass = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
    for m in (1, 2, 3, 5):
        expected, _ = exact_occupancy(mass, m)
        assert reference_growth(mass, np.array([m]))[0][0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("mass", "most"),
    [
        (np.full(2, 0.5), 0.15),
        (np.full(10, 0.1), 0.04),
        (1 / np.arange(1, 31), 0.04),
        (1 / np.arange(1, 1001), 0.004),
    ],
    ids=["two equal", "ten equal", "Zipf 30", "Zipf 1000"],
)
def test_reference_growth_sd_is_low_by_no_more_than_stated(mass: np.ndarray, most: float) -> None:
    mass = mass / mass.sum()
    grid = np.array([1, 2, 3, 5, 10, 30, 100, 1000])
    _, variance = reference_growth(mass, grid)
    exact = np.array([pairwise_occupancy_variance(mass, int(m)) for m in grid])
    short = np.sqrt(np.maximum(exact, 0)) - np.sqrt(variance)
    assert variance[0] == pytest.approx(0, abs=1e-12)
    # Rounding of the oracle: 1e-16 over a million pairs.
    assert np.all(short >= -1e-6)
    assert np.all(short <= most)
    assert len(mass) < 1000 or np.all(short <= 0.01 * np.sqrt(np.maximum(exact, 1e-9)))


def test_reference_growth_of_equal_masses_has_the_mean_of_a_uniform_sweep() -> None:
    grid = np.array([0, 1, 7, 500, 10_000])
    reference = reference_growth(np.full(300, 1 / 300), grid)[0]
    assert np.allclose(reference, uniform_growth(300, grid)[0], rtol=1e-12)


def test_reference_and_uniform_growth_agree_with_simulation() -> None:
    rng = np.random.default_rng(11)
    mass = rng.dirichlet(np.full(200, 0.4))
    runs, m = 20_000, 150
    for null, weights in (
        (reference_growth(mass, np.array([m])), mass),
        (uniform_growth(200, np.array([m])), None),
    ):
        draws = np.sort(rng.choice(200, (runs, m), p=weights), axis=1)
        distinct = 1 + (draws[:, 1:] != draws[:, :-1]).sum(axis=1)
        error = np.sqrt(null[1][0] / runs)
        assert abs(distinct.mean() - null[0][0]) < 4 * error
        assert distinct.var() == pytest.approx(null[1][0], rel=4 * np.sqrt(2 / runs))


def test_nulls_at_no_draw_and_with_all_mass_in_one_cell() -> None:
    grid = np.array([0, 1, 5])
    for mean, variance in (
        reference_growth(np.array([0.0, 1.0]), grid),
        reference_growth(np.array([1.0]), grid),
        uniform_growth(1, grid),
    ):
        assert np.allclose(mean, [0, 1, 1], atol=1e-12)
        assert np.allclose(variance, 0, atol=1e-12)
    assert uniform_growth(2, np.array([0]))[0][0] == 0
    assert uniform_growth(7, np.empty(0, np.int64))[0].shape == (0,)


def test_null_errors() -> None:
    one = np.array([1])
    with pytest.raises(ValueError, match=r"mass: expected a sum of 1, got 0.9"):
        reference_growth(np.array([0.5, 0.4]), one)
    with pytest.raises(ValueError, match="mass: expected numbers of 0 and up"):
        reference_growth(np.array([1.5, -0.5]), one)
    with pytest.raises(ValueError, match="mass: expected numbers of 0 and up"):
        reference_growth(np.array([np.nan, 1.0]), one)
    with pytest.raises(ValueError, match="m: expected 0 or more, got -1"):
        uniform_growth(3, np.array([-1]))
    with pytest.raises(ValueError, match="cells: expected 1 or more, got 0"):
        uniform_growth(0, one)


def test_order_z_of_a_hand_calculation() -> None:
    # Counts 2, 1 of n = 3: D(2) is 2 with chance 2/3, so mean 5/3 and sd √(2/9); m = 2 is the only
    # interior point.
    cells, offsets = np.array([0, 1, 0, 0, 0, 1]), [0, 3, 6]
    expected = (np.array([2, 1]) - 5 / 3) / np.sqrt(2 / 9)
    assert np.allclose(order_z(cells, offsets), expected, rtol=1e-12)


def test_order_z_is_centred_over_all_orders_and_ranks_them() -> None:
    orders = np.array(sorted(set(permutations([0, 0, 0, 1, 1, 2]))))
    offsets = np.arange(len(orders) + 1) * 6
    z = order_z(orders.ravel(), offsets)
    assert z.mean() == pytest.approx(0, abs=1e-12)
    soonest, latest = orders[z == z.max()].tolist(), orders[z == z.min()].tolist()
    assert all(len(set(order[:3])) == 3 for order in soonest)
    assert [0, 0, 0, 1, 1, 2] in latest


def test_order_z_is_nan_where_order_says_nothing() -> None:
    accounts = [[], [1], [1, 2], [1, 1], [4, 4, 4, 4], [1, 2, 3, 4, 5]]
    assert np.isnan(order_z(*ragged(accounts))).all()


def test_order_z_options_each_change_the_answer() -> None:
    rng = np.random.default_rng(8)
    cells, offsets = rng.integers(0, 5000, 400), [0, 400]
    usual = order_z(cells, offsets)[0]
    assert order_z(cells, offsets, points=9)[0] != usual
    assert order_z(cells, offsets, min_sd=0)[0] != usual
    assert np.isnan(order_z(cells, offsets, min_sd=100)[0])


def test_order_z_is_not_ruled_by_one_prompt_sent_twice_at_the_start() -> None:
    rng = np.random.default_rng(5)
    accounts, n = 300, 300
    cells = rng.integers(0, 16_384, (accounts, n))
    cells[:, 1] = cells[:, 0]
    offsets = np.arange(accounts + 1) * n
    assert np.median(order_z(cells.ravel(), offsets)) > -2
    assert np.median(order_z(cells.ravel(), offsets, min_sd=0)) < -3
