"""Runs of equal cells against enumeration of all orders, exact fractions and simulation."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from itertools import groupby, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ragged_lists import ragged

from coverage_lab.measures.order import order_z
from coverage_lab.measures.runs import runs

ACCOUNTS = st.lists(st.lists(st.integers(0, 6), max_size=14), max_size=5)


@pytest.mark.parametrize(
    "counts",
    [[2], [1, 1], [2, 1], [3, 1], [2, 2], [2, 2, 1], [4, 1, 1], [3, 2, 1], [2, 2, 2], [4, 3], [1] * 5],
)
def test_mean_and_variance_are_those_over_all_orders(counts: list[int]) -> None:
    prompts = [cell for cell, count in enumerate(counts) for _ in range(count)]
    n = len(prompts)
    orders = list(permutations(prompts))
    again = np.array([sum(a == b for a, b in pairwise(order)) for order in orders])
    got = runs(np.array(orders).ravel(), np.arange(len(orders) + 1) * n)
    assert np.allclose(got.return_rate, again / (n - 1), rtol=1e-14)
    if again.mean() == 0:
        assert np.isnan(got.return_ratio).all()
    else:
        assert np.allclose(got.return_ratio, again / again.mean(), rtol=1e-13)
    if again.std() == 0:
        assert np.isnan(got.z).all()
    else:
        assert np.allclose(got.z, (again - again.mean()) / again.std(), rtol=1e-11, atol=1e-13)


def exact_z(counts: list[int], again: int) -> float:
    """Return z in fractions from falling factorials of ordered pairs of places, written out."""
    n = sum(counts)
    two = [x * (x - 1) for x in counts]
    three = sum(x * (x - 1) * (x - 2) for x in counts)
    four = sum(x * (x - 1) * (x - 2) * (x - 3) for x in counts)
    mean = Fraction(sum(two), n)
    square = mean
    if n > 2:  # places (i, i+1) and (i+1, i+2), in both orders
        square += 2 * (n - 2) * Fraction(three, n * (n - 1) * (n - 2))
    if n > 3:  # places that share no prompt
        apart = four + sum(two) ** 2 - sum(t * t for t in two)
        square += (n - 2) * (n - 3) * Fraction(apart, n * (n - 1) * (n - 2) * (n - 3))
    return float(again - mean) / float(square - mean**2) ** 0.5


@given(st.lists(st.integers(1, 40), min_size=2, max_size=8).filter(lambda counts: max(counts) > 1))
def test_z_is_exact_for_any_counts(counts: list[int]) -> None:
    together = np.repeat(np.arange(len(counts)), counts)
    got = runs(together, [0, together.size])
    assert got.z[0] == pytest.approx(exact_z(counts, sum(counts) - len(counts)), rel=1e-9)


def test_z_keeps_its_digits_for_a_large_account() -> None:
    counts = [1] * 200_000 + [2] * 50_000 + [300_000]
    cells = np.repeat(np.arange(len(counts)), counts)
    assert runs(cells, [0, cells.size]).z[0] == pytest.approx(
        exact_z(counts, cells.size - len(counts)), rel=1e-9
    )


@given(ACCOUNTS)
def test_runs_are_those_of_groupby_and_a_batch_is_its_accounts(accounts: list[list[int]]) -> None:
    got = runs(*ragged(accounts))
    for a, prompts in enumerate(accounts):
        alone = runs(*ragged([prompts]))
        for field in fields(got):
            column = getattr(got, field.name)
            assert column.dtype == np.float64
            assert column.shape == (len(accounts),)
            assert np.array_equal(column[a : a + 1], getattr(alone, field.name), equal_nan=True)
        lengths = [len(list(same)) for _, same in groupby(prompts)]
        if len(prompts) < 2:
            assert all(np.isnan(getattr(got, field.name)[a]) for field in fields(got))
            continue
        assert got.longest_run[a] == max(lengths)
        assert got.mean_run[a] == pytest.approx(np.mean(lengths), rel=1e-14)
        assert 0 <= got.return_rate[a] <= 1


@given(st.lists(st.integers(0, 5), min_size=2, max_size=20), st.permutations(range(6)))
def test_names_of_cells_and_direction_of_time_do_not_matter(prompts: list[int], names: list[int]) -> None:
    here = runs(*ragged([prompts]))
    for other in ([names[cell] for cell in prompts], prompts[::-1]):
        there = runs(*ragged([other]))
        for field in fields(here):
            assert np.allclose(
                getattr(here, field.name), getattr(there, field.name), rtol=1e-12, atol=1e-12, equal_nan=True
            )


def test_neighbours_of_two_accounts_are_no_run() -> None:
    got = runs(np.array([1, 2, 2, 2, 3]), [0, 2, 5])
    assert got.return_rate.tolist() == [0, 0.5]
    assert got.longest_run.tolist() == [1, 2]
    assert got.mean_run.tolist() == [1, 1.5]


def test_z_is_nan_where_order_can_not_matter() -> None:
    lengths = [2, 7, 63, 1009, 99_991]
    one_cell = runs(np.zeros(sum(lengths), dtype=np.int64), np.cumsum([0, *lengths]))
    no_revisit = runs(np.arange(sum(lengths)), np.cumsum([0, *lengths]))
    assert np.isnan(one_cell.z).all()
    assert np.isnan(no_revisit.z).all()
    assert one_cell.longest_run.tolist() == one_cell.mean_run.tolist() == lengths
    assert one_cell.return_ratio.tolist() == [1] * 5
    assert not no_revisit.return_rate.any()


def test_z_is_standard_over_random_orders() -> None:
    rng = np.random.default_rng(3)
    cells = rng.permuted(np.tile(rng.zipf(1.7, 300).clip(0, 400), (4000, 1)), axis=1)
    got = runs(cells.ravel(), np.arange(4001) * 300)
    assert got.z.mean() == pytest.approx(0, abs=4 / np.sqrt(4000))
    assert got.z.std() == pytest.approx(1, abs=4 / np.sqrt(8000))
    assert got.return_ratio.mean() == pytest.approx(1, abs=0.02)


def test_signs_read_as_swept_shuffled_bursty_and_interleaved() -> None:
    rng = np.random.default_rng(5)
    ground = np.arange(40)
    pairs = ground.reshape(20, 2)
    accounts = {
        "rounds": np.tile(ground, 8),
        "shuffled": rng.permutation(np.tile(ground, 8)),
        "bursty": np.repeat(ground, 8),
        "interleaved": np.concatenate([np.tile(pair, 8) for pair in pairs]),
    }
    cells, offsets = ragged([one.tolist() for one in accounts.values()])
    order = dict(zip(accounts, order_z(cells, offsets), strict=True))
    stay = dict(zip(accounts, runs(cells, offsets).z, strict=True))
    assert order["rounds"] > 2
    assert stay["rounds"] < -2
    assert abs(order["shuffled"]) < 2
    assert abs(stay["shuffled"]) < 2.5
    assert order["bursty"] < -2
    assert stay["bursty"] > 10
    assert order["interleaved"] < -2
    assert stay["interleaved"] < -2


def test_empty_batches_and_errors() -> None:
    nothing = runs(np.empty(0, dtype=np.int64), [0])
    assert all(getattr(nothing, field.name).shape == (0,) for field in fields(nothing))
    with pytest.raises(ValueError, match="cells: expected integers from 0"):
        runs(np.array([-1, 1]), [0, 2])
    with pytest.raises(ValueError, match="offsets: expected to end at the number of rows"):
        runs(np.array([1, 1]), [0, 1])
