"""Token ids without padding, and making them one window ahead of the model."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

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
        All ids, with special tokens where the model takes them.
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
