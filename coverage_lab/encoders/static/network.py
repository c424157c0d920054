"""The network's weights as they come, and what it makes of each piece taken alone.

Google's Universal Sentence Encoder, multilingual, version 3 (Yang et al. 2019): a piece's embedding and three
convolutions over its neighbours (of 2, 3 and 5 pieces, two layers each) are normalised and projected to 512
numbers; a sentence is the sum of its pieces' numbers over √pieces, sent through a small head. With every
piece taken alone, the part before the sum is a table.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.static.blas import one_blas_thread

Floats = NDArray[np.float64]

#: The embeddings come in that many parts: piece `i` is in part ``i % _PARTS``, at row ``i // _PARTS``.
_PARTS = 17
#: Pieces a convolution sees, and how many of them stand before its own.
_CONVOLUTIONS = ((2, 0), (3, 1), (5, 2))
_WIDTH = 256
#: Pieces that a thread takes through the network at once; 30 MB.
_BLOCK = 1024


#: Matrices of the sentence head.
_HEAD = ("d0", "d1", "d2", "d3", "p1", "p3")


def head_matrices(weights: Path) -> dict[str, Floats]:
    """Return the matrices of the sentence head by name, ``(in, out)``, from the file of the weights."""
    with np.load(weights, allow_pickle=False) as stored:
        return {key: stored[key].astype(np.float64) for key in _HEAD}


class Network:
    """The arrays of ``weights.npz``, in float64: what is rounded afterwards is the same on any machine.

    Parameters
    ----------
    weights
        The file.

    """

    def __init__(self, weights: Path) -> None:
        with np.load(weights, allow_pickle=False) as stored:
            self._embeddings = [stored[f"q{part + 1}"] for part in range(_PARTS)]
            wide = {key: stored[key].astype(np.float64) for key in stored.files if key[0] != "q"}
        self._eps = float(wide["eps"])
        self._scale, self._low = wide["scale"], wide["lo"]
        self._project = np.concatenate([wide[f"proj{n}"] for n, _ in _CONVOLUTIONS], axis=1)
        self._project_bias = np.concatenate([wide[f"proj_b{n}"] for n, _ in _CONVOLUTIONS])
        self._inner_gain = np.concatenate([wide[f"ln_g{n}"] for n, _ in _CONVOLUTIONS])
        self._inner_bias = np.concatenate([wide[f"ln_b{n}"] for n, _ in _CONVOLUTIONS])
        self._layers = [
            [(wide[f"w{layer}_{n}"][before * _WIDTH :][:_WIDTH], wide[f"b{layer}_{n}"]) for layer in (1, 2)]
            for n, before in _CONVOLUTIONS
        ]
        self._outer_gain, self._outer_bias = wide["ln_g"], wide["ln_b"]
        self._out, self._out_bias = wide["cnn_W"], wide["cnn_b"]

    @property
    def pieces(self) -> int:
        """Pieces of the vocabulary."""
        return sum(len(part) for part in self._embeddings)

    @property
    def width(self) -> int:
        """Numbers of a piece."""
        return int(self._out.shape[1])

    def each_block(
        self, threads: int, take: Callable[[NDArray[np.int64], Floats], None], told: Callable[[int], None]
    ) -> None:
        """Call ``take(ids, (n, width) numbers of those pieces alone)`` for all pieces, from several threads.

        Parameters
        ----------
        threads
            Threads at work at once.
        take
            May be called by several threads at once.
        told
            Called with the number of pieces done so far, by the caller's thread.
        """
        blocks = [
            (part, start) for part in range(_PARTS) for start in range(0, len(self._embeddings[part]), _BLOCK)
        ]

        def work(block: tuple[int, int]) -> int:
            part, start = block
            stored = self._embeddings[part][start : start + _BLOCK]
            take(
                np.arange(start, start + len(stored)) * _PARTS + part,
                self._alone(stored * self._scale[part] + self._low[part]),
            )
            return len(stored)

        done = 0
        with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
            for count in pool.map(work, blocks):
                done += count
                told(done)

    def _alone(self, embedding: Floats) -> Floats:
        """Return the numbers of pieces without neighbours: all places of a window but its own are zero."""
        projected = embedding @ self._project + self._project_bias
        seen = _normalised(projected, self._inner_gain, self._inner_bias, self._eps)
        found = [embedding]
        for k, layers in enumerate(self._layers):
            state = seen[:, k * _WIDTH : (k + 1) * _WIDTH]
            for weights, bias in layers:
                state = np.maximum(state @ weights + bias, 0) + state
            found.append(state)
        together = _normalised(np.hstack(found), self._outer_gain, self._outer_bias, self._eps)
        alone: Floats = together @ self._out + self._out_bias
        return alone


def _normalised(rows: Floats, gain: Floats, bias: Floats, eps: float) -> Floats:
    """Shift and scale each row to mean 0 and variance 1, then each column by gain and bias."""
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows) / rows.shape[1] + eps)[:, None]
    rows *= gain
    rows += bias
    return rows
