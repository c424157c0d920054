"""The static encoder and its cache. The module shares the machine's own cache: 25 s on first use."""

from __future__ import annotations

import json
import logging
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.hostile_texts import any_text
from tokenizers import Tokenizer as Library

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import Encoder, load_encoder, static
from coverage_lab.encoders.tokenizer import Tokenizer, TokenizerName, load_tokenizer
from coverage_lab.encoders.unit import unit_rows
from coverage_lab.errors import ConfigError, MissingExtraError

TEXTS = [
    "How do I repot a basil plant?",
    "Wie repariere ich eine tropfende Armatur?",
    "写一首关于秋天的短诗。",
    "def add(a, b):\n    return a + b",
    "x",
    "Which trains run from the harbour to the old town on a Sunday morning? " * 40,
]
NO_KNOWN_TOKEN = ["😀", "ප්‍රශ්නය", "\u200b", "😀 😀"]

Token = tuple[NDArray[np.float32], str]
Both = tuple[Tokenizer, Tokenizer]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(EncoderConfig(name="static"))


@pytest.fixture(scope="module")
def distilled(encoder: Encoder) -> Token:
    """What distillation gave, read from the machine's own cache."""
    folder = static.cache_folder() / f"static-{static.RECIPE_ID[:16]}"
    return np.load(folder / "vectors.npy"), (folder / "tokenizer.json").read_text()


@pytest.fixture(scope="module")
def both(distilled: Token) -> Both:
    """Hugging Face's tokenizer and nanotoken's, of the same description."""
    one, other = (
        load_tokenizer(name, distilled[1], special_tokens=False) for name in ("tokenizers", "nanotoken")
    )
    return one, other


@pytest.fixture
def cache(tmp_path: Path, distilled: Token, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; distilling into it takes no time. Returns the folder that the model will have."""
    monkeypatch.setenv("COVERAGE_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(static, "_distil", lambda threads: distilled)
    return tmp_path / "cache" / f"static-{static.RECIPE_ID[:16]}"


def test_rows_are_unit_and_depend_on_their_own_text_only(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 256)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], vectors)
    np.testing.assert_array_equal(np.vstack([encoder.encode([text]) for text in TEXTS]), vectors)
    many = encoder.encode(TEXTS * 300)
    np.testing.assert_array_equal(
        many.reshape(300, len(TEXTS), -1), np.broadcast_to(vectors, (300, *vectors.shape))
    )
    assert encoder.encode([]).shape == (0, 256)


def test_agrees_with_model2vec(encoder: Encoder, distilled: Token) -> None:
    """Oracle: model2vec's own inference on the same token vectors."""
    from model2vec import StaticModel

    vectors, tokenizer = distilled
    theirs = StaticModel(vectors, Library.from_str(tokenizer), normalize=True, max_length=None)
    np.testing.assert_allclose(encoder.encode(TEXTS), theirs.encode(TEXTS), atol=2e-6)


@given(texts=st.lists(any_text))
@settings(max_examples=400, deadline=None)
def test_both_tokenizers_find_the_same_ids(both: Both, texts: list[str]) -> None:
    """Oracle: Hugging Face's `tokenizers`, which nanotoken says that it reproduces."""
    theirs, ours = (tokenizer.tokenize(texts) for tokenizer in both)
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_array_equal(ours.offsets, theirs.offsets)


def _whole(described: str) -> Library:
    """Hugging Face's tokenizer without the length at which the description cuts."""
    tokenizer = Library.from_str(described)
    tokenizer.no_truncation()
    return tokenizer


def test_ids_are_the_library_s_own(both: Both, distilled: Token) -> None:
    plain = _whole(distilled[1])
    for tokenizer in both:
        tokens = tokenizer.tokenize([*TEXTS, ""])
        found = [tokens.ids[start:stop].tolist() for start, stop in pairwise(tokens.offsets.tolist())]
        assert found == [plain.encode(text, add_special_tokens=False).ids for text in [*TEXTS, ""]]
        assert tokenizer.id_of("basil") == plain.token_to_id("basil")


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("tokenizer", ["tokenizers", "nanotoken"])
def test_tokenizer_and_threads_change_no_bit(
    tokenizer: TokenizerName, threads: int, distilled: Token
) -> None:
    """Oracle: the mean of the known tokens' vectors, text by text, in a loop over the library's own ids."""
    vectors, described = distilled
    plain = _whole(described)
    unknown = plain.token_to_id("[UNK]")
    texts = [f"{text} {k % 7}" for k, text in enumerate((TEXTS + NO_KNOWN_TOKEN + ["", " "]) * 60)]
    texts[::50] = NO_KNOWN_TOKEN[:1] * len(texts[::50])
    sums = np.empty((len(texts), vectors.shape[1]), np.float32)
    for row, text in enumerate(texts):
        ids = plain.encode(text, add_special_tokens=False).ids
        vectors[[token for token in ids if token != unknown] or [unknown]].sum(axis=0, out=sums[row])
    made = static.load_static(threads=threads, tokenizer=tokenizer)
    assert made.tokenizer == tokenizer
    np.testing.assert_array_equal(made.encode(texts), unit_rows(sums))


def test_a_thread_s_error_is_raised(encoder: Encoder) -> None:
    with pytest.raises(TypeError):
        encoder.encode([*TEXTS * 200, 3])  # type: ignore[list-item]


@pytest.mark.parametrize("tokenizer", ["auto", "tokenizers", "nanotoken"])
def test_the_config_s_tokenizer_is_the_static_encoder_s(tokenizer: TokenizerName, encoder: Encoder) -> None:
    made = load_encoder(EncoderConfig(name="static", tokenizer=tokenizer))
    assert isinstance(made, static.StaticEncoder)
    assert made.tokenizer == ("nanotoken" if tokenizer == "auto" else tokenizer)
    np.testing.assert_array_equal(made.encode(TEXTS), encoder.encode(TEXTS))


def test_auto_without_nanotoken_changes_no_bit(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanotoken", None)
    made = static.load_static()
    assert made.tokenizer == "tokenizers"
    np.testing.assert_array_equal(made.encode(TEXTS), encoder.encode(TEXTS))


def test_meaning_survives_distillation(encoder: Encoder) -> None:
    plant, herb, code = encoder.encode(
        ["How do I repot a basil plant?", "What soil suits potted herbs?", "Sort a list of integers in C++."]
    )
    assert plant @ herb > plant @ code + 0.1


def test_prompts_without_a_known_token_share_one_direction(encoder: Encoder) -> None:
    vectors = encoder.encode(NO_KNOWN_TOKEN)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors, np.broadcast_to(vectors[0], vectors.shape), atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(["😀 basil"]), encoder.encode(["basil"]))


def test_reads_the_first_4000_characters(encoder: Encoder) -> None:
    start = "a b " * 1_000
    np.testing.assert_array_equal(encoder.encode([start]), encoder.encode([start + " violin"]))
    assert not np.array_equal(encoder.encode([start]), encoder.encode([start[:-40] + " violin"]))


def test_the_id_is_the_recipe_s(encoder: Encoder) -> None:
    """Regression only: another id means another recipe, and every atlas must be built anew."""
    assert (encoder.name, encoder.id) == ("static", static.RECIPE_ID)
    assert static.RECIPE_ID.startswith("8b6ef2752af7ee49")


def test_first_use_distils_and_the_second_reads(cache: Path, encoder: Encoder) -> None:
    told: list[tuple[str, int, int | None]] = []
    first = static.load_static(progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told == [("distil the static encoder", 0, 1), ("distil the static encoder", 1, 1)]
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    second = static.load_static(progress=lambda *told: pytest.fail("distilled twice"))
    for again in (first, second):
        np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def _flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "vectors.npy").read_bytes())
    data[-1] ^= 1
    (folder / "vectors.npy").write_bytes(data)


