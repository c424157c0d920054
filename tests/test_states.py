"""Account states: tracing, and merging in any order and any split."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced import HashEncoder, tiny_atlas, traffic

from coverage_lab.accounts import AccountStates, cells_table, curves_table, measure, merge, trace_prompts
from coverage_lab.schema import CELLS, CURVES, LEVELS, MEASURE_COLUMNS


def assert_same(one: AccountStates, other: AccountStates, *, novelty: bool = True) -> None:
    assert one.account_ids == other.account_ids
    for name in ("offsets", "timestamps", "digests", "cells"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    if novelty:
        np.testing.assert_array_equal(one.novelty, other.novelty)
    # Sums of floats: the order of the parts shows in the last bits only.
    np.testing.assert_allclose(one.vector_sums, other.vector_sums, rtol=1e-12, atol=1e-12)
    for name in ("end_users", "sessions"):
        np.testing.assert_array_equal(getattr(one, name).account, getattr(other, name).account)
        np.testing.assert_array_equal(getattr(one, name).name, getattr(other, name).name)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "ü", "z"]),
        st.integers(0, 5),
        st.sampled_from(["one", "two", "three", "four", "five words of it"]),
        st.sampled_from([None, "u1", "u2"]),
    ),
    max_size=30,
)


@given(rows=ROWS, cut=st.integers(0, 30), seed=st.integers(0, 9))
def test_any_split_in_any_order_merges_to_the_same(rows, cut, seed):
    atlas, encoder = tiny_atlas(), HashEncoder()
    whole = trace_prompts(traffic(rows), encoder, atlas)
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    parts = [trace_prompts(traffic(part), encoder, atlas) for part in (shuffled[:cut], shuffled[cut:])]
    # Novelty is against the part that was traced; all else is exact.
    assert_same(merge(parts), whole, novelty=False)
    assert_same(merge(parts[::-1]), merge(parts))
    assert_same(merge([*parts, AccountStates.empty(HashEncoder.dim)]), merge(parts))
    assert_same(trace_prompts(traffic(shuffled), encoder, atlas), whole)


@given(rows=ROWS)
def test_merge_is_associative(rows):
    atlas, encoder = tiny_atlas(), HashEncoder()
    a, b, c = (trace_prompts(traffic(rows[i::3]), encoder, atlas) for i in range(3))
    assert_same(merge([merge([a, b]), c]), merge([a, merge([b, c])]))


def test_merge_leaves_its_parts_alone():
    atlas, encoder = tiny_atlas(), HashEncoder()
    part = trace_prompts(traffic([("a", 1, "x", None), ("a", 2, "y", None)]), encoder, atlas)
    before = part.novelty.copy()
    merged = merge([part, part])
    np.testing.assert_array_equal(part.novelty, before)
    assert merged.prompts.tolist() == [4]
    # Each text twice: the second of each is a repeat to the letter.
    assert (merged.novelty == 0).sum() == 2


def test_trace_against_hand_calculation():
    atlas, encoder = tiny_atlas(), HashEncoder()
    rows = [("b", 3, "late", None), ("b", 1, "early", "u"), ("b", 2, "early", "u"), ("a", 9, "only", None)]
    states = trace_prompts(traffic(rows), encoder, atlas)
    assert states.account_ids == ("a", "b")
    assert states.offsets.tolist() == [0, 1, 4]
    vectors = encoder.encode(["only", "early", "early", "late"])
    np.testing.assert_array_equal(states.cells, atlas.assign(vectors))
    assert np.isnan(states.novelty[[0, 1]]).all()
    assert states.novelty[2] == 0
    assert states.novelty[3] == pytest.approx(1 - vectors[1] @ vectors[3], abs=1e-6)
    digest = int.from_bytes(hashlib.blake2b(b"only", digest_size=8).digest(), "little")
    assert int(states.digests[0]) == digest
    assert states.end_users.counts(2).tolist() == [0, 1]
    assert encoder.calls == [["late", "early", "only"], ["only", "early", "early", "late"]]


def test_measures_have_every_column_and_null_where_undefined():
    atlas, encoder = tiny_atlas(), HashEncoder()
    rows = [("many", i, f"text {i % 40}", None) for i in range(60)] + [("one", 0, "alone", None)]
    states = trace_prompts(traffic(rows), encoder, atlas)
    measures = measure(states, atlas)
    assert tuple(measures.values) == MEASURE_COLUMNS
    assert measures["repeat_share"].tolist() == [pytest.approx(20 / 60), 0.0]
    assert np.isnan(measures["novelty_mean"][1])
    for level, position in zip(LEVELS, range(3), strict=True):
        cells = states.cells[states.offsets[0] : states.offsets[1], position]
        assert measures[f"distinct_{level}"][0] == len(set(cells.tolist()))


def test_tables_hold_what_was_counted():
    atlas, encoder = tiny_atlas(), HashEncoder()
    rows = [("a", i, f"text {i}", None) for i in range(50)] + [("b", i, f"other {i}", None) for i in range(7)]
    states = trace_prompts(traffic(rows), encoder, atlas)
    curves = curves_table(states, atlas)
    assert curves.schema == CURVES
    last = curves.filter(pa.compute.equal(curves["n"], 50))
    for row in last.to_pylist():
        position = LEVELS.index(row["level"])
        assert row["distinct"] == len(set(states.cells[:50, position].tolist()))
        assert row["own_mean"] == pytest.approx(row["distinct"])
    cells = cells_table(states, atlas, top=3)
    assert cells.schema == CELLS
    for row in cells.to_pylist():
        start, stop = (0, 50) if row["account_id"] == "a" else (50, 57)
        mine = states.cells[start:stop, LEVELS.index(row["level"])]
        assert row["prompts"] == int((mine == row["cell"]).sum())
        assert row["share"] == pytest.approx(row["prompts"] / (stop - start))
    per_level = pa.TableGroupBy(cells, ["account_id", "level"]).aggregate([("cell", "count")])
    assert max(per_level["cell_count"].to_pylist()) <= 3


def test_no_account_gives_empty_tables():
    atlas = tiny_atlas()
    states = trace_prompts(traffic([]), HashEncoder(), atlas)
    assert states.account_ids == ()
    assert curves_table(states, atlas).num_rows == 0
    assert cells_table(states, atlas).num_rows == 0
