"""Novelty of each row against the earlier rows of its own segment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_kernels.backends import TritonBackend, chosen
from coverage_kernels.causal_novelty import blocked
from coverage_kernels.ragged import checked_offsets
from coverage_kernels.tensors import Values, as_array, check_floats, like, row_norms

__all__ = ["causal_novelty"]

#: How far a row's norm may be from 1. Rounding a unit vector to float16 moves its norm by less than 5e-4,
#: to bfloat16 by less than 4e-3.
NORM_TOLERANCE = 5e-3


def causal_novelty(
    vectors: Values,
    offsets: ArrayLike,
    *,
    history: Values | None = None,
    history_offsets: ArrayLike | None = None,
    tile: int = 1024,
    backend: TritonBackend = "auto",
) -> tuple[Values, Values]:
    """Return 1 − the largest cosine to an earlier row of the same segment, and which row that is.

    Formula: ``novelty[i] = 1 − max(vectors[j] · vectors[i] for j < i in i's segment)``, where the history of
    the segment, if any, comes before its rows

    Parameters
    ----------
    vectors : float16, float32 or float64 (n, d), in a tensor also bfloat16
        Unit rows, in time order within each segment. Products are summed in float32. 'triton' reads a tensor
        of the GPU where it is, and takes float64 as float32.
    offsets : int (segments + 1,)
        Segment s holds rows ``offsets[s]:offsets[s + 1]``. Empty segments are allowed.
    history : float (h, d), optional
        Unit rows that came before, such as a sample of earlier days.
    history_offsets : int (segments + 1,), optional
        Segment s has the history ``history[history_offsets[s]:history_offsets[s + 1]]``, or none where
        that is empty. Given with `history` or not at all.
    tile : int
        Rows and columns of the largest block of similarities held at once on the CPU (``4 · tile²`` bytes).
    backend : {'auto', 'cpu', 'triton'}
        'triton' needs torch, triton and a CUDA device; 'auto' uses it where they are, and logs its choice
        once.

    Returns
    -------
    novelty : float32 (n,)
        0 (seen before) to 2 (opposite to all before); NaN for a row with nothing before it. An array for
        arrays, a tensor on the device of `vectors` for tensors; so is `nearest`.
    nearest : int64 (n,)
        Row of `vectors` with the largest cosine, or n + row of `history`; the earliest of equals, history
        before rows; −1 for a row with nothing before it.

    Raises
    ------
    ValueError
        `vectors` or `history` is not a floating matrix of unit rows (NaN and zero rows are not) of one
        length, the offsets do not cut them into the same number of segments, one of `history` and
        `history_offsets` is missing, `tile` is below 1, or there is no such backend.
    RuntimeError
        'triton' was asked for and can't run here.
    """
    _check_unit(vectors, "vectors")
    cut = checked_offsets(offsets, len(vectors))
    if tile < 1:
        raise ValueError(f"tile: expected 1 or more, got {tile}")
    past_cut = _checked_history(history, history_offsets, vectors.shape[1], len(cut) - 1)
    found: tuple[Any, Any]
    if chosen(backend, "triton", op="causal_novelty") == "cpu":
        past = None if history is None else as_array(history)
        found = blocked.causal_novelty(
            as_array(vectors), cut, tile=tile, history=past, history_offsets=past_cut
        )
    else:
        # Here, not above: torch and triton are an extra.
        from coverage_kernels.causal_novelty import on_gpu

        found = on_gpu.causal_novelty(vectors, cut, history=history, history_offsets=past_cut)
    novelty, nearest = found
    return like(novelty, vectors), like(nearest, vectors)


def _checked_history(
    history: Values | None, history_offsets: ArrayLike | None, dim: int, segments: int
) -> NDArray[np.int64] | None:
    if (history is None) != (history_offsets is None):
        missing = "history" if history is None else "history_offsets"
        raise ValueError(f"{missing}: expected with the other of history and history_offsets, got None")
    if history is None or history_offsets is None:
        return None
    _check_unit(history, "history")
    if history.shape[1] != dim:
        raise ValueError(f"history: expected rows of length {dim} like vectors, got {history.shape[1]}")
    cut = checked_offsets(history_offsets, len(history), name="history_offsets")
    if len(cut) != segments + 1:
        raise ValueError(f"history_offsets: expected {segments} segments like offsets, got {len(cut) - 1}")
    return cut


def _check_unit(rows: Values, name: str) -> None:
    check_floats(rows, name)
    norms = row_norms(rows)
    odd = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if odd.size:
        raise ValueError(
            f"{name}: expected rows of norm 1, got {norms[odd[0]]:.4g} in row {odd[0]} ({odd.size} such rows)"
        )
