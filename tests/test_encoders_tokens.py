"""Ragged token ids, the tokenizers that make them, and the thread that tokenizes ahead."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hostile_texts import TEXTS
from hypothesis import given
from hypothesis import strategies as st

from coverage_lab.encoders.batches import packed_batches, padded_batches
from coverage_lab.encoders.packaged import packaged_minilm
from coverage_lab.encoders.tokens import (
    HuggingFaceTokenizer,
    NanoTokenizer,
    Tokenizer,
    Tokens,
    ahead,
    load_tokenizer,
)
from coverage_lab.errors import ConfigError, MissingExtraError


def recipe() -> str:
    return (packaged_minilm() / "tokenizer.json").read_text(encoding="utf-8")


@cache
def both() -> tuple[Tokenizer, Tokenizer]:
    return load_tokenizer("tokenizers", recipe(), window=12), load_tokenizer("nanotoken", recipe(), window=12)


def as_lists(tokens: Tokens) -> list[list[int]]:
    return [
        tokens.ids[start:stop].tolist()
        for start, stop in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    ]


@pytest.mark.parametrize("window", [16, 256])
def test_ids_are_those_of_sentence_transformers(window: int) -> None:
    """Oracle: the library's own tokenizing, padding taken off by its mask."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(packaged_minilm()), device="cpu", local_files_only=True)
    model.max_seq_length = window
    tokens = HuggingFaceTokenizer(recipe(), window=window).tokenize(TEXTS)
    theirs = model.tokenize(list(TEXTS))
    expected = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(theirs["input_ids"], theirs["attention_mask"], strict=True)
    ]
    assert as_lists(tokens) == expected
    assert (tokens.ids.dtype, tokens.offsets.dtype) == (np.int32, np.int64)
    assert tokens.lengths.max() == window


@pytest.mark.parametrize("window", [3, 16, 256])
def test_nanotoken_gives_the_same_ids(window: int) -> None:
    ours = HuggingFaceTokenizer(recipe(), window=window).tokenize(TEXTS)
    theirs = NanoTokenizer(recipe(), window=window).tokenize(TEXTS)
    assert as_lists(theirs) == as_lists(ours)
    assert (theirs.ids.dtype, theirs.offsets.dtype) == (np.int32, np.int64)


@given(st.lists(st.text(max_size=40), max_size=8))
def test_nanotoken_gives_the_same_ids_of_any_text(texts: list[str]) -> None:
    ours, theirs = both()
    assert as_lists(theirs.tokenize(texts)) == as_lists(ours.tokenize(texts))


def test_nanotoken_that_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanotoken", None)
    with pytest.raises(MissingExtraError, match=r"nanotoken.*coverage-lab\[fast\]"):
        load_tokenizer("nanotoken", recipe(), window=8)


def test_nanotoken_refuses_another_kind_of_tokenizer() -> None:
    from tokenizers import Tokenizer, models

    with pytest.raises(ConfigError, match=r"encoder\.tokenizer: 'nanotoken'"):
        load_tokenizer("nanotoken", Tokenizer(models.BPE()).to_str(), window=8)


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
        (packed_batches, lambda run: sum(run)),
        (padded_batches, lambda run: len(run) * max(run)),
    ):
        runs = [lengths[start:stop] for start, stop in cut(np.array(lengths, dtype=np.int64), budget)]
        assert [length for run in runs for length in run] == lengths
        assert all(run and (cost(run) <= budget or len(run) == 1) for run in runs)
        for run, following in pairwise(runs):
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
