"""Texts to the ids of their pieces, word by word, with the words seen before kept.

The vocabulary is a SentencePiece unigram model (Kudo 2018). None of its pieces goes on after a space, so the
likeliest pieces of a text are those of its words, one word after the other: each distinct word is cut once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sentencepiece
from numpy.typing import NDArray

from coverage_lab.encoders.tokens import Tokens

#: Words and their characters that are kept; about 150 MB when full. Beyond, all are forgotten: the frequent
#: ones are back soon.
_MOST_WORDS = 500_000
_MOST_CHARACTERS = 16_000_000

#: Words that SentencePiece is given at once: a list for each of more wakes Python's garbage collector.
_CUT_AT_ONCE = 512

#: Ids of the pieces that stand for a text's beginning and end.
BEGINNING, END = 1, 2

#: What ends a word beside the space.
_LIKE_A_SPACE = ("\n", "\t", "\r")


class _Numbers(dict[str, int]):
    """Numbers words in the order in which they are first asked for.

    Attributes
    ----------
    new : list of str
        Words numbered since the list was last emptied.
    """

    def __init__(self) -> None:
        self.new: list[str] = []

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        self.new.append(word)
        return number


class _Growing:
    """An array that is appended to."""

    def __init__(self, kind: type[np.int32] | type[np.int64]) -> None:
        self._room: NDArray[Any] = np.empty(1 << 16, dtype=kind)
        self._length = 0

    @property
    def filled(self) -> NDArray[Any]:
        """What was appended."""
        return self._room[: self._length]

    def append(self, more: NDArray[Any]) -> None:
        """Put `more` at the end."""
        end = self._length + len(more)
        if end > len(self._room):
            grown = np.empty(2 * end, dtype=self._room.dtype)
            grown[: self._length] = self.filled
            self._room = grown
        self._room[self._length : end] = more
        self._length = end


class Pieces:
    """Cuts texts into pieces of a SentencePiece model.

    A text is cut at spaces (line ends and tabs count as such) and each word by itself, so a word has the same
    pieces wherever it stands. SentencePiece given a whole text finds the same, except where two ways to cut a
    word are equally likely: there its rounding depends on what stands before. Lone surrogates are read as
    question marks. No piece marks a text's beginning or end.

    Parameters
    ----------
    model
        File of the SentencePiece model.
    most
        Pieces of a text that are returned; what is beyond is cut off.
    """

    def __init__(self, model: Path, *, most: int) -> None:
        self._library = sentencepiece.SentencePieceProcessor(model_file=str(model))
        self._most = most
        self._turn = threading.Lock()
        self._forget()

    def of(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts' pieces; several threads may call at once."""
        words = _words(texts)
        distinct = words.values.dictionary_encode()
        which: NDArray[np.int32] = distinct.indices.to_numpy()
        with self._turn:
            starts, lengths, ids = self._known(distinct.dictionary.to_pylist())
        starts, lengths = starts[which], lengths[which]
        ends = _offsets(lengths)
        tokens = Tokens(
            ids[np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])], ends[words.offsets.to_numpy()]
        )
        return _cut_off(tokens, self._most)

    def _known(self, words: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Return where each word's ids start, how many they are, and all ids; the arrays stay as they are."""
        # A call that failed half-way leaves words without pieces.
        if self._number.new or len(self._number) > _MOST_WORDS or self._characters > _MOST_CHARACTERS:
            self._forget()
        number = np.fromiter(map(self._number.__getitem__, words), np.int64, count=len(words))
        if self._number.new:
            self._learn(self._number.new)
            self._number.new = []
        ends = self._ends.filled
        return ends[number], ends[number + 1] - ends[number], self._ids.filled

    def _forget(self) -> None:
        self._number = _Numbers()
        self._characters = 0
        self._ids = _Growing(np.int32)
        self._ends = _Growing(np.int64)
        self._ends.append(np.zeros(1, dtype=np.int64))

    def _learn(self, words: list[str]) -> None:
        """Keep the pieces of words that are new."""
        self._characters += sum(map(len, words))
        for start in range(0, len(words), _CUT_AT_ONCE):
            rows = self._library.encode(words[start : start + _CUT_AT_ONCE], num_threads=1)
            ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
            self._ends.append(ends + self._ends.filled[-1])
            self._ids.append(np.fromiter(chain.from_iterable(rows), np.int32, count=int(ends[-1])))


def _words(texts: Sequence[str]) -> Any:
    """Return the words of each text as an Arrow list array."""
    try:
        rows = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:  # lone surrogates
        rows = pa.array(
            [text.encode("utf-8", "replace").decode("utf-8") for text in texts], pa.large_string()
        )
    for end in _LIKE_A_SPACE:
        rows = pc.replace_substring(rows, end, " ")
    return pc.split_pattern(rows, " ")


def _cut_off(tokens: Tokens, most: int) -> Tokens:
    """Return the first `most` ids of each text."""
    if not len(tokens) or tokens.lengths.max() <= most:
        return tokens
    kept = np.minimum(tokens.lengths, most)
    ends = _offsets(kept)
    return Tokens(tokens.ids[np.repeat(tokens.offsets[:-1] - ends[:-1], kept) + np.arange(ends[-1])], ends)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of the runs of those lengths starts, and where the last ends."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
