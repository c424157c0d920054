"""Vendi scores against vendi-score 0.0.3 and NumPy's full square; Gram matrices split and merged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, ortho_group
from vendi_score import vendi as vendi_score

from coverage_lab.measures import spectrum
from coverage_lab.measures import vector_rows as rows_of_accounts
from coverage_lab.measures.spectrum import gram, gram_vendi, random_projection, rke, vendi

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=6)
ORDERS = [0.3, 0.5, 1.0, 1.5, 2.0, 7.0, np.inf]


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.standard_normal((n, d)) * rng.uniform(0.1, 2, d)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute(rows: np.ndarray, order: float) -> float:
    """Follow the definition through the whole n × n square and SciPy's entropy."""
    share = np.linalg.svd(rows @ rows.T / len(rows), compute_uv=False)
    share = share[share > 1e-12]
    if order == 1:
        return float(np.exp(entropy(share)))
    return float(1 / share.max()) if order == np.inf else float((share**order).sum() ** (1 / (1 - order)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("n", "d"), [(1, 4), (3, 8), (8, 8), (9, 8), (63, 7), (40, 61)])
def test_vendi_is_that_of_the_package_and_of_brute_force(n: int, d: int, order: float) -> None:
    rows = unit(np.random.default_rng(n * 1000 + d), n, d)
    # score_dual heeds q; score_X ignores it, so it is no oracle for other orders.
    published = vendi_score.score_dual(rows, q="inf" if order == np.inf else order)
    # Its rounding noise counts as directions at orders below 1: 1e−16 each, to the power of the order.
    loose = 1e-10 if order >= 1 else 1e-3
    assert vendi(rows, [0, n], order=order)[0] == pytest.approx(published, rel=loose)
    for got in (vendi(rows, [0, n], order=order)[0], gram_vendi(gram(rows, [0, n]), order=order)[0]):
        assert got == pytest.approx(brute(rows, order), rel=1e-9)
        assert 1 - 1e-12 <= got <= min(n, d) + 1e-9


def test_order_changes_the_answer_and_one_is_the_limit() -> None:
    rows = unit(np.random.default_rng(1), 30, 6)
    scores = [vendi(rows, [0, 30], order=q)[0] for q in (0.0, *ORDERS)]
    assert scores[0] == pytest.approx(6)
    assert np.all(np.diff(scores) < -1e-3)
    for q in (1 - 1e-6, 1 + 1e-6):
        assert vendi(rows, [0, 30], order=q)[0] == pytest.approx(vendi(rows, [0, 30])[0], rel=1e-5)
    assert vendi(rows, [0, 30], order=1e6)[0] == pytest.approx(scores[-1], rel=1e-5)
    state = gram(rows, [0, 30])
    assert gram_vendi(state, order=3)[0] < gram_vendi(state)[0] - 1e-3


@pytest.mark.parametrize(("n", "side"), [(3, 3), (8, 5)])
def test_the_smaller_matrix_is_taken_apart(monkeypatch: pytest.MonkeyPatch, n: int, side: int) -> None:
    shapes = []
    hill = spectrum._hill

    def watched(similarity: np.ndarray, order: float) -> np.ndarray:
        shapes.append(similarity.shape)
        return hill(similarity, order)

    monkeypatch.setattr(spectrum, "_hill", watched)
    vendi(unit(np.random.default_rng(2), 2 * n, 5), [0, n, 2 * n])
    assert shapes == [(2, side, side)]


def test_rank_counts_no_rounding_noise() -> None:
    rng = np.random.default_rng(3)
    flat = unit(rng, 50, 3) @ ortho_group.rvs(20, random_state=rng)[:3]
    assert vendi(flat, [0, 50], order=0)[0] == pytest.approx(3, abs=1e-9)
    assert vendi(flat[:10], [0, 10], order=0)[0] == pytest.approx(3, abs=1e-9)
    assert vendi(flat, [0, 50], order=0.01)[0] < 3.001


def test_closed_forms() -> None:
    basis = np.eye(5)
    state = gram(basis, [0, 5])
    for order in (0, *ORDERS):
        assert gram_vendi(state, order=order)[0] == pytest.approx(5)
        assert vendi(np.tile(basis[:1], (7, 1)), [0, 7], order=order)[0] == pytest.approx(1)
    # Two prompts with cosine c: eigenvalues (1 ± c)/2, mean squared cosine (1 + c²)/2.
    c = 0.6
    pair = np.array([[1.0, 0.0], [c, np.sqrt(1 - c * c)]])
    assert vendi(pair, [0, 2])[0] == pytest.approx(np.exp(entropy([0.8, 0.2])))
    plain, unbiased = rke(gram(pair, [0, 2]))
    assert plain[0] == pytest.approx(2 / (1 + c * c))
    assert unbiased[0] == pytest.approx(1 / c**2)
    plain, unbiased = rke(state)
    assert plain[0] == pytest.approx(5)
    assert unbiased[0] == np.inf


@given(SEEDS, st.integers(2, 20), st.integers(2, 6))
def test_rke_is_the_mean_squared_cosine(seed: int, n: int, d: int) -> None:
    rows = unit(np.random.default_rng(seed), n, d)
    cosines = rows @ rows.T
    state = gram(rows, [0, n])
    plain, unbiased = rke(state)
    assert plain[0] == pytest.approx(1 / np.mean(cosines**2))
    assert plain[0] == pytest.approx(gram_vendi(state, order=2)[0])
    assert unbiased[0] == pytest.approx(1 / np.mean(cosines[~np.eye(n, dtype=bool)] ** 2), rel=1e-6)
    assert plain[0] * (1 + 1e-12) >= 1
    assert plain[0] <= min(n, d) * (1 + 1e-12)
    assert unbiased[0] >= plain[0] * (1 - 1e-12)


def test_without_the_diagonal_the_mean_squared_cosine_is_unbiased() -> None:
    # Directions uniform on the sphere in d dimensions have an expected squared cosine of 1/d.
    rng = np.random.default_rng(7)
    n, d, accounts = 5, 8, 4000
    rows = rng.standard_normal((n * accounts, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    plain, unbiased = rke(gram(rows, np.arange(0, n * accounts + 1, n)))
    inverse = 1 / unbiased
    error = inverse.std() / np.sqrt(accounts)
    assert inverse.mean() == pytest.approx(1 / d, abs=4 * error)
    assert (1 / plain).mean() > 1 / d + 20 * error


@given(LENGTHS, SEEDS, st.integers(1, 7))
def test_batch_equals_one_at_a_time(lengths: list[int], seed: int, d: int) -> None:
    offsets = np.cumsum([0, *lengths])
    rows = unit(np.random.default_rng(seed), int(offsets[-1]), d).astype(np.float32)
    state = gram(rows, offsets)
    scores, from_state, (plain, unbiased) = vendi(rows, offsets), gram_vendi(state), rke(state)
    for a, (start, stop) in enumerate(pairwise(offsets.tolist())):
        one = rows[start:stop].astype(np.float64)
        one /= np.linalg.norm(one, axis=1, keepdims=True)
        assert np.allclose(state[a], one.T @ one, rtol=0, atol=1e-12)
        if stop == start:
            assert np.isnan([scores[a], from_state[a], plain[a], unbiased[a]]).all()
            continue
        assert scores[a] == pytest.approx(vendi(rows[start:stop], [0, stop - start])[0], rel=1e-12)
        assert from_state[a] == pytest.approx(scores[a], rel=1e-9)
        assert np.isnan(unbiased[a]) == (stop - start < 2)


@given(SEEDS, st.integers(0, 15), st.integers(0, 15))
def test_gram_matrices_add_and_take_any_order(seed: int, first: int, second: int) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng, first + second, 4)
    whole = gram(rows, [0, first + second])
    merged = gram(rows[:first], [0, first]) + gram(rows[first:], [0, second])
    assert np.allclose(whole, merged, rtol=0, atol=1e-13 * (1 + first + second))
    assert np.trace(whole[0]) == pytest.approx(first + second)
    mixed = gram(rows[rng.permutation(first + second)], [0, first + second])
    assert np.allclose(whole, mixed, rtol=0, atol=1e-13 * (1 + first + second))


def test_gram_matrices_of_exact_numbers_add_exactly() -> None:
    rows = np.concatenate([np.eye(4), -np.eye(4), np.eye(4)[[0, 0, 2]]])
    assert np.array_equal(gram(rows, [0, 11]), gram(rows[:5], [0, 5]) + gram(rows[5:], [0, 6]))
    assert np.array_equal(gram(rows, [0, 11])[0], np.diag([4.0, 2, 3, 2]))


@given(SEEDS, st.integers(1, 20))
def test_rotation_changes_no_score(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng, n, 5)
    turned = rows @ ortho_group.rvs(5, random_state=rng)
    for order in (0.5, 1, 2):
        assert vendi(turned, [0, n], order=order)[0] == pytest.approx(vendi(rows, [0, n], order=order)[0])
    assert np.allclose(rke(gram(turned, [0, n])), rke(gram(rows, [0, n])), rtol=1e-6, equal_nan=True)


def test_long_accounts_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit(np.random.default_rng(4), 210, 5)
    offsets = [0, 100, 103, 106, 206, 210]
    before = gram(rows, offsets), vendi(rows, offsets)
    monkeypatch.setattr(rows_of_accounts, "_BLOCK", 64)
    after = gram(rows, offsets), vendi(rows, offsets)
    assert np.allclose(before[0], after[0], rtol=0, atol=1e-12)
    assert np.allclose(before[1], after[1], rtol=1e-12)


def test_half_precision_and_strided_rows() -> None:
    rows = unit(np.random.default_rng(5), 60, 9)
    half = np.asfortranarray(np.repeat(rows.astype(np.float16), 2, axis=0))[::2]
    assert vendi(half, [0, 60])[0] == pytest.approx(vendi(rows, [0, 60])[0], rel=1e-3)
    assert gram(half, [0, 60]).dtype == np.float64
    assert np.trace(gram(half, [0, 60])[0]) == pytest.approx(60, rel=1e-12)


def test_projection_bounds_the_state_and_keeps_what_it_says() -> None:
    rng = np.random.default_rng(6)
    # All prompts within 6 of 64 dimensions, projected to 32: the spectrum stays about the same.
    rows = unit(rng, 300, 6) @ ortho_group.rvs(64, random_state=rng)[:6]
    matrix = random_projection(64, 32, seed=1)
    state = gram(rows, [0, 300], projection=matrix)
    assert state.shape == (1, 32, 32)
    assert np.trace(state[0]) == pytest.approx(300)
    assert gram_vendi(state)[0] == pytest.approx(vendi(rows, [0, 300])[0], rel=0.25)
    assert not np.allclose(state, gram(rows, [0, 300], projection=random_projection(64, 32, seed=2)))
    # The identity projects nothing away.
    assert np.allclose(gram(rows, [0, 300], projection=np.eye(64)), gram(rows, [0, 300]))
    # By hand: projected and scaled again.
    low = rows @ matrix
    low /= np.linalg.norm(low, axis=1, keepdims=True)
    assert np.allclose(state[0], low.T @ low)


def test_random_projection_keeps_cosines_on_average() -> None:
    assert np.array_equal(random_projection(5, 3), random_projection(5, 3, seed=0))
    assert not np.array_equal(random_projection(5, 3), random_projection(5, 3, seed=1))
    rows = unit(np.random.default_rng(8), 2, 10)
    products = [np.prod(rows @ random_projection(10, 4, seed=s), axis=0).sum() for s in range(2000)]
    cosine = float(rows[0] @ rows[1])
    # Variance of one product of p Gaussian projections: (1 + c²)/p.
    assert np.var(products) == pytest.approx((1 + cosine**2) / 4, rel=0.15)
    assert np.mean(products) == pytest.approx(cosine, abs=4 * np.sqrt((1 + cosine**2) / 4 / 2000))


def test_empty_batches() -> None:
    none = np.empty((0, 3))
    assert gram(none, [0]).shape == (0, 3, 3)
    assert (
        vendi(none, [0]).shape == gram_vendi(gram(none, [0])).shape == rke(gram(none, [0]))[0].shape == (0,)
    )
    assert np.isnan(vendi(none, [0, 0])).all()
    assert np.array_equal(gram(none, [0, 0]), np.zeros((1, 3, 3)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            np.array([[1.0, 0.0], [np.nan, 0.0]]),
            "vectors: expected finite numbers, got NaN or infinity in row 1",
        ),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), "vectors: expected rows of norm 1, got 0 in row 1"),
        (np.array([[1, 0], [0, 1]]), "vectors: expected floats of shape"),
        (np.array([1.0, 0.0]), "vectors: expected floats of shape"),
        (np.empty((2, 0)), "vectors: expected floats of shape"),
        (np.eye(3), "offsets: expected to end at the number of rows"),
    ],
)
def test_vectors_that_are_no_unit_rows(rows: np.ndarray, message: str) -> None:
    for measure in (gram, vendi):
        with pytest.raises(ValueError, match=message):
            measure(rows, [0, 2])


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.zeros((2, 2)), "gram: expected floats of shape"),
        (np.zeros((1, 2, 3)), "gram: expected floats of shape"),
        (np.zeros((1, 2, 2), dtype=np.int64), "gram: expected floats of shape"),
        (np.full((1, 2, 2), np.inf), "gram: expected finite numbers"),
        (np.array([[[1.0, 0.5], [0.0, 1.0]]]), "gram: expected symmetric matrices"),
        (-np.eye(2)[None], "gram: expected symmetric matrices with a trace of 0 and up"),
    ],
)
def test_matrices_that_are_no_gram_matrices(matrices: np.ndarray, message: str) -> None:
    for measure in (gram_vendi, rke):
        with pytest.raises(ValueError, match=message):
            measure(matrices)


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="order: expected 0 or more, got -1"):
        vendi(np.eye(2), [0, 2], order=-1)
    with pytest.raises(ValueError, match="order: expected 0 or more, got nan"):
        gram_vendi(np.eye(2)[None], order=np.nan)
    with pytest.raises(ValueError, match="projection: expected 2 rows, got 3"):
        gram(np.eye(2), [0, 2], projection=np.eye(3))
    with pytest.raises(ValueError, match="projection: expected no row to be mapped to 0"):
        gram(np.eye(2), [0, 2], projection=np.array([[1.0], [0.0]]))
    with pytest.raises(ValueError, match="d and p: expected 1 or more, got 0 and 2"):
        random_projection(0, 2)
