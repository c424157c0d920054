"""Covering bounds against brute force over all subsets, SciPy's single linkage and hand-made chains."""

from __future__ import annotations

import doctest
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group

from coverage_lab.measures import covering
from coverage_lab.measures.covering import RADII, cover_growth, lower_tail, separated_growth
from coverage_lab.measures.growth import curve_grids
from coverage_lab.measures.novelty import novelty as causal_novelty

SEEDS = st.integers(0, 2**32 - 1)
NAN = float("nan")
RADII_KEYS = ["novelty_below_0.05", "novelty_below_0.1", "novelty_below_0.2", "novelty_below_0.4"]


def unit(rng: np.random.Generator, n: int, d: int, spread: float = 1.0) -> np.ndarray:
    rows = np.eye(d)[0] + spread * rng.standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_novelty(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value, nearest = [NAN], [-1]
    for i in range(1, len(vectors)):
        distance = 1 - vectors[:i] @ vectors[i]
        value.append(float(max(0.0, distance.min())))
        nearest.append(int(distance.argmin()))
    return np.array(value), np.array(nearest)


def distances(vectors: np.ndarray) -> np.ndarray:
    return 1 - vectors @ vectors.T


def packing(distance: np.ndarray, radius: float) -> int:
    n = len(distance)
    for size in range(n, 1, -1):
        for chosen in combinations(range(n), size):
            if all(distance[i, j] > radius for i, j in combinations(chosen, 2)):
                return size
    return 1


def covering_number(distance: np.ndarray, radius: float) -> int:
    n = len(distance)
    for size in range(1, n):
        for chosen in combinations(range(n), size):
            if np.all(distance[list(chosen)].min(axis=0) <= radius):
                return size
    return n


def online_net(distance: np.ndarray, radius: float) -> int:
    kept: list[int] = []
    for i in range(len(distance)):
        if all(distance[i, j] > radius for j in kept):
            kept.append(i)
    return len(kept)


def whole(n: int) -> tuple[list[int], np.ndarray, list[int]]:
    return [0, n], np.array([n]), [0, 1]


@given(SEEDS, st.integers(2, 8), st.integers(2, 4), st.sampled_from([0.1, 0.4, 1.0, 3.0]))
def test_bounds_hold_for_the_true_covering_and_packing_numbers(
    seed: int, n: int, d: int, spread: float
) -> None:
    vectors = unit(np.random.default_rng(seed), n, d, spread)
    value, nearest = brute_novelty(vectors)
    distance = distances(vectors)
    tree = linkage(pdist(vectors), "single")
    for radius in (0.02, 0.1, 0.3, 0.7):
        assume(np.abs(distance[np.triu_indices(n, 1)] - radius).min() > 1e-9)
        assume(np.abs(distance[np.triu_indices(n, 1)] - 4 * radius).min() > 1e-9)
        apart, far_apart = separated_growth(value, *whole(n), radii=[radius, 4 * radius])[:, 0]
        enough = cover_growth(value, nearest, *whole(n), radii=[radius])[0, 0]
        groups = fcluster(tree, np.sqrt(2 * radius), "distance").max()
        assert groups <= apart <= online_net(distance, radius) <= packing(distance, radius)
        assert far_apart <= covering_number(distance, radius) <= enough
        assert apart <= enough <= n


@given(SEEDS, st.integers(1, 30), st.sampled_from([0.2, 1.0]))
def test_every_prompt_is_within_the_radius_of_an_opened_ball(seed: int, n: int, spread: float) -> None:
    vectors = unit(np.random.default_rng(seed), n, 3, spread)
    value, nearest = brute_novelty(vectors)
    radius = 0.2
    grid = np.arange(1, n + 1)
    curve = cover_growth(value, nearest, [0, n], grid, [0, n], radii=[radius])[0]
    opened = np.diff(curve, prepend=0) == 1
    assert np.all(distances(vectors)[opened].min(axis=0) <= radius + 1e-12)


def test_a_drift_in_small_steps_separates_the_bounds() -> None:
    # Points on the circle, one every 0.1 rad: every step is δ = 1 − cos 0.1 = 0.005.
    angle = 0.1 * np.arange(32)
    vectors = np.column_stack([np.cos(angle), np.sin(angle)])
    value, nearest = brute_novelty(vectors)
    assert separated_growth(value, *whole(32), radii=[0.1]).tolist() == [[1]]
    # Chain links of 2 sin 0.05 = 0.09996 reach √0.2 = 0.4472 after 4: a ball opens at every fifth point.
    assert cover_growth(value, nearest, *whole(32), radii=[0.1]).tolist() == [[7]]


def test_a_radius_that_is_met_exactly_is_covered() -> None:
    value, nearest = np.array([NAN, 0.25, 0.25, 0.0]), np.array([-1, 0, 0, 2])
    grid, cut = np.arange(1, 5), [0, 4]
    radii = [0.25, np.nextafter(0.25, 0), 0.0]
    assert separated_growth(value, [0, 4], grid, cut, radii=radii).tolist() == [
        [1, 1, 1, 1],
        [1, 2, 3, 3],
        [1, 2, 3, 3],
    ]
    assert cover_growth(value, nearest, [0, 4], grid, cut, radii=radii).tolist() == [
        [1, 1, 1, 1],
        [1, 2, 3, 3],
        [1, 2, 3, 3],
    ]
    tail = lower_tail(value, [0, 4], radii=[0.25, 0.26], hole=0.25, repeat=None)
    assert tail["novelty_below_0.25"][0] == pytest.approx(1 / 3)
    assert tail["novelty_below_0.26"][0] == 1
    # One below 0.25, two in [0.25, 0.5).
    assert tail["novelty_hole"][0] == pytest.approx(np.log(1.5 / 2.5))


@given(st.lists(st.integers(0, 12), max_size=5), SEEDS)
def test_batch_equals_one_at_a_time(lengths: list[int], seed: int) -> None:
    vectors = unit(np.random.default_rng(seed), sum(lengths), 3).astype(np.float32)
    offsets = np.cumsum([0, *lengths])
    value, nearest = causal_novelty(vectors, offsets)
    grid, grid_offsets = curve_grids(np.array(lengths, dtype=np.int64), points=5)
    apart = separated_growth(value, offsets, grid, grid_offsets)
    enough = cover_growth(value, nearest, offsets, grid, grid_offsets)
    tail = lower_tail(value, offsets)
    assert apart.shape == enough.shape == (len(RADII), grid.size)
    assert np.all(np.diff(apart, axis=0) <= 0)
    for a, (start, stop) in enumerate(pairwise(offsets.tolist())):
        own = slice(grid_offsets[a], grid_offsets[a + 1])
        one = value[start:stop], np.where(nearest[start:stop] < 0, -1, nearest[start:stop] - start)
        points = grid[own], [0, grid[own].size]
        assert np.array_equal(apart[:, own], separated_growth(one[0], [0, stop - start], *points))
        assert np.array_equal(enough[:, own], cover_growth(*one, [0, stop - start], *points))
        for name, single in lower_tail(one[0], [0, stop - start]).items():
            assert np.array_equal(tail[name][[a]], single, equal_nan=True)
        for curve in (apart[:, own], enough[:, own]):
            assert np.all((curve >= 1) & (curve <= grid[own]))
            assert np.all(np.diff(curve, axis=1) >= 0)


@given(SEEDS)
def test_rotation_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, 40, 5)
    turned = vectors @ ortho_group.rvs(5, random_state=rng)
    before, after = causal_novelty(vectors, [0, 40]), causal_novelty(turned, [0, 40])
    assume(np.array_equal(before[1], after[1]))
    assume(min(np.nanmin(np.abs(before[0] - r)) for r in RADII) > 1e-5)
    assert np.array_equal(separated_growth(before[0], *whole(40)), separated_growth(after[0], *whole(40)))
    tails = lower_tail(before[0], [0, 40]), lower_tail(after[0], [0, 40])
    assert tails[0].keys() == tails[1].keys()
    assert all(tails[0][name] == pytest.approx(tails[1][name]) for name in RADII_KEYS)


