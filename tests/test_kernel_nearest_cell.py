"""`nearest_cell` against float64 on both paths; the Triton kernel in its interpreter and compiler."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from coverage_kernels import backends
from coverage_kernels.nearest_cell import blocked, nearest_cell, reference
from support import interpreter

triton_needed = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None,
    reason="torch or triton is not installed (the `test` extra has both on Linux x86-64)",
)

SHAPES = [(0, 5, 8), (1, 1, 16), (2, 2, 1), (63, 31, 16), (65, 97, 17), (32, 64, 384), (7, 300, 64)]


def unit(rows: int, dim: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


def near_ties(rows: int, dim: int, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors with two centroids each whose products differ by about `gap` either way, at odd places."""
    draw = np.random.default_rng(seed)
    vectors = unit(rows, dim, seed)
    one = unit(rows, dim, seed + 1) * 0.3 + vectors
    other = one + gap * draw.standard_normal((rows, 1)) * vectors + 0.3 * unit(rows, dim, seed + 2)
    other -= 0.3 * (unit(rows, dim, seed + 2) * vectors).sum(axis=1, keepdims=True) * vectors
    return vectors, np.concatenate([one, other])[draw.permutation(2 * rows)].astype(np.float32)


def oracle(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cell and margin from sums of exact products, rounded to float64 once per sum (`math.fsum`)."""
    from math import fsum

    products = np.array(
        [
            [fsum((row * key).tolist()) for key in centroids.astype(np.float64)]
            for row in vectors.astype(float)
        ]
    ).reshape(len(vectors), len(centroids))
    ordered = np.sort(products, axis=1)
    second = ordered[:, -2] if len(centroids) > 1 else np.full(len(vectors), -np.inf)
    return products.argmax(axis=1), ordered[:, -1] - second


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("block", [1, 7, 1024])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cpu_and_reference_agree_with_exact_sums(shape, block: int, kind: type) -> None:
    rows, count, dim = shape
    vectors, centroids = unit(rows, dim, 1, kind), unit(count, dim, 2)
    cell, margin = oracle(vectors, centroids)
    found = nearest_cell(vectors, centroids, block=block, backend="cpu")
    plain = reference.nearest_cell(vectors, centroids)
    assert found.cells.dtype == np.int32
    assert found.margin.dtype == np.float32
    assert np.array_equal(found.cells[:, 0], cell)
    assert np.array_equal(plain[0], cell)
    # Two float32 products of unit rows.
    assert np.allclose(found.margin, margin, rtol=1e-6, atol=1e-6)
    assert np.allclose(plain[1], margin, rtol=1e-6, atol=1e-7)


def test_near_ties_are_settled_as_exact_sums_would() -> None:
    vectors, centroids = near_ties(150, 48, 3e-8, 3)
    cell, margin = oracle(vectors, centroids)
    careless = (vectors @ centroids.T).argmax(axis=1)
    assert (careless != cell).any(), "the case is too easy to show anything"
    found = nearest_cell(vectors, centroids, backend="cpu")
    assert found.rechecked.any()
    assert np.array_equal(found.cells[:, 0], cell)
    assert np.all(found.margin >= 0)
    assert np.allclose(found.margin[found.rechecked], margin[found.rechecked], rtol=1e-6, atol=1e-14)


def test_a_clear_margin_is_not_rechecked() -> None:
    vectors = np.eye(8, dtype=np.float32)
    found = nearest_cell(vectors, vectors, backend="cpu")
    assert not found.rechecked.any()
    assert np.array_equal(found.cells[:, 0], np.arange(8))
    assert np.array_equal(found.margin, np.ones(8))


def test_equal_centroids_give_the_lowest_id_and_no_margin() -> None:
    centroids = np.repeat(unit(40, 96, 4), 3, axis=0)[np.random.default_rng(5).permutation(120)]
    first = np.array([np.flatnonzero((centroids == row).all(axis=1))[0] for row in centroids])
    found = nearest_cell(centroids, centroids, backend="cpu")
    assert np.array_equal(found.cells[:, 0], first)
    assert np.array_equal(found.margin, np.zeros(120))
    assert found.rechecked.all()


def test_all_levels_come_in_one_call() -> None:
    parents = np.stack([np.arange(12) // 6, np.arange(12) // 3, np.arange(12)])
    vectors, centroids = unit(50, 16, 6), unit(12, 16, 7)
    found = nearest_cell(vectors, centroids, parents=parents)
    fine = nearest_cell(vectors, centroids).cells[:, 0]
    assert found.cells.dtype == np.int32
    assert np.array_equal(found.cells, np.stack([fine // 6, fine // 3, fine], axis=1))
    assert found.cells.flags.c_contiguous


def test_the_cpu_never_holds_more_products_than_a_block() -> None:
    import tracemalloc

    vectors, centroids = unit(4000, 8, 8), unit(2000, 8, 9)
    tracemalloc.start()
    blocked.nearest_cell(vectors, centroids, block=64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All products would take 32 MB, a block half of one; float64 rechecks go in blocks of 8 MB.
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("vectors", "centroids", "options", "message"),
    [
        (np.eye(3), np.zeros((0, 3)), {}, "centroids: expected 1 or more, got none"),
        (np.eye(3), np.eye(4), {}, "vectors: expected rows of length 4"),
        (np.eye(3, dtype=int), np.eye(3), {}, "vectors: expected floats of shape"),
        (np.array([[0, np.nan, 0]]), np.eye(3), {}, "vectors: expected finite rows, got another in row 0"),
        (np.eye(3), np.full((3, 3), np.inf), {}, "centroids: expected finite rows"),
        (np.eye(3), np.eye(3), {"block": 0}, "block: expected 1 or more, got 0"),
        (np.eye(3), np.eye(3), {"parents": np.zeros((3, 2), int)}, r"parents: expected integers of shape"),
        (np.eye(3), np.eye(3), {"parents": np.zeros((1, 3))}, "parents: expected integers"),
        (np.eye(3), np.eye(3), {"backend": "gpu"}, "backend: expected 'auto', 'cpu' or 'triton'"),
    ],
)
def test_errors(vectors, centroids, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_cell(vectors, centroids, **options)


def test_a_backend_asked_for_by_name_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "_DRIVER_FILES", ())
    with pytest.raises(RuntimeError, match="'triton' was asked for, but there is no NVIDIA driver"):
        nearest_cell(np.eye(3), np.eye(3), backend="triton")


@triton_needed
@pytest.mark.parametrize("blocks", [(16, 16, 16), (32, 64, 32)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_triton_finds_the_two_largest(interpreted, shape, blocks) -> None:
    rows, count, dim = shape
    vectors, centroids = unit(rows, dim, 10, np.float16), unit(count, dim, 11, np.float16)
    cell, highest, second = interpreted.submit(interpreter.top2, vectors, centroids, blocks).result()
    products = np.sort(vectors.astype(np.float64) @ centroids.astype(np.float64).T, axis=1)
    assert np.allclose(highest, products[:, -1], rtol=0, atol=2e-6)
    if count > 1:
        assert np.allclose(second, products[:, -2], rtol=0, atol=2e-6)
    else:
        assert np.all(np.isneginf(second))
    reached = (vectors.astype(np.float64) * centroids[cell].astype(np.float64)).sum(axis=1)
    assert np.allclose(reached, highest, rtol=0, atol=2e-6)


@triton_needed
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_triton_agrees_with_exact_sums(interpreted, shape, dtype: str) -> None:
    rows, count, dim = shape
    given = unit(rows, dim, 12), unit(count, dim, 13)
    cell, margin, rechecked, vectors = interpreted.submit(interpreter.nearest, *given, dtype).result()
    want, lead = oracle(vectors, given[1])
    assert np.array_equal(cell, want)
    # Twice the bound of two roundings to float16 of unit rows.
    assert np.allclose(margin, lead, rtol=1e-6, atol=4 * 2.0**-11 + 1e-4)
    assert np.allclose(margin[rechecked], lead[rechecked], rtol=1e-6, atol=1e-7)


@triton_needed
def test_triton_near_ties_are_settled_as_exact_sums_would(interpreted) -> None:
    vectors, centroids = near_ties(90, 64, 1e-4, 14)
    want, _ = oracle(vectors, centroids)
    careless, *_ = interpreted.submit(
        interpreter.top2, vectors.astype(np.float16), centroids.astype(np.float16)
    ).result()
    assert (careless != want).any(), "the case is too easy to show anything"
    cell, _, rechecked, _ = interpreted.submit(interpreter.nearest, vectors, centroids).result()
    assert np.array_equal(cell, want)
    assert rechecked.any()


@triton_needed
def test_triton_settles_vectors_beyond_float16(interpreted) -> None:
    vectors, centroids = unit(20, 16, 15) * np.float32(1e6), unit(30, 16, 16)
    cell, _, rechecked, _ = interpreted.submit(interpreter.nearest, vectors, centroids).result()
    assert np.array_equal(cell, oracle(vectors, centroids)[0])
    assert rechecked.all()


@triton_needed
def test_triton_gives_equal_centroids_the_lowest_id(interpreted) -> None:
    centroids = np.repeat(unit(20, 32, 17), 3, axis=0)[np.random.default_rng(18).permutation(60)]
    first = np.array([np.flatnonzero((centroids == row).all(axis=1))[0] for row in centroids])
    cell, margin, *_ = interpreted.submit(interpreter.nearest, centroids, centroids).result()
    assert np.array_equal(cell, first)
    assert np.array_equal(margin, np.zeros(60))


@triton_needed
def test_the_public_function_runs_triton_when_asked(interpreted) -> None:
    vectors, centroids = unit(40, 16, 19), unit(12, 16, 20)
    parents = np.stack([np.arange(12) // 4, np.arange(12)])
    cells, margin, rechecked = interpreted.submit(
        interpreter.nearest_from_host, vectors[:, ::-1], centroids[:, ::-1], parents
    ).result()
    want = nearest_cell(vectors, centroids, parents=parents, backend="cpu")
    assert np.array_equal(cells, want.cells)
    assert np.allclose(margin, want.margin, atol=4 * 2.0**-11)
    assert rechecked.dtype == np.bool_
