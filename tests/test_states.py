"""Account states: tracing, and merging in any order and any split."""

import dataclasses
import hashlib
import math
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.traced import HashEncoder, tiny_atlas, traffic

from coverage_lab.accounts import (
    OPENINGS,
    STRUCTURE,
    AccountStates,
    Distinct,
    HostVectors,
    cells_table,
    curves_table,
    digests_of,
    distinct_prompts,
    measure,
    members,
    merge,
    states_of,
    trace,
    trace_prompts,
)
from coverage_lab.accounts import prompt_vectors as accounts_vectors
from coverage_lab.accounts.prompt_features import openings, structure
from coverage_lab.schema import CELLS, CURVES, LEVELS, MEASURE_COLUMNS

SUMS = ("vector_sums", "structure_sums", "structure_squares", "opening_sums")


def assert_same(one: AccountStates, other: AccountStates, *, novelty: bool = True) -> None:
    assert one.account_ids == other.account_ids
    for name in ("offsets", "timestamps", "digests", "cells"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    if novelty:
        np.testing.assert_array_equal(one.novelty, other.novelty)
    # Sums of floats: the order of the parts shows in the last bits only.
    for name in SUMS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-12)
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
    assert encoder.calls == [["only", "late", "early"], ["only", "early", "early", "late"]]


@given(rows=ROWS)
def test_sums_are_those_of_every_prompt_sent_repeats_included(rows):
    atlas, encoder = tiny_atlas(), HashEncoder()
    states = trace_prompts(traffic(rows), encoder, atlas)
    assert states.opening_sums.shape == (len(states.account_ids), OPENINGS)
    for i, account_id in enumerate(states.account_ids):
        sent = [row[2] for row in rows if row[0] == account_id]
        for name, each in (
            ("vector_sums", encoder.encode(sent)),
            ("structure_sums", structure(sent)),
            ("structure_squares", structure(sent).astype(np.float64) ** 2),
            ("opening_sums", openings(sent).toarray()),
        ):
            sums = getattr(states, name)
            assert sums.dtype == np.float64
            expected = [math.fsum(column) for column in each.T.tolist()]
            np.testing.assert_allclose(sums[i], expected, rtol=1e-12, atol=1e-12, err_msg=name)


BANK = [f"text {i}: is it {'so' * (i % 5)}?" for i in range(12)]


def a_bank() -> Distinct:
    return distinct_prompts(BANK, HostVectors(HashEncoder().encode(BANK)), tiny_atlas())