@given(st.lists(st.floats(0, 2, width=32), min_size=1, max_size=40), st.randoms())
def test_lower_tail_is_counting_and_takes_any_order(values: list[float], shuffler: object) -> None:
    kept = [v for v in values if v > 1e-5]
    tail = lower_tail(np.array([NAN, *values]), [0, len(values) + 1], hole=0.2, exponent=2)
    mixed = list(values)
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    again = lower_tail(np.array([NAN, *mixed]), [0, len(values) + 1], hole=0.2, exponent=2)
    assert list(tail) == [*RADII_KEYS, "novelty_hole"]
    for name, value in tail.items():
        assert np.array_equal(value, again[name], equal_nan=True)
    if not kept:
        assert all(np.isnan(value[0]) for value in tail.values())
        return
    assert tail["novelty_below_0.1"][0] == pytest.approx(sum(v < 0.1 for v in kept) / len(kept))
    near, ring = sum(v < 0.2 for v in kept), sum(0.2 <= v < 0.4 for v in kept)
    assert tail["novelty_hole"][0] == pytest.approx(np.log((near + 0.5) / (ring / 3 + 0.5)))


def test_the_hole_has_the_stated_sign() -> None:
    rng = np.random.default_rng(5)
    flat = rng.uniform(0, 1, 20_000)
    square = np.sqrt(flat)

    def hole(novelty: np.ndarray, exponent: float = 1.0) -> float:
        return float(lower_tail(novelty, [0, novelty.size], exponent=exponent)["novelty_hole"][0])

    assert hole(flat) == pytest.approx(0, abs=0.08)
    assert hole(square, exponent=2.0) == pytest.approx(0, abs=0.2)
    assert hole(flat[flat > 0.08]) < -1
    assert hole(np.concatenate([flat, np.full(20_000, 0.01)])) > 1


