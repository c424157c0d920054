"""The tiled novelty kernel against its reference and a float64 oracle, on hostile shapes."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks.kernels import Op, benchmark
from benchmarks.options import DeviceChoice
from coverage_kernels.causal_novelty import blocked, causal_novelty, reference
from hypothesis import given, settings
from hypothesis import strategies as st

#: Largest gap to the float64 oracle on the same (rounded) vectors: rounding of float32 products at d <= 384.
#: Float16 vectors are widened before they are multiplied, so they get the same; their norms differ from 1.
TOLERANCE = {np.float16: 2e-6, np.float32: 2e-6, np.float64: 2e-6}

HOSTILE_LENGTHS = {
    "no segments": [],
    "empty segments": [0, 0, 3, 0, 5, 0],
    "one row": [1],
    "ones": [1] * 40,
    "two": [2],
    "63": [63],
    "around the small limit": [blocked.SMALL - 1, blocked.SMALL, blocked.SMALL + 1],
    "prime": [257],
    "many tiny": [1, 2, 3, 4, 5, 6, 7] * 30,
    "tiny around one long": [2, 0, 311, 2, 1],
}


def unit(rows: int, dim: int, seed: int, dtype: type = np.float32) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


def cut(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths])


def oracle(vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the largest earlier product of each row in float64; −inf for first rows."""
    wide = vectors.astype(np.float64)
    best = np.full(len(wide), -np.inf)
    for start, stop in pairwise(offsets):
        for i in range(start + 1, stop):
            best[i] = max(float(wide[i] @ wide[j]) for j in range(start, i))
    return best


def check(vectors: np.ndarray, offsets: np.ndarray, *, tile: int = 1024) -> None:
    tolerance = TOLERANCE[vectors.dtype.type]
    best = oracle(vectors, offsets)
    first = np.isneginf(best)
    for novelty, nearest in (
        causal_novelty(vectors, offsets, tile=tile),
        reference.causal_novelty(vectors, offsets),
    ):
        assert novelty.dtype == np.float32
        assert nearest.dtype == np.int64
        assert np.array_equal(np.isnan(novelty), first)
        assert np.array_equal(nearest == -1, first)
        assert np.allclose(novelty[~first], np.clip(1 - best[~first], 0, 2), rtol=0, atol=tolerance)
        rows = np.flatnonzero(~first)
        starts = offsets[np.searchsorted(offsets, rows, side="right") - 1]
        assert np.all((starts <= nearest[rows]) & (nearest[rows] < rows))
        wide = vectors.astype(np.float64)
        reached = (wide[rows] * wide[nearest[rows]]).sum(axis=1)
        assert np.allclose(reached, best[rows], rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("lengths", HOSTILE_LENGTHS.values(), ids=HOSTILE_LENGTHS.keys())
def test_hostile_shapes(lengths: list[int], dtype: type) -> None:
    check(unit(sum(lengths), 17, 1, dtype), cut(lengths))


@pytest.mark.parametrize("tile", [1, 2, 7, 16, 100, 101, 102, 1024])
def test_any_tile(tile: int) -> None:
    check(unit(310, 33, 2), cut([101, 2, 64, 0, 143]), tile=tile)


@pytest.mark.parametrize("dim", [1, 2, 384])
def test_any_dimension(dim: int) -> None:
    check(unit(150, dim, 3), cut([70, 80]), tile=32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=6), st.integers(1, 8), st.integers(1, 25), st.integers(0, 99))
def test_any_cut(lengths: list[int], dim: int, tile: int, seed: int) -> None:
    check(unit(sum(lengths), dim, seed), cut(lengths), tile=tile)


@pytest.mark.parametrize("tile", [4, 1024])
@pytest.mark.parametrize("length", [3, 20, 90])
def test_negative_similarities_are_not_read_as_zero(length: int, tile: int) -> None:
    # A simplex: all cosines are −1/(length − 1).
    centred = np.eye(length) - 1 / length
    vectors = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
    novelty, _ = causal_novelty(vectors, [0, length], tile=tile)
    assert np.allclose(novelty[1:], 1 + 1 / (length - 1), atol=1e-6)


@pytest.mark.parametrize("tile", [3, 8, 1024])
def test_ties_go_to_the_earliest_row(tile: int) -> None:
    # Coordinate vectors make exact products in any order of summation.
    which = np.random.default_rng(7).integers(0, 5, 150)
    vectors = np.eye(5, dtype=np.float32)[which]
    novelty, nearest = causal_novelty(vectors, [0, 50, 150], tile=tile)
    for start, stop in ((0, 50), (50, 150)):
        for i in range(start + 1, stop):
            same = [j for j in range(start, i) if which[j] == which[i]]
            assert nearest[i] == (same[0] if same else start)
            assert novelty[i] == (0 if same else 1)


