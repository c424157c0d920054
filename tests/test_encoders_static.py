"""The static encoder: its vectors, the head in whole numbers, its pieces, and the GPU path on a CPU.

The module shares the machine's own cache: 20 s on first use.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.usem3_network import library, network, pieces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.hostile_texts import TEXTS as HOSTILE
from support.hostile_texts import any_text
from threadpoolctl import threadpool_limits

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import Encoder, load_encoder
from coverage_lab.encoders.encoder import DeviceEncoder, stays_on_device
from coverage_lab.encoders.packaged import packaged_use
from coverage_lab.encoders.static import StaticEncoder, head, load_static
from coverage_lab.encoders.static import pieces as pieces_module
from coverage_lab.encoders.static.head import Head, whole_numbers
from coverage_lab.encoders.static.network import head_matrices
from coverage_lab.encoders.static.pieces import Pieces
from coverage_lab.encoders.static.table import MAX_PIECES, RECIPE_ID, UNIT, cached_table
from coverage_lab.encoders.tokens import Tokens
from coverage_lab.errors import ConfigError, MissingExtraError

TEXTS = [
    "How do I repot a basil plant?",
    "Wie repariere ich eine tropfende Armatur?",
    "写一首关于秋天的短诗。",
    "def add(a, b):\n    return a + b",
    "x",
    "",
    "😀 ප්‍රශ්නය",
    "Which trains run from the harbour to the old town on a Sunday morning? " * 40,
]
#: One request in six languages, and others.
REQUEST = (
    "How do I repot a basil plant?",
    "Wie topfe ich eine Basilikumpflanze um?",
    "怎么给罗勒换盆？",
    "Как пересадить базилик?",
    "バジルの植え替え方は？",
    "كيف أعيد زراعة نبتة الريحان؟",
)
OTHERS = (
    "Sort a list of integers in C++.",
    "Schreibe ein Gedicht über den Herbst.",
    "明天北京的天气怎么样？",
    "Сколько стоит билет на поезд?",
    "履歴書の書き方を教えてください。",
    "ما هي عاصمة فرنسا؟",
)


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    made = load_encoder(EncoderConfig(name="static"), threads=1)
    assert isinstance(made, StaticEncoder)
    return made


@pytest.fixture
def cut() -> Pieces:
    return Pieces(packaged_use().model, most=MAX_PIECES)


def rows(tokens: Tokens) -> list[list[int]]:
    """The ids of each text as lists."""
    return [tokens.ids[start:stop].tolist() for start, stop in pairwise(tokens.offsets.tolist())]


def gaps(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 − cosine of each pair of unit rows."""
    return 1 - np.einsum("ij,ij->i", ours.astype(np.float64), theirs.astype(np.float64))


def test_rows_are_unit_and_depend_on_their_own_text_only(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 512)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], vectors)
    np.testing.assert_array_equal(np.vstack([encoder.encode([text]) for text in TEXTS]), vectors)
    many = encoder.encode(TEXTS * 200)
    np.testing.assert_array_equal(
        many.reshape(200, len(TEXTS), -1), np.broadcast_to(vectors, (200, *vectors.shape))
    )
    assert encoder.encode([]).shape == (0, 512)


@pytest.mark.parametrize("blas_threads", [1, 2])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_bit(threads: int, blas_threads: int, encoder: Encoder) -> None:
    texts = [f"{text} {k % 7}" for k, text in enumerate(TEXTS * 400)]
    made = load_static(threads=threads)
    with threadpool_limits(blas_threads, user_api="blas"):
        np.testing.assert_array_equal(made.encode(texts), encoder.encode(texts))


def test_agrees_with_usem3_where_no_piece_sees_another(encoder: Encoder) -> None:
    """Oracle: usem3's own network on the same pieces, in floats."""
    texts = [*TEXTS, *HOSTILE, *REQUEST, *OTHERS]
    found = gaps(encoder.encode(texts), network().encode(texts))
    # In the last hostile text three pieces come 700 times each, so that their roundings add up.
    assert found.max() < 3e-3
    assert np.sort(found)[-2] < 5e-4
    assert np.median(found) < 6e-5


def test_the_oracle_is_not_the_whole_network() -> None:
    """Neighbours matter to usem3, so the test above can tell a table of pieces alone from another one."""
    assert gaps(network().encode(TEXTS[:4]), network(alone=False).encode(TEXTS[:4])).min() > 0.01


