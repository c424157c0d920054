"""Lower-triangular tiles on the CPU: no square is ever formed, no tile above the diagonal computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Segments up to this length are multiplied many at once, in groups of equal length.
SMALL = 64
#: Floats of one group's vectors held at once (1 MB).
GROUP_FLOATS = 1 << 18
#: Largest square on the diagonal, half of which is computed in vain. Smaller ones waste less arithmetic, but
#: each product is a place where BLAS threads wait for each other.
DIAGONAL = 512
#: Above and on the diagonal; made once, since making it takes longer than using it.
_NOT_EARLIER = ~np.tri(DIAGONAL, k=-1, dtype=np.bool_)


def causal_novelty(
    vectors: NDArray[np.floating],
    offsets: NDArray[np.int64],
    *,
    tile: int,
    history: NDArray[np.floating] | None = None,
    history_offsets: NDArray[np.int64] | None = None,
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
    # One buffer for all tiles: fresh memory for each would cost as much as several passes over it.
    buffer = np.empty(min(tile, int(lengths.max(initial=0))) ** 2, dtype=np.float32)
    for segment in np.flatnonzero(lengths > small).tolist():
        _tiled_segment(vectors, int(offsets[segment]), int(offsets[segment + 1]), tile, best, nearest, buffer)
    if history is not None and history_offsets is not None:
        _past(vectors, offsets, history, history_offsets, tile, best, nearest)
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
    np.copyto(similarity, -np.inf, where=_NOT_EARLIER[:length, :length])
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
    buffer: NDArray[np.float32],
) -> None:
    for top in range(start, stop, tile):
        bottom = min(top + tile, stop)
        rows = vectors[top:bottom].astype(np.float32, copy=False)
        # Tiles come in rising order, so a tie stays with the earlier prompt.
        for left in range(start, top, tile):
            columns = vectors[left : left + tile].astype(np.float32, copy=False)
            _fold_tile(rows, columns, left, best[top:bottom], nearest[top:bottom], buffer)
        _fold_triangle(rows, top, best[top:bottom], nearest[top:bottom], buffer)


def _fold_triangle(
    rows: NDArray[np.float32],
    first: int,
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
    buffer: NDArray[np.float32],
) -> None:
    """Fold the rows before each row into its maximum; halves until little above the diagonal is computed."""
    count = len(rows)
    if count <= DIAGONAL:
        _fold_tile(rows, rows, first, best, nearest, buffer)
        return
    half = count // 2
    _fold_triangle(rows[:half], first, best[:half], nearest[:half], buffer)
    _fold_tile(rows[half:], rows[:half], first, best[half:], nearest[half:], buffer)
    _fold_triangle(rows[half:], first + half, best[half:], nearest[half:], buffer)


def _fold_tile(
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    left: int,
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
    buffer: NDArray[np.float32],
) -> None:
    """Fold the products with `columns`, of which `left` is the first, into the maxima of `rows`."""
    similarity = buffer[: len(rows) * len(columns)].reshape(len(rows), len(columns))
    np.matmul(rows, columns.T, out=similarity)
    if rows is columns:
        np.copyto(similarity, -np.inf, where=_NOT_EARLIER[: len(rows), : len(rows)])
    column = similarity.argmax(axis=1)
    highest = similarity[np.arange(len(rows)), column]
    better = highest > best
    best[better] = highest[better]
    nearest[better] = left + column[better]


def _past(
    vectors: NDArray[np.floating],
    offsets: NDArray[np.int64],
    history: NDArray[np.floating],
    history_offsets: NDArray[np.int64],
    tile: int,
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
) -> None:
    """Hold each row's best earlier row against its segment's history, which wins ties: it is older."""
    lengths, depths = np.diff(offsets), np.diff(history_offsets)
    some = (lengths > 0) & (depths > 0)
    small = some & (np.maximum(lengths, depths) <= min(SMALL, tile))
    shapes = np.unique(np.stack([lengths[small], depths[small]], axis=1), axis=0)
    for length, depth in shapes.tolist():
        alike = np.flatnonzero(small & (lengths == length) & (depths == depth))
        group = max(1, GROUP_FLOATS // (max(length, depth) * max(length, depth, vectors.shape[1])))
        for first in range(0, len(alike), group):
            segments = alike[first : first + group]
            rows = offsets[segments][:, None] + np.arange(length)
            keys = history_offsets[segments][:, None] + np.arange(depth)
            _fold_past(vectors, rows, history, keys, best, nearest)
    for segment in np.flatnonzero(some & ~small).tolist():
        start, stop = history_offsets[segment], history_offsets[segment + 1]
        for top in range(offsets[segment], offsets[segment + 1], tile):
            rows = np.arange(top, min(top + tile, offsets[segment + 1]))[None]
            # From the right, since an equal tile to the left, which is older, is to win.
            for left in range(start, stop, tile)[::-1]:
                keys = np.arange(left, min(left + tile, stop))[None]
                _fold_past(vectors, rows, history, keys, best, nearest)


def _fold_past(
    vectors: NDArray[np.floating],
    rows: NDArray[np.int64],
    history: NDArray[np.floating],
    keys: NDArray[np.int64],
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
) -> None:
    """Fold history rows `keys` (g, k) into the maxima of `rows` (g, r)."""
    past = history[keys].astype(np.float32, copy=False)
    similarity = vectors[rows].astype(np.float32, copy=False) @ past.transpose(0, 2, 1)
    column = similarity.argmax(axis=2)
    highest = np.take_along_axis(similarity, column[:, :, None], axis=2)[:, :, 0]
    better = highest >= best[rows]
    best[rows[better]] = highest[better]
    nearest[rows[better]] = len(vectors) + np.take_along_axis(keys, column, axis=1)[better]
