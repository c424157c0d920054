"""Token ids without padding, the tokenizers that make them, and tokenizing one window ahead of the model."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from coverage_lab.errors import ConfigError, MissingExtraError

TokenizerName = Literal["tokenizers", "nanotoken"]

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

#: How long the thread of `ahead` waits at a full queue before it looks whether anyone still listens.
_PATIENCE_S = 0.1


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of ``n`` texts, one after the other.

    Attributes
    ----------
    ids : (t,) int32
        All ids, special tokens included.
    offsets : (n + 1,) int64
        Text ``i`` has ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, shape ``(n,)``."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Tokens:
        """Return the tokens of those texts, in that order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        shift = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Tokens(self.ids[shift + np.arange(offsets[-1])], offsets)

    def digests(self) -> list[bytes]:
        """Return 128-bit BLAKE2b digests of each text's ids; equal ids, equal digest."""
        data, ends = self.ids.tobytes(), (self.offsets * self.ids.itemsize).tolist()
        return [hashlib.blake2b(data[start:stop], digest_size=16).digest() for start, stop in pairwise(ends)]


class Tokenizer(Protocol):
    """Turns texts into `Tokens`, each cut to the model's window."""

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts; without texts, no ids and one offset."""
        ...


class HuggingFaceTokenizer:
    """The batch path of Hugging Face `tokenizers`."""

    def __init__(self, recipe: str, *, window: int) -> None:
        from tokenizers import Tokenizer as Library

        self._library = Library.from_str(recipe)
        self._library.no_padding()
        self._library.enable_truncation(window)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts."""
        rows: list[list[int]] = [encoding.ids for encoding in self._library.encode_batch_fast(list(texts))]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        ids = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1]))
        return Tokens(ids, offsets)


class NanoTokenizer:
    """The `nanotoken` library: WordPiece only, the same ids as `HuggingFaceTokenizer`, faster."""

    def __init__(self, recipe: str, *, window: int) -> None:
        try:
            import nanotoken
        except ImportError as error:
            raise MissingExtraError("nanotoken", "fast", "encoder.tokenizer = 'nanotoken'") from error
        try:
            self._library: Any = nanotoken.Tokenizer.from_json(recipe)
        except nanotoken.UnsupportedTokenizerError as error:
            raise ConfigError(
                f"encoder.tokenizer: 'nanotoken' can't do this model's tokenizer ({error!s:.200}); "
                "use 'tokenizers'"
            ) from error
        self._window = window

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return the ids of the texts."""
        ragged = self._library.encode_batch(list(texts), max_length=self._window)
        return Tokens(ragged.ids.astype(np.int32), ragged.offsets)


_TOKENIZERS: dict[TokenizerName, Callable[..., Tokenizer]] = {
    "tokenizers": HuggingFaceTokenizer,
    "nanotoken": NanoTokenizer,
}


def load_tokenizer(name: TokenizerName, recipe: str, *, window: int) -> Tokenizer:
    """Load the tokenizer of that name.

    Parameters
    ----------
    name
        ``tokenizers`` or ``nanotoken``.
    recipe
        The model's ``tokenizer.json`` as text.
    window
        Most tokens of a text, special tokens included; what is beyond is cut off.

    Raises
    ------
    ConfigError
        nanotoken can't do a tokenizer of this kind.
    MissingExtraError
        The library is not installed.
    """
    return _TOKENIZERS[name](recipe, window=window)


def limit_tokenizer_threads(threads: int) -> None:
    """Hold the tokenizers' own threads to that many; in force if set before their first use."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if threads == 1 else "true"


def ahead(
    make: Callable[[_Given], _Made], given: Iterable[_Given], *, depth: int = 2
) -> Iterator[tuple[_Given, _Made]]:
    """Yield ``(one, make(one))`` in order, made by a thread that is at most `depth` results ahead.

    An error of `make` or `given` is raised here, at its place in the order. The thread ends with the
    iterator: when all is yielded, on an error, and when the iterator is closed early.
    """
    results: queue.Queue[tuple[_Given, _Made] | BaseException | None] = queue.Queue(maxsize=depth)
    unwanted = threading.Event()

    def put(result: tuple[_Given, _Made] | BaseException | None) -> None:
        while not unwanted.is_set():
            try:
                results.put(result, timeout=_PATIENCE_S)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for one in given:
                if unwanted.is_set():
                    return
                put((one, make(one)))
            put(None)
        except BaseException as error:  # the reader raises it
            put(error)

    thread = threading.Thread(target=work, name="tokenize-ahead", daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        unwanted.set()
        thread.join()
