"""The Triton novelty kernel, in Triton's interpreter and through its compiler, and history on every path."""

from __future__ import annotations

import importlib.util
import logging
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from coverage_kernels import backends
from coverage_kernels.causal_novelty import causal_novelty, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from support import interpreter

triton_needed = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None,
    reason="torch or triton is not installed (the `test` extra has both on Linux x86-64)",
)

#: Largest gap to float64 on the same rounded vectors. All three are summed in float32; a float16 or bfloat16
#: vector is not quite of norm 1, which the oracle shares.
TOLERANCE = {"float32": 2e-6, "float16": 2e-6, "bfloat16": 2e-6}

#: Lengths of segments and of their histories.
SHAPES = {
    "none": ([], []),
    "empty segments": ([0, 0], [3, 0]),
    "one": ([1], [0]),
    "one with a past": ([1], [1]),
    "two": ([2], [0]),
    "63 to 65": ([63, 64, 65], [1, 0, 31]),
    "prime": ([97], [37]),
    "many tiny": ([1, 2, 3, 0, 1, 1, 5] * 9, [0, 1, 0, 4, 2, 0, 1] * 9),
    "tiny around one long": ([2, 0, 301, 1, 3], [1, 5, 0, 40, 0]),
    "history alone decides": ([1] * 50, [2] * 50),
}


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cut(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths])


def check(novelty, nearest, vectors, offsets, history, history_offsets, *, tolerance=2e-6) -> None:
    """Hold an answer against products in float64, one row after another."""
    wide = vectors.astype(np.float64)
    past = np.zeros((0, vectors.shape[1])) if history is None else history.astype(np.float64)
    cuts = np.zeros(len(offsets), dtype=np.int64) if history_offsets is None else history_offsets
    everything = np.concatenate([wide, past])
    assert novelty.shape == nearest.shape == (len(vectors),)
    for (start, stop), (past_start, past_stop) in zip(pairwise(offsets), pairwise(cuts), strict=True):
        for row in range(start, stop):
            seen = [*range(len(wide) + past_start, len(wide) + past_stop), *range(start, row)]
            if not seen:
                assert np.isnan(novelty[row])
                assert nearest[row] == -1
                continue
            best = (everything[seen] @ wide[row]).max()
            assert abs(novelty[row] - min(max(1 - best, 0), 2)) <= tolerance
            assert nearest[row] in seen
            assert abs(everything[nearest[row]] @ wide[row] - best) <= tolerance


@triton_needed
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("with_history", [False, True], ids=["alone", "history"])
@pytest.mark.parametrize("lengths", SHAPES.values(), ids=SHAPES.keys())
def test_triton_on_hostile_shapes(interpreted, lengths, with_history: bool, dtype: str) -> None:
    rows, past = lengths
    history, past_cut = (unit(sum(past), 16, 2), cut(past)) if with_history else (None, None)
    call = interpreted.submit(
        interpreter.novelty, unit(sum(rows), 16, 1), cut(rows), history, past_cut, dtype
    )
    novelty, nearest, vectors, rounded = call.result()
    check(novelty, nearest, vectors, cut(rows), rounded, past_cut, tolerance=TOLERANCE[dtype])


@triton_needed
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_triton_at_the_encoder_s_width(interpreted, dtype: str) -> None:
    rows, past = [70, 1, 0, 31], [3, 0, 2, 33]
    call = interpreted.submit(
        interpreter.novelty, unit(102, 384, 3), cut(rows), unit(38, 384, 4), cut(past), dtype
    )
    novelty, nearest, vectors, history = call.result()
    check(novelty, nearest, vectors, cut(rows), history, cut(past), tolerance=TOLERANCE[dtype])


@triton_needed
@pytest.mark.parametrize("dim", [1, 17, 65])
@pytest.mark.parametrize("blocks", [(16, 32, 16), (64, 16, 32)])
def test_triton_with_any_tile_and_width(interpreted, blocks, dim: int) -> None:
    rows, past = [40, 3, 0, 61], [0, 20, 1, 17]
    call = interpreted.submit(
        interpreter.novelty, unit(104, dim, 5), cut(rows), unit(38, dim, 6), cut(past), "float32", blocks
    )
    novelty, nearest, vectors, history = call.result()
    check(novelty, nearest, vectors, cut(rows), history, cut(past))