def test_the_same_request_is_found_across_languages(encoder: Encoder) -> None:
    same, others = encoder.encode(REQUEST), encoder.encode(OTHERS)
    to_same, to_others = same @ same.T, same @ others.T
    assert (to_same > to_others).all(), "of each language, the same request is nearer than another"
    assert to_same.min() > 0.3


def test_reads_the_first_4000_characters(encoder: Encoder) -> None:
    start = "a b " * 1_000
    np.testing.assert_array_equal(encoder.encode([start]), encoder.encode([start + " violin"]))
    assert not np.array_equal(encoder.encode([start]), encoder.encode([start[:-40] + " violin"]))


def test_lone_surrogates_are_question_marks(encoder: Encoder) -> None:
    np.testing.assert_array_equal(encoder.encode(["a\ud800b", "basil"]), encoder.encode(["a?b", "basil"]))


def test_a_thread_s_error_is_raised(encoder: Encoder) -> None:
    with pytest.raises(TypeError):
        load_static(threads=2).encode([*TEXTS * 200, 3])  # type: ignore[list-item]


def test_the_id_is_the_recipe_s(encoder: Encoder) -> None:
    """Regression only: another id means another recipe, and every atlas must be built anew."""
    assert (encoder.name, encoder.id) == ("static", RECIPE_ID)
    assert RECIPE_ID.startswith("16a703530542f012")


# The pieces


def test_no_piece_goes_on_after_a_space() -> None:
    """What lets a text be cut word by word: SentencePiece writes the space before a word as ▁."""
    vocabulary = [library().id_to_piece(piece) for piece in range(library().get_piece_size())]
    assert [piece for piece in vocabulary if "▁" in piece[1:]] == []


@given(texts=st.lists(any_text, max_size=20))
def test_pieces_are_those_of_the_words(texts: list[str]) -> None:
    """Oracle: SentencePiece, word by word."""
    assert rows(_SHARED.of(texts)) == [pieces(text) for text in texts]


def test_pieces_are_those_of_the_whole_text_too() -> None:
    """Oracle: SentencePiece on the text as it is, which has no equally likely ways to cut these."""
    texts = [*TEXTS, *HOSTILE[:13]]
    assert rows(_SHARED.of(texts)) == [library().encode(text) for text in texts]


def test_a_full_memory_is_emptied_and_changes_nothing(cut: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_module, "_MOST_WORDS", 3)
    expected = [pieces(text) for text in HOSTILE]
    for _ in range(2):
        assert rows(cut.of(HOSTILE)) == expected
        assert [rows(cut.of([text]))[0] for text in HOSTILE] == expected


