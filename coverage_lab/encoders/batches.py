"""Cutting texts into batches by their tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def padded_batches(lengths: NDArray[np.int64], budget: int) -> list[tuple[int, int]]:
    """Cut texts into runs of at most `budget` tokens, padding to the longest of each run included.

    Parameters
    ----------
    lengths
        Tokens of each text, ``(n,)``, at least 1, ascending.
    budget
        Tokens of a run; a text that alone has more is a run of its own.

    Returns
    -------
    list of (start, stop)
        Together all texts, in order; empty without texts.
    """
    cuts, start = [], 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or (stop + 1 - start) * int(lengths[stop]) > budget:
            cuts.append((start, stop))
            start = stop
    return cuts