@triton_needed
def test_triton_breaks_ties_like_the_reference(interpreted) -> None:
    # Coordinate vectors make exact products in any order of summation.
    draw = np.random.default_rng(7)
    vectors, history = (np.eye(16, dtype=np.float32)[draw.integers(0, 5, n)] for n in (110, 40))
    offsets, past_cut = cut([70, 1, 39]), cut([35, 2, 3])
    want = reference.causal_novelty(vectors, offsets, history=history, history_offsets=past_cut)
    call = interpreted.submit(interpreter.novelty, vectors, offsets, history, past_cut, "float16")
    novelty, nearest, *_ = call.result()
    assert np.array_equal(novelty, want[0], equal_nan=True)
    assert np.array_equal(nearest, want[1])
    assert (nearest >= 110).any()


@triton_needed
def test_triton_does_not_read_negative_similarities_as_zero(interpreted) -> None:
    # A simplex: all cosines are −1/49.
    centred = np.eye(50) - 1 / 50
    vectors = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
    novelty, *_ = interpreted.submit(
        interpreter.novelty, vectors, np.array([0, 50]), None, None, "float32"
    ).result()
    assert np.allclose(novelty[1:], 1 + 1 / 49, atol=1e-6)


@triton_needed
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_the_public_function_runs_triton_when_asked(interpreted, kind: type) -> None:
    vectors, history = unit(60, 16, 8).astype(kind), unit(9, 16, 9).astype(kind)
    offsets, past_cut = cut([20, 40]), cut([9, 0])
    answer = interpreted.submit(
        interpreter.novelty_from_host, vectors[:, ::-1], offsets, history[:, ::-1], past_cut
    ).result()
    assert answer[0].dtype == np.float32
    assert answer[1].dtype == np.int64
    check(*answer, vectors, offsets, history, past_cut)


@triton_needed
def test_a_tile_begins_at_the_first_segment_s_start_and_the_longest_goes_first(interpreted) -> None:
    tiles = interpreted.submit(work_list_of, cut([3, 2, 70, 1]), cut([5, 0, 2, 1]), 32).result()
    # The tiles of rows 0, 32 and 64 see the segments 0 to 2, 2, and 2 to 3: 32 + 7, 59 + 2 and 71 + 3 keys.
    assert tiles.tolist() == [[64, 5, 5, 8], [32, 5, 5, 7], [0, 0, 0, 7]]


def work_list_of(offsets, history_offsets, rows):
    from coverage_kernels.causal_novelty.triton_kernel import work_list

    return work_list(offsets, history_offsets, rows)


# ---- history on the CPU


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("tile", [1, 7, 64, 1024])
@pytest.mark.parametrize("lengths", SHAPES.values(), ids=SHAPES.keys())
def test_history_on_the_cpu(lengths, tile: int, kind: type) -> None:
    rows, past = lengths
    vectors, history = unit(sum(rows), 12, 10).astype(kind), unit(sum(past), 12, 11).astype(kind)
    given_ = (vectors, cut(rows))
    options = {"history": history, "history_offsets": cut(past)}
    check(*causal_novelty(*given_, **options, tile=tile, backend="cpu"), *given_, history, cut(past))
    check(*reference.causal_novelty(*given_, **options), *given_, history, cut(past))


