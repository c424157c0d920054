"""Lower-triangular tiles on the CPU: no square is ever formed, no tile above the diagonal computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Segments up to this length are multiplied many at once, in groups of equal length.
SMALL = 64
#: Floats of one group's vectors held at once (1 MB).
GROUP_FLOATS = 1 << 18


def causal_novelty(
    vectors: NDArray[np.floating], offsets: NDArray[np.int64], *, tile: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what `coverage_kernels.causal_novelty.causal_novelty` returns; input is not checked."""
    best = np.full(len(vectors), -np.inf, dtype=np.float32)
    nearest = np.full(len(vectors), -1, dtype=np.int64)
    lengths = np.diff(offsets)
    small = min(SMALL, tile)
    for length in np.unique(lengths[(lengths > 1) & (lengths <= small)]).tolist():
        starts = offsets[:-1][lengths == length]
        group = max(1, GROUP_FLOATS // (length * max(length, vectors.shape[1])))
        for first in range(0, len(starts), group):
            _equal_segments(vectors, starts[first : first + group], length, best, nearest)
    for segment in np.flatnonzero(lengths > small).tolist():
        _tiled_segment(vectors, int(offsets[segment]), int(offsets[segment + 1]), tile, best, nearest)
    novelty = np.clip(1 - best, 0, 2)
    novelty[nearest < 0] = np.nan
    return novelty, nearest


def _equal_segments(
    vectors: NDArray[np.floating],
    starts: NDArray[np.int64],
    length: int,
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
) -> None:
    index = starts[:, None] + np.arange(length)
    rows = vectors[index].astype(np.float32, copy=False)
    similarity = rows @ rows.transpose(0, 2, 1)
    np.copyto(similarity, -np.inf, where=_not_earlier(length))
    column = similarity[:, 1:].argmax(axis=2)
    later = index[:, 1:]
    best[later] = np.take_along_axis(similarity[:, 1:], column[:, :, None], axis=2)[:, :, 0]
    nearest[later] = starts[:, None] + column


def _tiled_segment(
    vectors: NDArray[np.floating],
    start: int,
    stop: int,
    tile: int,
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
) -> None:
    for top in range(start, stop, tile):
        bottom = min(top + tile, stop)
        rows = vectors[top:bottom].astype(np.float32, copy=False)
        line = np.arange(bottom - top)
        for left in range(start, bottom, tile):
            diagonal = left == top
            columns = rows if diagonal else vectors[left : left + tile].astype(np.float32, copy=False)
            similarity = rows @ columns.T
            if diagonal:
                np.copyto(similarity, -np.inf, where=_not_earlier(bottom - top))
            column = similarity.argmax(axis=1)
            highest = similarity[line, column]
            # Strictly above: tiles come in rising order, so a tie stays with the earlier prompt.
            better = highest > best[top:bottom]
            best[top:bottom][better] = highest[better]
            nearest[top:bottom][better] = left + column[better]


def _not_earlier(rows: int) -> NDArray[np.bool_]:
    line = np.arange(rows)
    return line[:, None] <= line
