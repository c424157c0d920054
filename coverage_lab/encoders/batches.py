"""Cutting texts into batches by their tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def packed_batches(lengths: NDArray[np.int64], budget: int) -> list[tuple[int, int]]:
    """Cut texts into runs of at most `budget` tokens; a text that alone has more is a run of its own.

    Parameters
    ----------
    lengths
        Tokens of each text, ``(n,)``, at least 1.
    budget
        Tokens of a run.

    Returns
    -------
    list of (start, stop)
        Together all texts, in order; empty without texts.
    """
    ends = np.cumsum(lengths)
    cuts, start, done = [], 0, 0
    while start < len(lengths):
        stop = max(int(np.searchsorted(ends, done + budget, side="right")), start + 1)
        cuts.append((start, stop))
        start, done = stop, int(ends[stop - 1])
    return cuts


def padded_batches(lengths: NDArray[np.int64], budget: int) -> list[tuple[int, int]]:
    """Cut texts that ascend in length as `packed_batches` does, padding to the longest of a run included."""
    cuts, start = [], 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or (stop + 1 - start) * int(lengths[stop]) > budget:
            cuts.append((start, stop))
            start = stop
    return cuts