@pytest.mark.parametrize("tile", [3, 16, 1024])
def test_ties_go_to_the_oldest_on_the_cpu(tile: int) -> None:
    draw = np.random.default_rng(12)
    vectors, history = (np.eye(6, dtype=np.float32)[draw.integers(0, 6, n)] for n in (180, 200))
    offsets, past_cut = cut([100, 30, 50]), cut([90, 10, 100])
    options = {"history": history, "history_offsets": past_cut}
    novelty, nearest = causal_novelty(vectors, offsets, **options, tile=tile, backend="cpu")
    which, past_which = vectors.argmax(axis=1), history.argmax(axis=1)
    for (start, stop), (past_start, past_stop) in zip(pairwise(offsets), pairwise(past_cut), strict=True):
        for row in range(start, stop):
            same = [180 + h for h in range(past_start, past_stop) if past_which[h] == which[row]]
            same += [r for r in range(start, row) if which[r] == which[row]]
            assert nearest[row] == (same[0] if same else 180 + past_start)
            assert novelty[row] == (0 if same else 1)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6),
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(0, 99),
)
def test_history_is_as_if_the_rows_had_come_first(shape, dim: int, tile: int, seed: int) -> None:
    lengths, depths = [s[0] for s in shape], [s[1] for s in shape]
    vectors, history = unit(sum(lengths), dim, seed), unit(sum(depths), dim, seed + 1)
    offsets, past_cut = cut(lengths), cut(depths)
    novelty, _ = causal_novelty(
        vectors, offsets, history=history, history_offsets=past_cut, tile=tile, backend="cpu"
    )
    joined, is_row = [], []
    for s in range(len(shape)):
        joined += [history[past_cut[s] : past_cut[s + 1]], vectors[offsets[s] : offsets[s + 1]]]
        is_row += [False] * depths[s] + [True] * lengths[s]
    both = np.concatenate([*joined, np.zeros((0, dim), dtype=np.float32)])
    alone, _ = causal_novelty(both, offsets + past_cut, backend="cpu")
    assert np.allclose(novelty, alone[np.array(is_row, dtype=bool)], atol=2e-6, equal_nan=True)


def test_history_is_taken_in_tiles() -> None:
    vectors, history = unit(100, 8, 13), unit(30_000, 8, 14)
    tracemalloc.start()
    causal_novelty(vectors, [0, 100], history=history, history_offsets=[0, 30_000], tile=100, backend="cpu")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All products would take 12 MB.
    assert peak < 1_500_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": np.eye(3)}, "history_offsets: expected with the other"),
        ({"history_offsets": [0, 3]}, "history: expected with the other"),
        ({"history": np.eye(4), "history_offsets": [0, 4]}, "history: expected rows of length 3"),
        ({"history": np.eye(3) * 2, "history_offsets": [0, 3]}, "history: expected rows of norm 1, got 2"),
        ({"history": np.eye(3), "history_offsets": [0, 2]}, "history_offsets: expected to end at"),
        ({"history": np.eye(3), "history_offsets": [0, 1, 3]}, "history_offsets: expected 1 segments"),
        ({"backend": "cuda"}, "backend: expected 'auto', 'cpu' or 'triton', got 'cuda'"),
    ],
)
def test_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_novelty(np.eye(3), [0, 3], **options)


# ---- choosing a backend


@pytest.fixture
def _no_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "_DRIVER_FILES", ())
    backends._automatic.cache_clear()
    yield
    backends._automatic.cache_clear()


@pytest.mark.usefixtures("_no_driver")
def test_a_backend_asked_for_by_name_fails_loudly() -> None:
    with pytest.raises(RuntimeError, match="'triton' was asked for, but there is no NVIDIA driver"):
        causal_novelty(np.eye(3), [0, 3], backend="triton")


@pytest.mark.usefixtures("_no_driver")
def test_auto_logs_its_choice_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="coverage_kernels")
    answers = [causal_novelty(np.eye(3), [0, 3])[0] for _ in range(3)]
    assert [record.getMessage() for record in caplog.records] == [
        "causal_novelty: backend cpu, since there is no NVIDIA driver on this machine"
    ]
    assert np.array_equal(answers[0], causal_novelty(np.eye(3), [0, 3], backend="cpu")[0], equal_nan=True)


def test_a_driver_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(backends, "_DRIVER_FILES", (tmp_path,))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"torch is not installed: pip install 'coverage-lab\[gpu\]'"):
        causal_novelty(np.eye(3), [0, 3], backend="triton")
