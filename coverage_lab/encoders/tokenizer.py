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
    own_threads : bool
        Whether a call spreads over threads by itself; where it does not, several threads may call at once and
        are faster for it.
    """

    @property
    def name(self) -> TokenizerLibrary:
        """The library."""
        ...

    @property
    def own_threads(self) -> bool:
        """Whether a call spreads over threads by itself."""
        ...

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts; without texts, no ids and one offset."""
        ...

    def id_of(self, token: str) -> int:
        """Return the id of a token of the vocabulary."""
        ...


class HuggingFaceTokenizer:
    """The batch path of Hugging Face's `tokenizers`; options as `load_tokenizer`."""

    name: TokenizerLibrary = "tokenizers"
    own_threads = True

    def __init__(self, recipe: str, *, window: int | None = None, special_tokens: bool = True) -> None:
        try:
            from tokenizers import Tokenizer as Library
        except ImportError as error:
            raise MissingExtraError("tokenizers", "encoders", "tokenizing") from error
        self._library = Library.from_str(recipe)
        self._library.no_padding()
        # The recipe may name a length of its own.
        if window is None:
            self._library.no_truncation()
        else:
            self._library.enable_truncation(window)
        self._special_tokens = special_tokens

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts."""
        found = self._library.encode_batch_fast(list(texts), add_special_tokens=self._special_tokens)
        rows: list[list[int]] = [encoding.ids for encoding in found]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return Tokens(np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1])), offsets)

    def id_of(self, token: str) -> int:
        """Return the id of a token of the vocabulary."""
        return int(self._library.token_to_id(token))


class NanoTokenizer:
    """The `nanotoken` library: WordPiece only, the same ids; options as `load_tokenizer`.

    Its caches of words are bounded by it, at 130 MiB a thread.
    """

    name: TokenizerLibrary = "nanotoken"

    def __init__(
        self,
        recipe: str,
        *,
        window: int | None = None,
        special_tokens: bool = True,
        own_threads: bool = True,
    ) -> None:
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
        self._special_tokens = special_tokens
        self.own_threads = own_threads

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts."""
        found = self._library.encode_batch(
            list(texts),
            add_special_tokens=self._special_tokens,
            max_length=self._window,
            # None leaves it to the library, which knows that a forked child has no pool of threads.
            parallel=None if self.own_threads else False,
        )
        return Tokens(found.ids.view(np.int32), found.offsets)

    def id_of(self, token: str) -> int:
        """Return the id of a token of the vocabulary."""
        return int(self._library.token_to_id(token))


def load_tokenizer(
    name: TokenizerName,
    recipe: str,
    *,
    window: int | None = None,
    special_tokens: bool = True,
    own_threads: bool = True,
) -> Tokenizer:
    """Load a tokenizer.

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
    special_tokens : bool
        Whether a text's ids begin and end with those that the recipe puts there.
    own_threads : bool
        Whether nanotoken spreads a call over threads; False where several threads call it. ``tokenizers``
        always does. Both keep to `limit_tokenizer_threads`.

    Raises
    ------
    ConfigError
        ``nanotoken`` was asked for by name and can't reproduce this tokenizer.
    MissingExtraError
        The library is not installed.
    """
    if name == "tokenizers":
        return HuggingFaceTokenizer(recipe, window=window, special_tokens=special_tokens)
    if name == "auto" and importlib.util.find_spec("nanotoken") is None:
        _log.info("encoder.tokenizer: auto chose tokenizers: nanotoken is not installed")
        return HuggingFaceTokenizer(recipe, window=window, special_tokens=special_tokens)
    try:
        fast = NanoTokenizer(recipe, window=window, special_tokens=special_tokens, own_threads=own_threads)
    except ConfigError as refusal:
        if name == "nanotoken":
            raise
        _log.info("encoder.tokenizer: auto chose tokenizers: %s", refusal.__cause__)
        return HuggingFaceTokenizer(recipe, window=window, special_tokens=special_tokens)
    if name == "auto":
        _log.info("encoder.tokenizer: auto chose nanotoken")
    return fast


def limit_tokenizer_threads(threads: int) -> None:
    """Hold both libraries' own threads to that many; in force if set before their first use."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if threads == 1 else "true"