def test_long_words_fill_the_memory_by_their_characters(cut: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    told = cut._library.encode
    monkeypatch.setattr(pieces_module, "_MOST_CHARACTERS", 20)
    monkeypatch.setattr(
        cut,
        "_library",
        type("Told", (), {"encode": lambda _, words, **more: asked.append(words) or told(words)})(),
    )
    for _ in range(2):
        cut.of(["basil"])
    cut.of(["pneumonoultramicroscopic"])
    cut.of(["basil"])
    assert asked == [["basil"], ["pneumonoultramicroscopic"], ["basil"]]


def test_a_call_that_failed_leaves_no_word_without_pieces(
    cut: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def encode(self, words: list[str], **_: object) -> list[list[int]]:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(cut, "_library", Failing())
        with pytest.raises(MemoryError):
            cut.of(["basil thyme"])
    assert rows(cut.of(["thyme", "basil"])) == [pieces("thyme"), pieces("basil")]


def test_pieces_beyond_the_most_are_cut_off() -> None:
    few = Pieces(packaged_use().model, most=3)
    assert rows(few.of(["", *TEXTS])) == [[], *(pieces(text)[:3] for text in TEXTS)]


def test_the_largest_sum_is_exact(encoder: StaticEncoder) -> None:
    """ﷺ is one character that is read as 18: no other way to more pieces than a float32 counts exactly."""
    text = "ﷺ" * 4_000
    tokens = Pieces(packaged_use().model, most=MAX_PIECES).of([text])
    assert tokens.lengths.tolist() == [MAX_PIECES]
    table = cached_table(packaged_use(), threads=1)
    numbers = table.rows[tokens.ids].astype(np.int64) * table.factors[tokens.ids, None].astype(np.int64)
    marks = table.rows[[1, 2]].astype(np.int64) * table.factors[[1, 2], None].astype(np.int64)
    np.testing.assert_array_equal(
        encoder._sums(tokens)[0].astype(np.int64), numbers.sum(axis=0) + marks.sum(axis=0)
    )
    largest = int(table.factors.max()) * 127 * (MAX_PIECES + 2)
    assert largest <= head.EXACT


# The head


@pytest.mark.parametrize("name", ["d0", "d1", "d2", "d3", "p1", "p3"])
def test_products_of_whole_numbers_are_exact(name: str) -> None:
    """Oracle: the same products in int64, for the rows that give the largest sums and for random ones."""
    matrix = head_matrices(packaged_use().weights)[name]
    signed = name in ("d0", "p1")
    made = whole_numbers(matrix, signed=signed)
    assert (np.abs(made.values * made.scale - matrix) < 0.51 * made.scale).all()
    assert (np.abs(made.values).mean(axis=0) > 40).all(), "steps to what a column's numbers are on average"
    levels = head.SIGNED_LEVELS if signed else head.POSITIVE_LEVELS
    sign = np.sign(made.values).T
    extremes = sign * levels if signed else np.vstack([sign > 0, sign < 0]) * levels
    drawn = np.random.default_rng(0).integers(-levels if signed else 0, levels + 1, (300, len(matrix)))
    for taken in (extremes, drawn):
        exact = taken.astype(np.int64) @ made.values.astype(np.int64)
        assert np.abs(exact).max() <= head.EXACT
        np.testing.assert_array_equal((taken.astype(np.float32) @ made.values).astype(np.int64), exact)


def test_a_row_of_nothing_has_a_direction() -> None:
    made = Head(head_matrices(packaged_use().weights), unit=UNIT)
    vectors = made.vectors(np.zeros((2, 512), dtype=np.float32), np.array([2, 9]))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


# The same by torch


@pytest.fixture(scope="module")
def on_device() -> DeviceEncoder:
    """The GPU path, on a CPU."""
    from coverage_lab.encoders.static.device import DeviceStaticEncoder

    use = packaged_use()
    return DeviceStaticEncoder(
        Pieces(use.model, most=MAX_PIECES),
        cached_table(use, threads=1),
        Head(head_matrices(use.weights), unit=UNIT),
        device="cpu",
    )


def test_torch_gives_the_same_vectors(
    on_device: DeviceEncoder, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the NumPy path. A last bit in what is rounded would change a vector by 10⁻³."""
    from coverage_lab.encoders.static import device

    monkeypatch.setattr(device, "_WINDOW", 7)
    texts = [*TEXTS, *HOSTILE, *REQUEST, *OTHERS, *OTHERS]
    assert isinstance(on_device, DeviceEncoder)
    assert (on_device.name, on_device.id, on_device.dim) == (encoder.name, encoder.id, encoder.dim)
    np.testing.assert_allclose(on_device.encode(texts), encoder.encode(texts), atol=1e-6)
    windows = list(on_device.encode_windows(texts))
    assert [span for span, _ in windows][:2] == [range(0, 7), range(7, 14)]
    assert sum(len(window) for _, window in windows) == len(texts)
    assert on_device.encode([]).shape == (0, 512)
    assert not stays_on_device(on_device)


def test_torch_products_keep_all_digits(on_device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process allows elsewhere: TF32 keeps 11 bits of a factor, the matrices have 14."""
    found: list[str] = []
    product = on_device._product

    def watched(*given: Any) -> Any:
        found.append(torch.get_float32_matmul_precision())
        return product(*given)

    monkeypatch.setattr(on_device, "_product", watched)
    torch.set_float32_matmul_precision("medium")
    try:
        outside = [torch.get_float32_matmul_precision() for _ in on_device.encode_windows(TEXTS)]
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (outside, found) == (["medium"], ["highest"] * 6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_vectors(encoder: Encoder) -> None:
    made = load_encoder(EncoderConfig(name="static", device="cuda"))
    assert stays_on_device(made)
    texts = [*TEXTS, *HOSTILE, *REQUEST, *OTHERS]
    np.testing.assert_allclose(made.encode(texts), encoder.encode(texts), atol=1e-6)


def test_cuda_by_name_without_cuda_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"encoder\.device: 'cuda'"):
        load_encoder(EncoderConfig(name="static", device="cuda"))


def test_cuda_without_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"torch.*coverage-lab\[gpu\]"):
        load_encoder(EncoderConfig(name="static", device="cuda"))


_SHARED: Any = Pieces(packaged_use().model, most=MAX_PIECES)
