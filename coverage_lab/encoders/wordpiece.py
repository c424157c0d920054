"""Texts to token ids without padding, by whichever of two libraries finds the same ids faster.

Hugging Face's `tokenizers` is the reference. `nanotoken` (the extra ``fast``) does the WordPiece part of it
over a cache of words, ten times faster, and refuses a tokenizer that it can't reproduce to the id.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from coverage_lab.errors import ConfigError, MissingExtraError

_log = logging.getLogger(__name__)

TokenizerName = Literal["auto", "tokenizers", "nanotoken"]

#: Flat ids, and where each text's begin and end among them: text i has ``ids[offsets[i]:offsets[i + 1]]``.
Ragged = tuple[NDArray[np.int32], NDArray[np.int32]]


class WordPiece(Protocol):
    """Finds the tokens of texts, without special tokens and without an end.

    Attributes
    ----------
    name : str
        The library: ``tokenizers`` or ``nanotoken``.
    releases_the_interpreter : bool
        Whether several threads may call `encode` and be faster for it.
    """

    name: str
    releases_the_interpreter: bool

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Return the ids of all texts and their offsets, ``len(texts) + 1`` of them."""
        ...

    def id_of(self, token: str) -> int:
        """Return a vocabulary token's id."""
        ...


class HuggingFaceWordPiece:
    """`tokenizers` as a `WordPiece`; it spreads a call over threads itself."""

    name = "tokenizers"
    releases_the_interpreter = False

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Return the ids of all texts and their offsets."""
        found = [one.ids for one in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        offsets = np.zeros(len(found) + 1, dtype=np.int32)
        np.cumsum([len(ids) for ids in found], out=offsets[1:])
        return np.fromiter(chain.from_iterable(found), dtype=np.int32, count=int(offsets[-1])), offsets

    def id_of(self, token: str) -> int:
        """Return a vocabulary token's id."""
        return int(self._tokenizer.token_to_id(token))


class NanotokenWordPiece:
    """`nanotoken` as a `WordPiece`; its caches of words are bounded by it, at 130 MiB a thread."""

    name = "nanotoken"
    releases_the_interpreter = True

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Return the ids of all texts and their offsets."""
        found = self._tokenizer.encode_batch(texts, add_special_tokens=False, parallel=False)
        return found.ids.view(np.int32), found.offsets.astype(np.int32)

    def id_of(self, token: str) -> int:
        """Return a vocabulary token's id."""
        return int(self._tokenizer.token_to_id(token))


def load_wordpiece(described: str, *, library: TokenizerName, purpose: str) -> WordPiece:
    """Load a WordPiece tokenizer.

    Parameters
    ----------
    described : str
        The tokenizer as Hugging Face's ``tokenizer.json`` describes it.
    library : {"auto", "tokenizers", "nanotoken"}
        ``auto`` is ``nanotoken`` where it is installed, said once in the log. The ids are the same.
    purpose : str
        What the tokenizer is for, in words for the error.

    Raises
    ------
    MissingExtraError
        The library is not installed.
    ConfigError
        ``nanotoken`` was asked for by name and can't reproduce this tokenizer.
    """
    if library == "auto":
        library = "nanotoken" if importlib.util.find_spec("nanotoken") is not None else "tokenizers"
        _log.info("%s: auto chose the library %s", purpose, library)
    if library == "nanotoken":
        return _nanotoken(described, purpose)
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("tokenizers", "encoders", purpose) from error
    tokenizer = Tokenizer.from_str(described)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return HuggingFaceWordPiece(tokenizer)


def _nanotoken(described: str, purpose: str) -> NanotokenWordPiece:
    try:
        from nanotoken import Tokenizer, UnsupportedTokenizerError
    except ImportError as error:
        raise MissingExtraError("nanotoken", "fast", purpose) from error
    try:
        return NanotokenWordPiece(Tokenizer.from_json(described))
    except UnsupportedTokenizerError as error:
        raise ConfigError(f"encoder.tokenizer: nanotoken can't reproduce {purpose}'s ({error})") from error