def test_duplicates_are_within_rounding_of_zero_and_never_below() -> None:
    vectors = np.repeat(unit(100, 384, 5), 3, axis=0)
    novelty, nearest = causal_novelty(vectors, [0, 300])
    again = np.arange(300) % 3 > 0
    assert np.all(novelty[again] <= 1e-6)
    assert np.all(novelty[1:] >= 0)
    assert np.array_equal(nearest[again] // 3, np.arange(300)[again] // 3)


def test_opposite_rows_have_novelty_two() -> None:
    row = unit(1, 50, 6)
    assert causal_novelty(np.concatenate([row, -row]), [0, 2])[0][1] == pytest.approx(2, abs=1e-6)


def test_later_rows_and_other_segments_do_not_matter() -> None:
    vectors, offsets = unit(300, 20, 8), np.array([0, 100, 300])
    before = causal_novelty(vectors, offsets, tile=64)
    changed = vectors.copy()
    changed[:100] = unit(100, 20, 9)
    changed[221:] = unit(79, 20, 10)
    after = causal_novelty(changed, offsets, tile=64)
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old[100:221], new[100:221], equal_nan=True)
        assert not np.array_equal(old[221:], new[221:])


@pytest.mark.parametrize("view", ["columns", "rows", "backwards", "fortran"])
def test_vectors_that_are_not_contiguous(view: str) -> None:
    vectors = unit(200, 16, 11)
    wide = np.full((400, 32), np.nan, dtype=np.float32)
    if view == "columns":
        wide[:200, ::2] = vectors
        strided = wide[:200, ::2]
    elif view == "rows":
        wide[::2, :16] = vectors
        strided = wide[::2, :16]
    elif view == "backwards":
        strided = vectors[::-1].copy()[::-1]
    else:
        strided = np.asfortranarray(vectors)
    assert np.array_equal(strided, vectors)
    check(strided, cut([150, 3, 47]), tile=40)


def test_input_is_left_as_it_was_and_may_be_read_only() -> None:
    vectors, offsets = unit(150, 12, 12), np.array([0, 20, 150])
    vectors.setflags(write=False)
    offsets.setflags(write=False)
    before = vectors.tobytes()
    causal_novelty(vectors, offsets, tile=32)
    assert vectors.tobytes() == before


def test_no_square_is_formed() -> None:
    rows, tile = 6000, 256
    vectors = unit(rows, 8, 13)
    tracemalloc.start()
    causal_novelty(vectors, [0, rows], tile=tile)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The square would take 144 MB.
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("vectors", "offsets", "options", "message"),
    [
        (np.eye(3), [1, 3], {}, "offsets: expected to start at 0, got 1"),
        (np.eye(3), [0, 2], {}, r"offsets: expected to end at the number of rows \(3\), got 2"),
        (np.eye(3), [0, 3, 2, 3], {}, "offsets: expected never to fall"),
        (np.eye(3), [0.0, 3.0], {}, "offsets: expected integers"),
        (np.eye(3, dtype=np.int64), [0, 3], {}, "vectors: expected floats"),
        (np.ones(3), [0, 3], {}, r"vectors: expected floats of shape \(n, d\)"),
        (np.eye(3), [0, 3], {"tile": 0}, "tile: expected 1 or more, got 0"),
        (np.array([[1, 0], [np.nan, 1]]), [0, 2], {}, "norm 1, got nan in row 1"),
        (np.array([[1, 0], [np.inf, 1]]), [0, 2], {}, "norm 1, got inf in row 1"),
        (np.array([[0.0, 0], [1, 0]]), [0, 2], {}, r"norm 1, got 0 in row 0 \(1 such rows\)"),
        (np.array([[1, 0], [1, 1]]) * 1.0, [0, 2], {}, "norm 1, got 1.414 in row 1"),
    ],
)
def test_errors(vectors: np.ndarray, offsets: list[float], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_novelty(vectors, np.array(offsets), **options)


def test_the_benchmark_writes_rows_after_checking_itself(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    benchmark(ops=[Op.causal_novelty], scale=0.03, device=DeviceChoice.cpu, repeats=2, out=out)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["case"] for row in rows} == {"one long", "accounts of 300", "accounts of 10"}
    for row in rows:
        assert {"device", "numpy", "python", "commit", "threads", "max_gap"} <= set(row)
        assert row["p10_s"] <= row["median_s"] <= row["p90_s"]
        assert row["speedup"] == pytest.approx(row["baseline_median_s"] / row["median_s"], rel=1e-2)