def _lose_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _empty_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("")


def _manifest_of_another_kind(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1]")


def _record_too_little(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"files": {}}))


@pytest.mark.parametrize(
    "damage",
    [
        _flip_a_byte,
        _lose_the_tokenizer,
        _empty_the_manifest,
        _manifest_of_another_kind,
        _record_too_little,
    ],
)
def test_a_damaged_cache_is_distilled_again_and_said(
    damage: object, cache: Path, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    static.load_static()
    assert callable(damage)
    damage(cache)
    with caplog.at_level(logging.WARNING):
        again = static.load_static()
    assert [record.message.endswith("; distilling it again") for record in caplog.records] == [True]
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    caplog.clear()
    static.load_static()
    assert caplog.records == []


def test_the_faster_of_two_processes_wins(
    cache: Path, distilled: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, tokenizer = distilled
    races = iter([True, False])

    def distil(threads: int | None) -> Token:
        if next(races):
            static.load_static()
            return -vectors, tokenizer
        return vectors, tokenizer

    monkeypatch.setattr(static, "_distil", distil)
    slower = static.load_static()
    np.testing.assert_array_equal(np.load(cache / "vectors.npy"), vectors)
    np.testing.assert_array_equal(slower.encode(TEXTS), static.load_static().encode(TEXTS))
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_a_failed_distillation_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(threads: int | None) -> Token:
        raise KeyboardInterrupt

    monkeypatch.setattr(static, "_distil", fail)
    with pytest.raises(KeyboardInterrupt):
        static.load_static()
    assert list(cache.parent.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(ConfigError, match="set COVERAGE_LAB_CACHE"):
        static.load_static()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVERAGE_LAB_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    monkeypatch.setenv("HOME", "/three")
    assert static.cache_folder() == Path("/one")
    monkeypatch.delenv("COVERAGE_LAB_CACHE")
    assert static.cache_folder() == Path("/two/coverage_lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert static.cache_folder() == Path("/three/.cache/coverage_lab")


@pytest.mark.parametrize(("threads", "parallel"), [(1, "false"), (2, "true")])
def test_threads_reach_the_tokenizer(
    threads: int, parallel: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "unset")
    one = load_encoder(EncoderConfig(name="static"), threads=threads)
    assert (os.environ["RAYON_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"]) == (str(threads), parallel)
    np.testing.assert_array_equal(one.encode(TEXTS), encoder.encode(TEXTS))


def test_missing_libraries_name_the_extra(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "nanotoken", None)
        patch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(MissingExtraError, match=r"tokenizers.*coverage-lab\[encoders\]"):
            load_encoder(EncoderConfig(name="static"))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "nanotoken", None)
        with pytest.raises(MissingExtraError, match=r"nanotoken.*coverage-lab\[fast\]"):
            static.load_static(tokenizer="nanotoken")
    monkeypatch.setenv("COVERAGE_LAB_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "model2vec.distill", None)
    with pytest.raises(MissingExtraError, match=r"model2vec.*coverage-lab\[encoders\]"):
        load_encoder(EncoderConfig(name="static"))
    assert list(tmp_path.iterdir()) == []
