"""Counts, coverage, collisions, novelty summaries and the measures of a level."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ragged_lists import ragged

from coverage_lab import measures
from coverage_lab.measures import (
    cell_counts,
    collisions,
    count_frequencies,
    curve_grid,
    dispersion,
    evenness,
    good_coverage,
    growth_curves,
    level_measures,
    lower_tail,
    new_slope,
    novelty,
    novelty_summary,
    order_z,
    pitman_yor,
    rarefaction,
    reference_growth,
    runs,
    sample_coverage,
    uniform_growth,
)
from coverage_lab.schema import ACCOUNT_MEASURES, CURVES, LEVEL_MEASURES

ROOT = Path(__file__).resolve().parent.parent
CELLS = 7
MASS = np.array([0.4, 0.2, 0.15, 0.1, 0.1, 0.05, 0.0])
ACCOUNTS = st.lists(st.lists(st.integers(0, CELLS - 1), max_size=30), max_size=5)
ONE_ACCOUNT = st.lists(st.integers(0, CELLS - 1), min_size=1, max_size=30)


def one(*counts: int) -> tuple[np.ndarray, list[int]]:
    return np.array(counts, dtype=np.int64), [0, len(counts)]


@given(ACCOUNTS)
def test_counts_are_those_of_numpy_account_by_account(accounts: list[list[int]]) -> None:
    cell, count, offsets = cell_counts(*ragged(accounts))
    r, frequency, r_offsets = count_frequencies(count, offsets)
    assert len(offsets) == len(r_offsets) == len(accounts) + 1
    for a, prompts in enumerate(accounts):
        own = slice(offsets[a], offsets[a + 1])
        expected = np.unique(np.array(prompts, dtype=np.int64), return_counts=True)
        assert np.array_equal(cell[own], expected[0])
        assert np.array_equal(count[own], expected[1])
        own_r = slice(r_offsets[a], r_offsets[a + 1])
        again = np.unique(count[own], return_counts=True)
        assert np.array_equal(r[own_r], again[0])
        assert np.array_equal(frequency[own_r], again[1])


def test_counts_take_any_integer_type_and_strided_cells() -> None:
    table = np.array([[5, 0], [2**31 - 1, 0], [5, 0]], dtype=np.int32)
    cell, count, offsets = cell_counts(table[:, 0], np.array([0, 3], dtype=np.uint8))
    assert cell.tolist() == [5, 2**31 - 1]
    assert count.tolist() == [2, 1]
    assert offsets.tolist() == [0, 2]
    assert cell_counts(np.array([7], dtype=np.uint16), [0, 0, 1])[2].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([1, 3], "offsets: expected to start at 0, got 1"),
        ([0, 2, 1, 3], "offsets: expected never to fall"),
        ([0, 2], r"offsets: expected to end at the number of rows \(3\), got 2"),
        ([], "offsets: expected integers of shape"),
        ([0.0, 3.0], "offsets: expected integers of shape"),
        ([[0, 3]], "offsets: expected integers of shape"),
    ],
)
def test_offsets_that_do_not_cut_the_rows(offsets: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cell_counts(np.array([1, 1, 2]), np.array(offsets))


def test_cells_out_of_range() -> None:
    with pytest.raises(ValueError, match="cells: expected integers from 0"):
        cell_counts(np.array([2**31]), [0, 1])
    with pytest.raises(ValueError, match="counts: expected integers from 1"):
        sample_coverage(*one(1, 0))


def test_coverage_of_hand_calculations() -> None:
    # n = 10, f1 = 3, f2 = 2: Good 1 − 3/10; Chao and Jost 1 − 3/10 · 27/(27 + 4).
    counts = one(3, 2, 2, 1, 1, 1)
    assert good_coverage(*counts)[0] == pytest.approx(0.7)
    assert sample_coverage(*counts)[0] == pytest.approx(1 - 0.3 * 27 / 31)
    assert new_slope(*counts)[0] == pytest.approx(0.5)


def inext_coverage(counts: list[int]) -> float:
    """Follow iNEXT's `Chat.Ind` at m = n step by step, through Chao1's unseen cells."""
    n, f1, f2 = sum(counts), counts.count(1), counts.count(2)
    unseen = (n - 1) / n * (f1 * (f1 - 1) / 2 if f2 == 0 else f1**2 / (2 * f2))
    a = n * unseen / (n * unseen + f1) if f1 > 0 else 1
    return 1 - f1 / n * a


@given(st.lists(st.integers(1, 4), min_size=1, max_size=15))
def test_sample_coverage_is_that_of_inext(counts: list[int]) -> None:
    got = sample_coverage(*one(*counts))[0]
    if sum(counts) < 2:
        assert np.isnan(got)
    else:
        assert got == pytest.approx(inext_coverage(counts), rel=1e-12)
        assert 0 < got <= 1


def test_coverage_edges() -> None:
    assert sample_coverage(*one(3, 2))[0] == 1
    assert sample_coverage(*one(5, 1))[0] == 1
    assert sample_coverage(*one(*[1] * 50))[0] == pytest.approx(2 / (49**2 + 2))
    assert good_coverage(*one(1, 1, 1))[0] == 0
    for measure in (sample_coverage, good_coverage):
        assert np.isnan(measure(np.array([1]), [0, 0, 1])).all()
    assert new_slope(np.array([1]), [0, 0, 1]).tolist()[1] == 1
    assert np.isnan(new_slope(np.array([1]), [0, 0, 1])[0])


def test_sample_coverage_estimates_the_true_coverage_better_than_good() -> None:
    rng = np.random.default_rng(2)
    mass = 1 / np.arange(1, 401)
    mass /= mass.sum()
    runs, n = 2000, 60
    cells = rng.choice(400, (runs, n), p=mass)
    seen = np.zeros((runs, 400), dtype=bool)
    np.put_along_axis(seen, cells, True, axis=1)
    _, counts, offsets = cell_counts(cells.ravel(), np.arange(runs + 1) * n)
    truth = seen @ mass
    bias = (sample_coverage(counts, offsets) - truth).mean()
    assert abs(bias) < 0.01
    assert abs(bias) < abs((good_coverage(counts, offsets) - truth).mean())


@pytest.mark.parametrize("n", [2, 3, 5])
def test_collision_moments_are_those_of_all_draws(n: int) -> None:
    mass = np.array([0.5, 0.3, 0.2])
    draws = np.array(list(product(range(3), repeat=n)))
    chance = mass[draws].prod(axis=1)
    same = np.array([sum(a == b for a, b in combinations(draw, 2)) for draw in draws.tolist()])
    expected = (chance * same).sum()
    sd = np.sqrt((chance * same**2).sum() - expected**2)
    _, counts, offsets = cell_counts(draws.ravel(), np.arange(len(draws) + 1) * n)
    ratio, z = collisions(counts, offsets, mass)
    assert np.allclose(ratio, same / expected, rtol=1e-12)
    assert np.allclose(z, (same - expected) / sd, rtol=1e-10)


def test_collision_edges() -> None:
    ratio, z = collisions(np.array([1, 3]), [0, 0, 1, 2], np.array([1.0]))
    assert np.isnan(ratio[:2]).all()
    assert ratio[2] == 1
    assert np.isnan(z).all()
    ratio, z = collisions(*one(1, 1, 1), np.full(4, 0.25))
    assert ratio[0] == 0
    assert z[0] == pytest.approx(-3 * 0.25 / np.sqrt(3 * (0.25 - 0.0625)))
    with pytest.raises(ValueError, match="mass: expected a sum of 1"):
        collisions(*one(2), np.array([0.5, 0.4]))


@settings(deadline=None)
@given(ACCOUNTS)
def test_level_measures_of_a_batch_are_those_of_its_accounts(accounts: list[list[int]]) -> None:
    together = level_measures(*ragged(accounts), MASS)
    assert tuple(together) == tuple(LEVEL_MEASURES)
    for a, prompts in enumerate(accounts):
        alone = level_measures(*ragged([prompts]), MASS)
        for name, column in together.items():
            assert column.dtype == np.float64
            assert column.shape == (len(accounts),)
            assert np.allclose(column[a], alone[name][0], rtol=1e-12, atol=1e-12, equal_nan=True), name


@settings(deadline=None)
@given(ONE_ACCOUNT, st.randoms(use_true_random=False))
def test_only_order_z_and_return_z_depend_on_order(prompts: list[int], random: object) -> None:
    mixed = list(prompts)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    before, after = (level_measures(*ragged([p]), MASS) for p in (prompts, mixed))
    for name in before:
        if name not in ("order_z", "return_z"):
            assert np.array_equal(before[name], after[name], equal_nan=True), name


@settings(deadline=None)
@given(ACCOUNTS, st.permutations(range(CELLS)))
def test_names_of_cells_do_not_matter(accounts: list[list[int]], order: list[int]) -> None:
    cells, offsets = ragged(accounts)
    named = np.array(order)
    mass = np.empty(CELLS)
    mass[named] = MASS
    before, after = level_measures(cells, offsets, MASS), level_measures(named[cells], offsets, mass)
    for name in before:
        assert np.allclose(before[name], after[name], rtol=1e-9, atol=1e-9, equal_nan=True), name


@settings(deadline=None)
@given(ONE_ACCOUNT)
def test_level_measures_are_in_their_ranges(prompts: list[int]) -> None:
    got = {name: column[0] for name, column in level_measures(*ragged([prompts]), MASS).items()}
    assert got["distinct"] == len(set(prompts))
    assert 0 <= got["new_slope"] <= 1
    assert got["growth_vs_uniform"] > 0
    assert np.isfinite(got["growth_vs_reference"])
    if len(prompts) >= 2:
        assert 0 < got["sample_coverage"] <= 1
        assert got["collision_ratio"] >= 0
        assert np.isfinite(got["collision_z"])


def test_level_measures_are_made_of_their_parts() -> None:
    rng = np.random.default_rng(4)
    cells, offsets = rng.integers(0, 50, 90), np.array([0, 60, 90])
    mass = rng.dirichlet(np.ones(50))
    got = level_measures(cells, offsets, mass)
    _, counts, cut = cell_counts(cells, offsets)
    distinct = np.array([len(set(cells[:60].tolist())), len(set(cells[60:].tolist()))])
    lengths = np.array([60, 30])
    assert np.array_equal(got["distinct"], distinct)
    assert np.allclose(got["growth_vs_reference"], np.log(distinct / reference_growth(mass, lengths)[0]))
    assert np.allclose(got["growth_vs_uniform"], distinct / uniform_growth(50, lengths)[0])
    assert np.array_equal(got["collision_ratio"], collisions(counts, cut, mass)[0])
    assert np.array_equal(got["collision_z"], collisions(counts, cut, mass)[1])
    assert np.array_equal(got["sample_coverage"], sample_coverage(counts, cut))
    assert np.array_equal(got["new_slope"], new_slope(counts, cut))
    assert np.array_equal(got["order_z"], order_z(cells, offsets))


def test_ordinary_traffic_measures_as_ordinary_and_a_sweep_as_a_sweep() -> None:
    rng = np.random.default_rng(9)
    mass = 1 / np.arange(1, 1025)
    mass /= mass.sum()
    runs, n = 400, 300
    offsets = np.arange(runs + 1) * n
    ordinary = level_measures(rng.choice(1024, runs * n, p=mass), offsets, mass)
    sweep = level_measures(rng.integers(0, 1024, runs * n), offsets, mass)
    assert ordinary["growth_vs_reference"].mean() == pytest.approx(0, abs=0.01)
    assert ordinary["collision_ratio"].mean() == pytest.approx(1, abs=0.03)
    assert ordinary["collision_z"].mean() == pytest.approx(0, abs=0.2)
    assert ordinary["collision_z"].std() == pytest.approx(1, abs=0.15)
    assert ordinary["order_z"].mean() == pytest.approx(0, abs=0.15)
    assert sweep["growth_vs_uniform"].mean() == pytest.approx(1, abs=0.01)
    assert np.all(sweep["growth_vs_reference"] > 0)
    assert np.all(sweep["collision_ratio"] < 0.5)


def test_empty_batches_and_accounts() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert all(column.shape == (0,) for column in level_measures(nothing, [0], MASS).values())
    empty = level_measures(nothing, [0, 0], MASS)
    assert empty.pop("distinct").tolist() == [0]
    assert all(np.isnan(column).all() for column in empty.values())
    curves = growth_curves(nothing, [0, 0], MASS)
    assert curves.account.size == curves.n.size == curves.own.mean.size == 0


def test_a_single_prompt() -> None:
    got = {name: column[0] for name, column in level_measures(np.array([2]), [0, 1], MASS).items()}
    assert got["distinct"] == got["new_slope"] == 1
    assert got["growth_vs_reference"] == pytest.approx(0, abs=1e-12)
    assert got["growth_vs_uniform"] == pytest.approx(1)
    assert all(
        np.isnan(got[name]) for name in ("sample_coverage", "collision_ratio", "collision_z", "order_z")
    )


def test_a_cell_without_a_mass_is_an_error() -> None:
    for function in (level_measures, growth_curves):
        with pytest.raises(ValueError, match="cells: expected below the 7 masses, got 7"):
            function(np.array([7]), [0, 1], MASS)
        with pytest.raises(ValueError, match="mass: expected a sum of 1"):
            function(np.array([1]), [0, 1], MASS * 2)


@settings(deadline=None)
@given(ACCOUNTS)
def test_growth_curves_hold_their_parts(accounts: list[list[int]]) -> None:
    cells, offsets = ragged(accounts)
    curves = growth_curves(cells, offsets, MASS, points=8)
    for a, prompts in enumerate(accounts):
        rows = curves.account == a
        grid = curves.n[rows]
        assert grid.tolist() == curve_grid(len(prompts), points=8).tolist()
        assert curves.distinct[rows].tolist() == [len(set(prompts[:m])) for m in grid]
        if not prompts:
            continue
        _, counts, cut = cell_counts(*ragged([prompts]))
        own = rarefaction(counts, cut, grid, [0, len(grid)])[0]
        assert np.allclose(curves.own.mean[rows], own, rtol=1e-12)
        reference, uniform = reference_growth(MASS, grid)[0], uniform_growth(CELLS, grid)[0]
        assert np.allclose(curves.reference.mean[rows], reference, rtol=1e-12)
        assert np.allclose(curves.uniform.mean[rows], uniform, rtol=1e-12)
    for null, most in ((curves.own, CELLS), (curves.reference, CELLS - 1), (curves.uniform, CELLS)):
        assert np.all((null.low >= 1) & (null.low <= null.mean) & (null.mean <= null.high))
        assert np.all(null.high <= np.minimum(curves.n, most))


def test_bands_hold_about_nineteen_of_twenty_orders_and_draws() -> None:
    rng = np.random.default_rng(12)
    mass = rng.dirichlet(np.full(500, 0.5))
    runs, n = 600, 200
    offsets = np.arange(runs + 1) * n
    for cells, null in (
        (rng.choice(500, (runs, n), p=mass), "reference"),
        (rng.integers(0, 500, (runs, n)), "uniform"),
        (rng.permuted(np.tile(rng.choice(500, n, p=mass), (runs, 1)), axis=1), "own"),
    ):
        curves = growth_curves(cells.ravel(), offsets, mass)
        bands = {"reference": curves.reference, "uniform": curves.uniform, "own": curves.own}
        inside = (curves.distinct >= bands[null].low) & (curves.distinct <= bands[null].high)
        middle = (curves.n > 50) & (curves.n < 150)
        # D is whole, so a band holds a little more or less than 95%.
        assert 0.91 < inside[middle].mean() < 0.99, null


def test_novelty_summary_is_that_of_numpy_account_by_account() -> None:
    rng = np.random.default_rng(6)
    accounts = [rng.uniform(0, 1, size).astype(np.float32) for size in (0, 1, 2, 3, 11, 63)]
    for one_account in accounts:
        one_account[:1] = np.nan
    values = np.concatenate(accounts)
    offsets = np.cumsum([0, *map(len, accounts)])
    got = novelty_summary(values, offsets)
    assert set(got) == set(ACCOUNT_MEASURES) - {"repeat_share", "novelty_hole"}
    for a, one_account in enumerate(accounts):
        kept = one_account[1:].astype(np.float64)
        if len(kept) == 0:
            assert all(np.isnan(column[a]) for column in got.values())
            continue
        assert got["novelty_mean"][a] == pytest.approx(kept.mean(), rel=1e-12)
        assert got["novelty_p10"][a] == pytest.approx(np.quantile(kept, 0.1), rel=1e-12)
        assert got["novelty_median"][a] == pytest.approx(np.median(kept), rel=1e-12)
        assert got["novelty_low_share"][a] == pytest.approx((kept < 0.1).mean(), rel=1e-12)


def test_novelty_summary_low_changes_the_share_and_errors() -> None:
    values = np.array([np.nan, 0.05, 0.3, 0.7])
    assert novelty_summary(values, [0, 4])["novelty_low_share"][0] == pytest.approx(1 / 3)
    assert novelty_summary(values, [0, 4], low=0.5)["novelty_low_share"][0] == pytest.approx(2 / 3)
    assert novelty_summary(np.empty(0), [0])["novelty_mean"].shape == (0,)
    with pytest.raises(ValueError, match="offsets: expected to end"):
        novelty_summary(values, [0, 3])
    with pytest.raises(ValueError, match=r"novelty: expected shape \(n,\)"):
        novelty_summary(values[None], [0, 1])


def test_novelty_of_two_accounts_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 1], [0, -1]], dtype=np.float32)
    got, nearest = novelty(vectors, [0, 3, 5])
    assert got.dtype == np.float32
    assert np.allclose(got, [np.nan, 1, 0.2, np.nan, 2], atol=1e-6, equal_nan=True)
    assert nearest.tolist() == [-1, 0, 1, -1, 3]
    with pytest.raises(ValueError, match="vectors: expected rows of norm 1, got nan in row 1"):
        novelty(np.array([[1, 0], [np.nan, 0]]), [0, 2])


def test_the_table_of_measures_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "measures_table.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


#: Of `ACCOUNT_MEASURES`, not of this room: the accounts room counts letter-for-letter repeats.
ELSEWHERE = {"repeat_share"}
BEHAVING = {"burstiness", "hours_used"}
OF_ACCOUNTS = (LEVEL_MEASURES.keys() | ACCOUNT_MEASURES.keys() | BEHAVING) - ELSEWHERE
OF_CURVES = {name for name in CURVES.names if name.endswith(("_mean", "_low", "_high"))}


def columns_of(name: str) -> set[str]:
    """The columns of the daily tables that a function gives, by its docstring."""
    said = re.search(
        r"^Columns: (.+?)(?:\n\n|\Z)", inspect.getdoc(getattr(measures, name)) or "", re.M | re.S
    )
    return set(re.findall(r"`(\w+)`", said[1])) if said else set()


def test_every_measure_of_the_daily_tables_has_its_function() -> None:
    given = {name: columns_of(name) for name in measures.__all__}
    assert set().union(*given.values()) == OF_ACCOUNTS | OF_CURVES
    for whole in (level_measures, novelty_summary, lower_tail):
        assert columns_of(whole.__name__) <= OF_ACCOUNTS
    assert any(not columns for columns in given.values()), "the research library"


def test_readme_marks_the_measures_that_a_run_computes() -> None:
    def names(columns: set[str]) -> str:
        return ", ".join(f"`{name}`" for name in measures.__all__ if columns_of(name) & columns)

    expected = f"- In `accounts.parquet`: {names(OF_ACCOUNTS)}.\n- In `curves.parquet`: {names(OF_CURVES)}.\n"
    text = (ROOT / "coverage_lab" / "measures" / "README.md").read_text(encoding="utf-8")
    told = text.split("<!-- daily -->\n")[1].split("<!-- /daily -->")[0]
    assert " ".join(told.split()) == " ".join(expected.split()), f"write:\n{expected}"


def test_a_run_calls_the_measures_that_the_readme_names() -> None:
    """What the rooms of the daily job take from here, and nothing of the research library."""
    taken = set()
    for room in ("accounts", "detect", "jobs", "state", "service"):
        for file in (ROOT / "coverage_lab" / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module == "coverage_lab.measures":
                    taken |= {alias.name for alias in node.names}
    assert taken == {
        "burstiness",
        "cell_counts",
        "growth_curves",
        "hours_used",
        "level_measures",
        "lower_tail",
        "novelty",
        "novelty_summary",
    }


@pytest.mark.parametrize("module", ["counts", "growth"])
def test_examples_in_docstrings(module: str) -> None:
    # By its full name: some names of the package are functions that hide the module of that name.
    loaded = importlib.import_module(f"{measures.__name__}.{module}")
    result = doctest.testmod(loaded, extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0


def test_level_measures_hold_the_measures_of_their_own_rooms() -> None:
    cells, offsets = ragged([[0, 0, 1, 2, 2, 2, 5, 1], [0, 1, 2, 3, 4, 5] * 3, [4, 4, 4, 4]])
    got = level_measures(cells, offsets, MASS)
    reached, counts, cut = cell_counts(cells, offsets)
    assert np.array_equal(got["return_z"], runs(cells, offsets).z, equal_nan=True)
    assert np.array_equal(got["evenness"], evenness(counts, cut), equal_nan=True)
    assert np.array_equal(got["dispersion_z"], dispersion(reached, counts, cut, MASS)[1], equal_nan=True)
    discount = pitman_yor(counts, cut).discount
    assert (discount < -1).any(), "an account that the floor holds"
    assert np.array_equal(got["discount"], np.where(discount < -1, -1, discount), equal_nan=True)
