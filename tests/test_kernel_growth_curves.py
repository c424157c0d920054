"""`growth_curves`: the array program, with NumPy in CuPy's place, against sets and against the measure."""

from __future__ import annotations

import numpy as np
import pytest
from coverage_kernels import backends
from coverage_kernels.growth_curves import array_program, growth_curves, reference
from hypothesis import given
from hypothesis import strategies as st

from coverage_lab.measures.growth import curve_grids, growth_curve

Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class NoShortcuts:
    """NumPy with only the calls that CuPy has too in the form the program uses them."""

    arange, concatenate, cumsum, int64, ones, searchsorted, stack, where, zeros = (
        np.arange,
        np.concatenate,
        np.cumsum,
        np.int64,
        np.ones,
        np.searchsorted,
        np.stack,
        np.where,
        np.zeros,
    )

    @staticmethod
    def lexsort(keys: np.ndarray) -> np.ndarray:
        assert isinstance(keys, np.ndarray), "CuPy sorts by the rows of one array, not by a tuple"
        return np.lexsort(keys)


def batch(lengths: list[int], span: int, seed: int) -> Batch:
    draw = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths])
    grid, grid_offsets = curve_grids(np.array(lengths, dtype=np.int64), points=7)
    return draw.integers(0, span, offsets[-1]), offsets, grid, grid_offsets


@given(st.lists(st.integers(0, 60), max_size=8), st.integers(1, 50), st.integers(0, 99))
def test_it_is_the_measure_and_the_sets(lengths: list[int], span: int, seed: int) -> None:
    given_ = batch(lengths, span, seed)
    want = reference.growth_curves(*given_)
    assert np.array_equal(growth_curves(*given_, backend="cpu"), want)
    assert np.array_equal(growth_curve(*given_), want)
    assert np.array_equal(array_program.growth_curves(NoShortcuts, *given_), want)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 99))
def test_a_batch_equals_one_at_a_time(lengths: list[int], seed: int) -> None:
    cells, offsets, grid, grid_offsets = batch(lengths, 9, seed)
    alone = [
        growth_curves(
            cells[offsets[a] : offsets[a + 1]],
            [0, lengths[a]],
            grid[grid_offsets[a] : grid_offsets[a + 1]],
            [0, grid_offsets[a + 1] - grid_offsets[a]],
        )
        for a in range(len(lengths))
    ]
    assert np.array_equal(growth_curves(cells, offsets, grid, grid_offsets), np.concatenate(alone))


def test_by_hand() -> None:
    # 5 | 5, then 2 | ... : the second account has seen neither.
    cells, offsets = np.array([5, 5, 2, 5, 2, 9]), np.array([0, 3, 3, 6])
    got = growth_curves(cells, offsets, np.array([1, 2, 3, 1, 3]), np.array([0, 3, 3, 5]))
    assert got.tolist() == [1, 1, 2, 1, 3]


def test_cells_as_large_as_int64_do_not_run_into_each_other() -> None:
    cells = np.array([2**62, 2**62 + 1, 2**62, -(2**62)])
    assert growth_curves(cells, [0, 2, 4], np.array([2, 2]), [0, 1, 2]).tolist() == [2, 2]


def test_nothing() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert growth_curves(empty, [0], empty, [0]).shape == (0,)
    assert growth_curves(empty, [0, 0], empty, [0, 0]).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": np.array([4])}, "grid: expected points from 1 to the segment's length"),
        ({"grid": np.array([0])}, "grid: expected points from 1"),
        ({"grid": np.array([1.0])}, "grid: expected integers"),
        ({"grid_offsets": [0, 0, 1]}, "grid_offsets: expected 1 segments, got 2"),
        ({"cells": np.ones(3)}, "cells: expected integers"),
        ({"cells": np.full(3, 2**63, dtype=np.uint64)}, r"cells: expected integers below 2\*\*63"),
        ({"offsets": [0, 2]}, "offsets: expected to end at"),
        ({"backend": "triton"}, "backend: expected 'auto', 'cpu' or 'cupy', got 'triton'"),
    ],
)
def test_errors(change: dict[str, object], message: str) -> None:
    told = {"cells": np.arange(3), "offsets": [0, 3], "grid": np.array([2]), "grid_offsets": [0, 1]} | change
    with pytest.raises(ValueError, match=message):
        growth_curves(**told)


def test_a_backend_asked_for_by_name_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_DRIVER_FILES", ())
    with pytest.raises(RuntimeError, match="'cupy' was asked for, but there is no NVIDIA driver"):
        growth_curves(np.arange(3), [0, 3], np.array([2]), [0, 1], backend="cupy")
