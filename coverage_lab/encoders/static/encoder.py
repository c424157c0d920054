"""Unit vectors of prompts: the sum of their pieces' numbers, exactly, through a small head.

The steps of a window of prompts: words to pieces (`pieces`), one sparse product (prompts × pieces) · (pieces
× numbers) in whole numbers, and the sentence head (`head`), in whole numbers too. Nothing depends on the
order of a sum, so a prompt's vector depends on its own text only, to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.packaged import MAX_CHARACTERS, packaged_use
from coverage_lab.encoders.static.blas import one_blas_thread
from coverage_lab.encoders.static.head import Head
from coverage_lab.encoders.static.network import head_matrices
from coverage_lab.encoders.static.pieces import BEGINNING, END, Pieces
from coverage_lab.encoders.static.table import MAX_PIECES, RECIPE_ID, UNIT, Table, cached_table
from coverage_lab.encoders.tokens import Tokens
from coverage_lab.errors import ConfigError, MissingExtraError
from coverage_lab.progress import Progress, silent

if TYPE_CHECKING:
    from coverage_lab.encoders.static.device import DeviceStaticEncoder

#: Prompts that a thread takes at once.
_WINDOW = 4096
#: Columns summed at once: few enough for the frequent pieces' numbers to stay in a core's cache.
_COLUMNS = 64
#: Fewer prompts than this are not worth a second thread.
_LEAST_FOR_A_THREAD = 512


class StaticEncoder:
    """The static encoder as an `Encoder`; CPU, float32.

    A prompt is cut to its first 4,000 characters. A vector depends on its own text only, to the last bit,
    however many threads work and whatever BLAS they work with.

    Parameters
    ----------
    pieces, table, head
        As `load_static` makes them.
    threads
        Windows of prompts at work at once.
    """

    name = "static"
    id = RECIPE_ID
    device = "cpu"
    precision = "float32"

    def __init__(self, pieces: Pieces, table: Table, head: Head, *, threads: int) -> None:
        self._pieces = pieces
        self._rows = table.rows
        self._factors = table.factors.astype(np.float32)
        self._head = head
        self._threads = threads
        marks = table.rows[[BEGINNING, END]].astype(np.float32) * self._factors[[BEGINNING, END], None]
        self._marks: NDArray[np.float32] = marks.sum(axis=0)
        self.dim = head.dim

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape ``(len(texts), dim)``."""
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        threads = min(self._threads, max(len(texts) // _LEAST_FOR_A_THREAD, 1))
        step = min(_WINDOW, max(-(-len(texts) // threads), 1))

        def window(start: int) -> None:
            rows = slice(start, start + step)
            vectors[rows] = self._window([text[:MAX_CHARACTERS] for text in texts[rows]])

        starts = range(0, len(texts), step)
        with one_blas_thread():
            if threads == 1:
                for start in starts:
                    window(start)
            else:
                with ThreadPoolExecutor(threads) as pool:
                    # Asked for its results, so that what a thread raised is raised here.
                    list(pool.map(window, starts))
        return vectors

    def _window(self, texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = self._pieces.of(texts)
        return self._head.vectors(self._sums(tokens), tokens.lengths + 2)

    def _sums(self, tokens: Tokens) -> NDArray[np.float32]:
        # SciPy takes longer to import than the command line takes to print its help.
        from scipy.sparse import csr_array

        there = np.zeros(len(self._rows), dtype=bool)
        there[tokens.ids] = True
        distinct = np.flatnonzero(there)
        place = np.empty(len(self._rows), dtype=np.int32)
        place[distinct] = np.arange(len(distinct), dtype=np.int32)
        counts = csr_array(
            (self._factors[tokens.ids], place[tokens.ids], tokens.offsets.astype(np.int32)),
            shape=(len(tokens), len(distinct)),
        )
        numbers = self._rows[distinct]
        sums = np.empty((len(tokens), numbers.shape[1]), dtype=np.float32)
        for start in range(0, numbers.shape[1], _COLUMNS):
            columns = slice(start, start + _COLUMNS)
            sums[:, columns] = counts @ numbers[:, columns].astype(np.float32)
        sums += self._marks
        return sums


def load_static(
    *, threads: int | None = None, device: Literal["cpu", "cuda"] = "cpu", progress: Progress = silent
) -> StaticEncoder | DeviceStaticEncoder:
    """Load the static encoder; the first time on a machine its table is built (`table.cached_table`).

    Parameters
    ----------
    threads
        CPU threads; all cores when None.
    device
        ``cuda`` computes with torch on the GPU, ``cpu`` with NumPy and SciPy.
    progress
        Told about the building.

    Raises
    ------
    ConfigError
        The cache can't be written, the packaged weights are missing or not the ones expected, or there is no
        CUDA device.
    MissingExtraError
        A GPU was asked for and torch is not installed.
    """
    if device == "cuda":
        _require_cuda()
    use = packaged_use()
    count = os.cpu_count() or 1 if threads is None else threads
    table = cached_table(use, threads=count, progress=progress)
    head = Head(head_matrices(use.weights), unit=UNIT)
    pieces = Pieces(use.model, most=MAX_PIECES)
    if device == "cpu":
        return StaticEncoder(pieces, table, head, threads=count)
    from coverage_lab.encoders.static.device import DeviceStaticEncoder

    return DeviceStaticEncoder(pieces, table, head, device=device)


def _require_cuda() -> None:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "gpu", "encoder.device = 'cuda'") from error
    if not torch.cuda.is_available():
        raise ConfigError("encoder.device: 'cuda' was asked for, but torch finds no CUDA device")
