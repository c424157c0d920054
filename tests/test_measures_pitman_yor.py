"""Pitman–Yor estimates of accounts whose process is known, and the properties of the measure."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ragged_lists import ragged

from coverage_lab.measures.counts import cell_counts
from coverage_lab.measures.pitman_yor import PitmanYor, pitman_yor

ACCOUNTS = st.lists(st.lists(st.integers(1, 9), max_size=12), max_size=5)


@cache
def chinese_restaurants(accounts: int, n: int, d: float, theta: float, seed: int) -> PitmanYor:
    """Seat n prompts in each account by Pitman and Yor's rule, for d >= 0, and fit what came out."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((accounts, n))
    cells = np.zeros(accounts, dtype=np.int64)
    for i in range(n):
        new = rng.uniform(size=accounts) * (theta + i) < theta + cells * d
        held = counts[:, : cells.max() + 1]
        weight = np.cumsum(np.where(held > 0, held - d, 0), axis=1)
        old = (weight <= (rng.uniform(size=accounts) * weight[:, -1])[:, None]).sum(axis=1)
        counts[np.arange(accounts), np.where(new, cells, np.minimum(old, np.maximum(cells - 1, 0)))] += 1
        cells += new
    return pitman_yor(counts[counts > 0].astype(np.int64), np.cumsum([0, *(counts > 0).sum(axis=1)]))


@pytest.mark.parametrize(
    ("d", "theta", "published_sd"),
    # SDs at n = 1,000 from the project's anchors, which name no θ: these θ are ours, and the SD depends on it
    # (at d = 0.8 it is 0.020 for θ = 10).
    [(0.2, 10.0, 0.094), (0.6, 10.0, 0.039), (0.8, 1.0, 0.024)],
)
def test_discount_is_recovered_with_the_published_spread(d: float, theta: float, published_sd: float) -> None:
    fits = chinese_restaurants(300, 1000, d, theta, seed=4)
    assert fits.converged.all()
    assert fits.discount.mean() == pytest.approx(d, abs=0.3 * published_sd)
    assert fits.discount.std() == pytest.approx(published_sd, rel=0.15)
    assert np.nanmean(fits.discount_se) == pytest.approx(fits.discount.std(), rel=0.15)
    assert np.median(fits.concentration) == pytest.approx(
        theta, abs=0.5 * np.nanmedian(fits.concentration_se)
    )


def test_standard_errors_cover_the_truth() -> None:
    fits = chinese_restaurants(300, 1000, 0.6, 10.0, seed=4)
    inside = np.abs(fits.discount - 0.6) < 1.96 * fits.discount_se
    assert 0.9 < inside.mean() < 0.99


@pytest.mark.parametrize(("alpha", "cells"), [(0.5, 200), (3.0, 100)])
def test_finite_branch_is_recovered(alpha: float, cells: int) -> None:
    rng = np.random.default_rng(7)
    draws = [rng.multinomial(3000, rng.dirichlet(np.full(cells, alpha))) for _ in range(100)]
    fits = pitman_yor(*ragged([one[one > 0].tolist() for one in draws]))
    assert fits.converged.all()
    assert np.median(fits.discount) == pytest.approx(-alpha, rel=0.1)
    assert np.median(fits.support) == pytest.approx(cells, rel=0.05)


def test_uniform_sweeps_are_far_below_zero_and_their_ground_is_recovered() -> None:
    rng = np.random.default_rng(2)
    runs, n, ground = 400, 300, 500
    _, counts, offsets = cell_counts(rng.integers(0, ground, runs * n), np.arange(runs + 1) * n)
    fits = pitman_yor(counts, offsets)
    assert fits.converged.all()
    assert (fits.discount < -1).mean() > 0.95
    # At the edge of the region the score is about normal: half of the accounts are more even than uniform.
    assert 0.4 < np.isneginf(fits.discount).mean() < 0.7
    assert np.median(fits.support) == pytest.approx(ground, rel=0.05)
    assert fits.new_chance.mean() == pytest.approx((1 - 1 / ground) ** n, abs=0.02)