def test_every_keyword_changes_something() -> None:
    value = np.array([NAN, 0.0, 0.02, 0.12, 0.13, 0.3, 0.9])
    grid, cut = np.array([7]), [0, 1]
    assert separated_growth(value, [0, 7], grid, cut, radii=[0.1]).tolist() == [[5]]
    assert separated_growth(value, [0, 7], grid, cut, radii=[0.2]).tolist() == [[3]]
    nearest = np.array([-1, 0, 1, 2, 3, 4, 5])
    assert cover_growth(value, nearest, [0, 7], grid, cut, radii=[0.1]).tolist() == [[5]]
    assert cover_growth(value, nearest, [0, 7], grid, cut, radii=[1.0]).tolist() == [[2]]
    base = lower_tail(value, [0, 7])
    assert list(lower_tail(value, [0, 7], radii=[0.5])) == ["novelty_below_0.5", "novelty_hole"]
    assert base["novelty_below_0.1"][0] == pytest.approx(1 / 5)
    assert lower_tail(value, [0, 7], repeat=None)["novelty_below_0.1"][0] == pytest.approx(2 / 6)
    assert lower_tail(value, [0, 7], repeat=0.05)["novelty_below_0.1"][0] == 0
    assert lower_tail(value, [0, 7], repeat=0.02)["novelty_below_0.1"][0] == 0
    assert base["novelty_hole"][0] == pytest.approx(np.log(1.5 / 2.5))
    assert lower_tail(value, [0, 7], exponent=2)["novelty_hole"][0] == pytest.approx(
        np.log(1.5 / (2 / 3 + 0.5))
    )
    assert lower_tail(value, [0, 7], hole=0.15)["novelty_hole"][0] == pytest.approx(np.log(3.5 / 0.5))


def test_empty_and_single() -> None:
    none = np.array([], dtype=np.float32)
    for batch, accounts in (([0], 0), ([0, 0, 0], 2)):
        grid_offsets = [0] * (accounts + 1)
        grid = np.array([], dtype=np.int64)
        assert separated_growth(none, batch, grid, grid_offsets).shape == (len(RADII), 0)
        assert cover_growth(none, grid, batch, grid, grid_offsets, radii=[]).shape == (0, 0)
        assert all(np.isnan(v).all() and v.shape == (accounts,) for v in lower_tail(none, batch).values())
    assert separated_growth(np.array([NAN]), *whole(1), radii=[0.1]).tolist() == [[1]]
    assert np.isnan(lower_tail(np.array([NAN]), [0, 1])["novelty_hole"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"novelty": np.array([NAN, -0.1])}, "novelty: expected 0 to 2 or NaN, got -0.1"),
        ({"novelty": np.array([NAN, np.inf])}, "novelty: expected 0 to 2 or NaN"),
        ({"novelty": np.array([0, 1])}, "novelty: expected floats of shape"),
        ({"nearest": np.array([-1, 1])}, "nearest: expected an earlier row"),
        ({"nearest": np.array([-1, -1])}, "nearest: expected -1 exactly where novelty is NaN"),
        ({"nearest": np.array([0, 0])}, "nearest: expected -1 exactly where novelty is NaN"),
        ({"nearest": np.array([-1.0, 0.0])}, "nearest: expected integers of shape"),
        ({"offsets": [0, 1]}, "offsets: expected to end at the number of rows"),
        ({"grid": np.array([3])}, "grid: expected points from 1"),
        ({"radii": [-0.1]}, "radii: expected finite numbers of 0 and up"),
        ({"radii": [NAN]}, "radii: expected finite numbers of 0 and up"),
    ],
)
def test_mistakes_of_the_caller(change: dict[str, object], message: str) -> None:
    call: dict[str, object] = {
        "novelty": np.array([NAN, 0.5]),
        "nearest": np.array([-1, 0]),
        "offsets": [0, 2],
        "grid": np.array([2]),
        "grid_offsets": [0, 1],
    }
    with pytest.raises(ValueError, match=message):
        cover_growth(**(call | change))  # type: ignore[arg-type]


def test_nearest_of_another_account() -> None:
    value, nearest = np.array([NAN, NAN, 0.5]), np.array([-1, -1, 0])
    with pytest.raises(ValueError, match="nearest: expected an earlier row of the same account"):
        cover_growth(value, nearest, [0, 1, 3], np.array([1, 2]), [0, 1, 2])


@pytest.mark.parametrize("option", ["hole", "exponent"])
@pytest.mark.parametrize("value", [0.0, -1.0, NAN, np.inf])
def test_options_of_the_tail_that_make_no_sense(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option}: expected a number above 0"):
        lower_tail(np.array([NAN, 0.5]), [0, 2], **{option: value})  # type: ignore[arg-type]


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(covering)
    assert result.attempted > 0
    assert result.failed == 0
