"""Texts to token ids without padding, by whichever of two libraries finds the same ids faster.

Hugging Face's `tokenizers` is the reference. `nanotoken` (the extra ``fast``) does the WordPiece part of it
over a cache of words, ten times faster, and refuses a tokenizer that it can't reproduce to the id.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np

from coverage_lab.encoders.tokens import Tokens
from coverage_lab.errors import ConfigError, MissingExtraError

_log = logging.getLogger(__name__)

TokenizerLibrary = Literal["tokenizers", "nanotoken"]
TokenizerName = Literal["auto"] | TokenizerLibrary


class Tokenizer(Protocol):
    """Turns texts into `Tokens`.

    Attributes
    ----------
    name : {"tokenizers", "nanotoken"}
        The library.
    """

    @property
    def name(self) -> TokenizerLibrary:
        """The library."""
        ...

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts; without texts, no ids and one offset."""
        ...


class HuggingFaceTokenizer:
    """The batch path of Hugging Face's `tokenizers`; options as `load_tokenizer`."""

    name: TokenizerLibrary = "tokenizers"

    def __init__(self, recipe: str, *, window: int | None = None) -> None:
        try:
            from tokenizers import Tokenizer as Library
        except ImportError as error:
            raise MissingExtraError("tokenizers", "transformer", "tokenizing") from error
        self._library = Library.from_str(recipe)
        self._library.no_padding()
        # The recipe may name a length of its own.
        if window is None:
            self._library.no_truncation()
        else:
            self._library.enable_truncation(window)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts."""
        found = self._library.encode_batch_fast(list(texts), add_special_tokens=True)
        rows: list[list[int]] = [encoding.ids for encoding in found]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return Tokens(np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1])), offsets)


class NanoTokenizer:
    """The `nanotoken` library: WordPiece only, the same ids; options as `load_tokenizer`.

    Its caches of words are bounded by it, at 130 MiB a thread.
    """

    name: TokenizerLibrary = "nanotoken"

    def __init__(self, recipe: str, *, window: int | None = None) -> None:
        try:
            import nanotoken
        except ImportError as error:
            raise MissingExtraError("nanotoken", "fast", "encoder.tokenizer = 'nanotoken'") from error
        try:
            self._library: Any = nanotoken.Tokenizer.from_json(recipe)
        except nanotoken.UnsupportedTokenizerError as error:
            raise ConfigError(
                f"encoder.tokenizer: 'nanotoken' can't reproduce this model's tokenizer ({error!s:.200}); "
                "use 'tokenizers'"
            ) from error
        self._window = window

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts."""
        found = self._library.encode_batch(
            list(texts),
            add_special_tokens=True,
            max_length=self._window,
            # None leaves it to the library, which knows that a forked child has no pool of threads.
            parallel=None,
        )
        return Tokens(found.ids.view(np.int32), found.offsets)


def load_tokenizer(name: TokenizerName, recipe: str, *, window: int | None = None) -> Tokenizer:
    """Load a tokenizer, which keeps to the threads of `limit_tokenizer_threads`.

    Parameters
    ----------
    name : {"auto", "tokenizers", "nanotoken"}
        ``auto`` is ``nanotoken`` where it is installed and can reproduce this tokenizer, else
        ``tokenizers``; which, the log says once. The ids are the same.
    recipe : str
        The model's ``tokenizer.json`` as text.
    window : int, optional
        Most tokens of a text, special tokens included; what is beyond is cut off. None cuts nothing,
        whatever the recipe says.

    Raises
    ------
    ConfigError
        ``nanotoken`` was asked for by name and can't reproduce this tokenizer.
    MissingExtraError
        The library is not installed.
    """
    if name == "tokenizers":
        return HuggingFaceTokenizer(recipe, window=window)
    if name == "auto" and importlib.util.find_spec("nanotoken") is None:
        _log.info("encoder.tokenizer: auto chose tokenizers: nanotoken is not installed")
        return HuggingFaceTokenizer(recipe, window=window)
    try:
        fast = NanoTokenizer(recipe, window=window)
    except ConfigError as refusal:
        if name == "nanotoken":
            raise
        _log.info("encoder.tokenizer: auto chose tokenizers: %s", refusal.__cause__)
        return HuggingFaceTokenizer(recipe, window=window)
    if name == "auto":
        _log.info("encoder.tokenizer: auto chose nanotoken")
    return fast


def limit_tokenizer_threads(threads: int) -> None:
    """Hold both libraries' own threads to that many; in force if set before their first use."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if threads == 1 else "true"