def drawn(
    rng: np.random.Generator, accounts: int
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Draw accounts of 1 to 9 prompts of the bank: ids, offsets, timestamps (no two alike), which."""
    sizes = rng.integers(1, 10, accounts)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    times = np.concatenate([np.sort(rng.permutation(1_000)[:size]) for size in sizes])
    return tuple(f"a{i:02}" for i in range(accounts)), offsets, times, rng.integers(0, len(BANK), offsets[-1])


@pytest.mark.parametrize("block", [1, 7, 16_384])
def test_states_of_a_bank_are_those_of_the_traced_text(monkeypatch, block):
    monkeypatch.setattr(trace, "BLOCK", block)
    monkeypatch.setattr(accounts_vectors, "BLOCK", block)
    ids, offsets, times, which = drawn(np.random.default_rng(block), 20)
    account = np.repeat(np.arange(20), np.diff(offsets))
    rows = [(ids[a], int(t), BANK[w], f"u{w % 3}") for a, t, w in zip(account, times, which, strict=True)]
    users = members(account, digests_of([row[3] for row in rows]))
    states = states_of(ids, offsets, times * 1_000_000, which, a_bank(), end_users=users)
    assert_same(states, trace_prompts(traffic(rows), HashEncoder(), tiny_atlas()), novelty=False)
    # Blocks of other sizes multiply in another order.
    np.testing.assert_allclose(
        states.novelty, trace_prompts(traffic(rows), HashEncoder(), tiny_atlas()).novelty, atol=1e-6
    )


def test_chunks_of_accounts_merge_to_the_whole():
    ids, offsets, times, which = drawn(np.random.default_rng(3), 9)
    bank = a_bank()
    whole = states_of(ids, offsets, times, which, bank)
    parts = []
    for first in (0, 3, 6):
        cuts = offsets[first : first + 4]
        rows = slice(cuts[0], cuts[-1])
        parts.append(states_of(ids[first : first + 3], cuts - cuts[0], times[rows], which[rows], bank))
    assert_same(merge(parts), whole)


def test_novelty_that_is_given_is_kept_but_for_repeats():
    which = np.array([0, 1, 0, 2])
    given_novelty = np.array([np.nan, 0.5, 0.25, 0.75], dtype=np.float32)
    states = states_of(("a",), np.array([0, 4]), np.arange(4), which, a_bank(), novelty=given_novelty)
    np.testing.assert_array_equal(states.novelty, np.array([np.nan, 0.5, 0, 0.75], np.float32))
    assert given_novelty[2] == 0.25
    assert states.end_users.counts(1).tolist() == [0]


def test_a_bank_moves_to_another_atlas_by_its_cells():
    bank = a_bank()
    cells = np.arange(3 * len(BANK), dtype=np.int32).reshape(-1, 3)
    moved = dataclasses.replace(bank, cells=cells)
    states = states_of(("a",), np.array([0, 2]), np.arange(2), np.array([4, 1]), moved)
    assert states.cells.tolist() == [[12, 13, 14], [3, 4, 5]]


def test_a_large_bank_is_read_in_place():
    rows = 50_000
    tiled = np.arange(rows) % len(BANK)
    small = a_bank()
    bank = Distinct(
        vectors=HostVectors(small.vectors.rows[tiled]),
        digests=np.arange(rows, dtype=np.uint64),
        characters=small.characters[tiled],
        cells=small.cells[tiled],
        structure=small.structure[tiled],
        openings=small.openings[tiled],
    )
    least = min(bank.vectors.rows.nbytes, bank.structure.nbytes, bank.openings.data.nbytes, bank.cells.nbytes)
    tracemalloc.start()
    states_of(("a",), np.array([0, 5]), np.arange(5), np.array([1, 2, 3, 4, 49_999]), bank)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < least / 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("account_ids", {"account_ids": ("b", "a")}),
        ("account_ids", {"account_ids": ("a", "a")}),
        ("offsets", {"offsets": np.array([0, 4])}),
        ("offsets", {"offsets": np.array([0, 4, 4])}),
        ("offsets", {"offsets": np.array([0, 2, 3])}),
        ("offsets", {"offsets": np.array([1, 2, 4])}),
        ("timestamps", {"timestamps": np.arange(3)}),
        ("timestamps", {"timestamps": np.array([0, 1, 3, 2])}),
        ("novelty", {"novelty": np.zeros(3, np.float32)}),
        ("which", {"which": np.array([0, 1, 2, 12])}),
        ("which", {"which": np.array([0, -1, 2, 3])}),
    ],
)
def test_states_of_what_does_not_fit_names_it(name, change):
    fitting = {
        "account_ids": ("a", "b"),
        "offsets": np.array([0, 2, 4]),
        "timestamps": np.array([5, 6, 0, 1]),
        "which": np.array([3, 2, 1, 0]),
    }
    bank = a_bank()
    states_of(**fitting, distinct=bank)
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        states_of(**fitting | change, distinct=bank)


def test_equal_moments_are_sorted_by_digest():
    bank = a_bank()
    low, high = np.argsort(bank.digests)[[0, -1]]
    states_of(("a",), np.array([0, 2]), np.zeros(2, np.int64), np.array([low, high]), bank)
    with pytest.raises(ValueError, match="by time, then by digest"):
        states_of(("a",), np.array([0, 2]), np.zeros(2, np.int64), np.array([high, low]), bank)


def test_no_account_of_a_bank_is_the_empty_state():
    nothing = np.empty(0, np.int64)
    states = states_of((), np.zeros(1, np.int64), nothing, nothing, a_bank())
    assert_same(states, AccountStates.empty(HashEncoder.dim))
    for name in SUMS:
        assert getattr(states, name).shape == getattr(AccountStates.empty(HashEncoder.dim), name).shape
    assert states.structure_sums.shape == (0, len(STRUCTURE))
    none = HostVectors(np.empty((0, 16), np.float32))
    assert distinct_prompts([], none, tiny_atlas()).openings.shape == (0, OPENINGS)
    with pytest.raises(ValueError, match="vectors: expected 1 rows"):
        distinct_prompts(["one"], none, tiny_atlas())


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
