"""Token ids by two libraries: Hugging Face's own, nanotoken against it, and the choice between them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_texts import TEXTS, any_text

from coverage_lab.encoders.packaged import packaged_minilm
from coverage_lab.encoders.tokenizer import (
    HuggingFaceTokenizer,
    NanoTokenizer,
    Tokenizer,
    TokenizerName,
    load_tokenizer,
)
from coverage_lab.encoders.tokens import Tokens
from coverage_lab.errors import ConfigError, MissingExtraError


@cache
def recipe() -> str:
    return (packaged_minilm() / "tokenizer.json").read_text(encoding="utf-8")


def byte_pairs() -> str:
    from tokenizers import Tokenizer as Library
    from tokenizers import models

    return str(Library(models.BPE()).to_str())


def words_only() -> str:
    described = json.loads(recipe())
    described["model"] = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    described["added_tokens"], described["post_processor"] = [], None
    return json.dumps(described)


OTHER_KINDS = [pytest.param(byte_pairs, id="byte pairs"), pytest.param(words_only, id="words only")]


@cache
def both(window: int | None) -> tuple[Tokenizer, Tokenizer]:
    return HuggingFaceTokenizer(recipe(), window=window), NanoTokenizer(recipe(), window=window)


def as_lists(tokens: Tokens) -> list[list[int]]:
    return [tokens.ids[start:stop].tolist() for start, stop in pairwise(tokens.offsets.tolist())]


@pytest.mark.parametrize("window", [16, 256])
def test_ids_are_those_of_sentence_transformers(window: int) -> None:
    """Oracle: the library's own tokenizing, padding taken off by its mask."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(packaged_minilm()), device="cpu", local_files_only=True)
    model.max_seq_length = window
    theirs = model.tokenize(list(TEXTS))
    expected = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(theirs["input_ids"], theirs["attention_mask"], strict=True)
    ]
    for tokenizer in both(window):
        tokens = tokenizer.tokenize(TEXTS)
        assert as_lists(tokens) == expected
        assert tokens.lengths.max() == window


@pytest.mark.parametrize("window", [3, 16, 256, None])
def test_both_libraries_give_the_same_ids(window: int | None) -> None:
    reference, fast = both(window)
    ours, theirs = reference.tokenize(TEXTS), fast.tokenize(TEXTS)
    assert as_lists(theirs) == as_lists(ours)
    for tokens in (ours, theirs):
        assert (tokens.ids.dtype, tokens.offsets.dtype) == (np.int32, np.int64)
        assert len(tokens) == len(TEXTS)


@given(st.lists(any_text, max_size=8), st.sampled_from([12, None]))
def test_both_libraries_give_the_same_ids_of_any_text(texts: list[str], window: int | None) -> None:
    reference, fast = both(window)
    assert as_lists(fast.tokenize(texts)) == as_lists(reference.tokenize(texts))


def test_windows_and_special_tokens_are_what_they_say() -> None:
    """By the definition: a window keeps the first tokens; special tokens stand around what is kept."""
    text = "one two three " * 300
    vocabulary = json.loads(recipe())["model"]["vocab"]
    start, end = vocabulary["[CLS]"], vocabulary["[SEP]"]
    ids = [vocabulary[word] for word in text.split()]
    for whole, cut in zip(both(None), both(12), strict=True):
        assert as_lists(whole.tokenize([text, ""])) == [[start, *ids, end], [start, end]]
        assert as_lists(cut.tokenize([text])) == [[start, *ids[:10], end]]


@pytest.mark.parametrize("direction", ["Left", "Right"])
def test_a_length_in_the_recipe_cuts_nothing(direction: str) -> None:
    described = json.loads(recipe())
    described["truncation"] = {
        "direction": direction,
        "max_length": 7,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    described["padding"] = None
    for name in ("tokenizers", "nanotoken"):
        one = load_tokenizer(name, json.dumps(described))
        assert as_lists(one.tokenize(TEXTS)) == as_lists(both(None)[0].tokenize(TEXTS))


@pytest.mark.parametrize(
    ("name", "made"),
    [("auto", NanoTokenizer), ("nanotoken", NanoTokenizer), ("tokenizers", HuggingFaceTokenizer)],
)
def test_options_reach_the_library_that_is_chosen(name: TokenizerName, made: type) -> None:
    plain = load_tokenizer(name, recipe())
    assert isinstance(plain, made)
    assert plain.name == {"auto": "nanotoken"}.get(name, name)
    cut = load_tokenizer(name, recipe(), window=5)
    assert as_lists(plain.tokenize(TEXTS)) == as_lists(both(None)[0].tokenize(TEXTS))
    assert as_lists(cut.tokenize(TEXTS)) == as_lists(both(5)[0].tokenize(TEXTS))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_auto_says_once_which_it_took(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.INFO):
        load_tokenizer("nanotoken", recipe())
        load_tokenizer("tokenizers", recipe())
        assert said(caplog) == []
        load_tokenizer("auto", recipe())
        assert said(caplog) == ["encoder.tokenizer: auto chose nanotoken"]
        caplog.clear()
        monkeypatch.setitem(sys.modules, "nanotoken", None)
        assert load_tokenizer("auto", recipe()).name == "tokenizers"
        assert said(caplog) == ["encoder.tokenizer: auto chose tokenizers: nanotoken is not installed"]


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_auto_leaves_what_nanotoken_cannot_reproduce_to_tokenizers(
    kind: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(kind)
    with caplog.at_level(logging.INFO):
        chosen = load_tokenizer("auto", kind(), window=8)
    assert chosen.name == "tokenizers"
    assert [line.startswith("encoder.tokenizer: auto chose tokenizers: ") for line in said(caplog)] == [True]


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_nanotoken_by_name_refuses_another_kind_of_tokenizer(kind: object) -> None:
    assert callable(kind)
    with pytest.raises(ConfigError, match=r"^encoder\.tokenizer: 'nanotoken' can't reproduce") as caught:
        load_tokenizer("nanotoken", kind(), window=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "extra"), [("nanotoken", "fast"), ("tokenizers", "transformer")])
def test_a_library_that_is_missing_names_the_extra(
    name: TokenizerName, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"{name}.*coverage-lab\[{extra}\]"):
        load_tokenizer(name, recipe(), window=8)


@pytest.mark.parametrize("name", ["tokenizers", "nanotoken"])
def test_the_threads_limit_holds_both_libraries(name: str) -> None:
    """Threads are counted in a fresh process, since a pool keeps the size of its first use."""
    code = (
        "import os, sys; from coverage_lab.encoders.tokenizer import limit_tokenizer_threads, load_tokenizer;"
        "limit_tokenizer_threads(int(sys.argv[2]));"
        "one = load_tokenizer(sys.argv[1], sys.stdin.read());"
        "before = len(os.listdir('/proc/self/task'));"
        "one.tokenize(['how do trains run ' * 100] * 800);"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    for threads, more in ((1, {0, 1}), (3, {3})):
        done = subprocess.run(
            [sys.executable, "-c", code, name, str(threads)],
            input=recipe(),
            capture_output=True,
            text=True,
            check=True,
            env={
                key: value for key, value in os.environ.items() if not key.startswith(("RAYON", "TOKENIZERS"))
            },
        )
        assert int(done.stdout) in more
