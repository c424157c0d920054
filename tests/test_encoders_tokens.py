"""Ragged token ids, their batches, and the thread that tokenizes ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_lab.encoders.batches import padded_batches
from coverage_lab.encoders.tokens import Tokens, ahead
from coverage_lab.measures.ragged import bounded_runs


def as_lists(tokens: Tokens) -> list[list[int]]:
    return [
        tokens.ids[start:stop].tolist()
        for start, stop in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    ]


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=12),
    st.data(),
)
def test_taking_and_digests(rows: list[list[int]], data: st.DataObject) -> None:
    """Oracle: plain lists."""
    lengths = [len(row) for row in rows]
    tokens = Tokens(
        np.array([token for row in rows for token in row], dtype=np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
    assert as_lists(tokens) == rows
    assert len(tokens) == len(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6))
    assert as_lists(tokens.take(np.array(chosen, dtype=np.int64))) == [rows[index] for index in chosen]
    digests = tokens.digests()
    assert {len(digest) for digest in digests} == {16}
    for one, digest in zip(rows, digests, strict=True):
        assert [other == digest for other in digests] == [other == one for other in rows]


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(1, 50))
def test_batches_keep_to_the_budget_and_no_more_of_them_than_needed(lengths: list[int], budget: int) -> None:
    lengths.sort()
    for cut, cost in (
        (
            lambda sizes, most: bounded_runs(np.concatenate([[0], np.cumsum(sizes)]), most),
            lambda run: sum(run),
        ),
        (padded_batches, lambda run: len(run) * max(run)),
    ):
        cuts = [lengths[start:stop] for start, stop in cut(np.array(lengths, dtype=np.int64), budget)]
        assert [length for run in cuts for length in run] == lengths
        assert all(run and (cost(run) <= budget or len(run) == 1) for run in cuts)
        for run, following in pairwise(cuts):
            assert cost([*run, following[0]]) > budget


def test_ahead_keeps_order_and_is_ahead() -> None:
    begun: list[int] = []

    def make(one: int) -> int:
        begun.append(one)
        return one * one

    results = ahead(make, range(10))
    assert next(results) == (0, 0)
    deadline = time.monotonic() + 10
    while len(begun) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    # One was taken, two wait in the queue, one waits to be put there.
    assert begun == [0, 1, 2, 3]
    assert list(results) == [(one, one * one) for one in range(1, 10)]


def _helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tokenize-ahead"]


def test_an_error_of_the_thread_surfaces_at_its_place() -> None:
    def make(one: int) -> int:
        if one == 3:
            raise ValueError("number three")
        return one

    results = ahead(make, range(9))
    assert [next(results)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number three"):
        next(results)
    assert _helpers() == []


def test_an_error_of_what_is_given_surfaces() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended"):
        list(ahead(str, broken()))
    assert _helpers() == []


def test_closing_early_ends_the_thread() -> None:
    results = ahead(str, range(1_000))
    assert next(results) == (0, "0")
    assert len(_helpers()) == 1
    results.close()
    assert _helpers() == []
    assert list(ahead(str, [])) == []
    assert _helpers() == []