def test_new_chance_is_the_share_of_later_prompts_on_new_ground() -> None:
    rng = np.random.default_rng(12)
    mass = 1 / np.arange(1, 2001)
    mass /= mass.sum()
    runs, n = 300, 300
    cells = rng.choice(2000, (runs, n), p=mass)
    _, counts, offsets = cell_counts(cells.ravel(), np.arange(runs + 1) * n)
    unseen = np.array([1 - mass[np.unique(one)].sum() for one in cells])
    assert pitman_yor(counts, offsets).new_chance.mean() == pytest.approx(unseen.mean(), abs=0.01)


def test_tied_counts_and_other_edges() -> None:
    accounts = [[], [1], [4], [1, 1, 1], [2, 2, 2, 2], [2, 1]]
    fits = pitman_yor(*ragged(accounts))
    assert fits.converged.tolist() == [False, False, True, True, True, True]
    assert np.isnan(fits.discount[:4]).all()
    assert np.array_equal(fits.new_chance[:4], [np.nan, np.nan, 0, 1], equal_nan=True)
    assert np.array_equal(fits.support[:4], [np.nan, np.nan, 1, np.inf], equal_nan=True)
    # Four cells twice each: ln L of a uniform sweep over M, Σ_{i<4} ln(M − i) − 7 ln M, falls
    # from 1/(M−1) + 1/(M−2) + 1/(M−3) = 7/M on, that is 4M³ − 30M² + 66M − 42 = 0 (by hand).
    assert fits.discount[4] == -np.inf
    roots = np.roots([4, -30, 66, -42])
    assert fits.support[4] == pytest.approx(roots.real.max(), rel=1e-7)
    assert fits.log_likelihood[5] <= 0


@given(ACCOUNTS)
def test_ranges_and_a_batch_is_its_accounts(accounts: list[list[int]]) -> None:
    fits = pitman_yor(*ragged(accounts))
    for field in fields(fits):
        assert getattr(fits, field.name).shape == (len(accounts),)
    for a, counts in enumerate(accounts):
        n, cells = sum(counts), len(counts)
        assert fits.converged[a] == (n >= 2)
        if n < 2:
            continue
        assert fits.log_likelihood[a] <= 1e-12
        assert 0 <= fits.new_chance[a] <= 1
        assert fits.support[a] >= cells * (1 - 1e-12)
        alone = pitman_yor(*ragged([counts]))
        assert alone.log_likelihood[0] == pytest.approx(fits.log_likelihood[a], abs=1e-9)
        if 1 < cells < n:
            d, theta = fits.discount[a], fits.concentration[a]
            assert d < 1
            assert theta > -d or (theta == np.inf and d == -np.inf)
            if np.isfinite(d) and d > -1e6:
                assert fits.new_chance[a] == pytest.approx((theta + cells * d) / (theta + n), abs=1e-8)
                assert fits.support[a] == (np.inf if d >= 0 else pytest.approx(-theta / d, rel=1e-9))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_order_of_cells_does_not_matter(counts: list[int], random: object) -> None:
    mixed = list(counts)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = pitman_yor(*ragged([counts])), pitman_yor(*ragged([mixed]))
    for field in fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name), equal_nan=True)


def test_options_are_passed_on_and_errors() -> None:
    counts = ragged([[9, 3, 1, 1, 1, 1, 1, 1]])
    assert pitman_yor(*counts).converged[0]
    assert not pitman_yor(*counts, iterations=1).converged[0]
    with pytest.raises(ValueError, match="counts: expected integers from 1"):
        pitman_yor(np.array([2, 0]), [0, 2])
    with pytest.raises(ValueError, match="backend: expected 'auto', 'cpu' or 'cupy', got 'cuda'"):
        pitman_yor(*counts, backend="cuda")  # type: ignore[arg-type]
