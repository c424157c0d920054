"""One launch of lower-triangular tiles on a GPU; long and tiny segments and their history alike."""

# Triton has no types, and reads the annotations of a kernel itself.
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from coverage_kernels.tile import Blocks, rows_contiguous

#: Float32 is multiplied without tensor cores, whose 10-bit products would miss the tolerance.
_WIDE = Blocks(rows=64, keys=64, depth=32, warps=4, stages=3)
_HALF = Blocks(rows=128, keys=128, depth=64, warps=8, stages=3)


def default_blocks(dtype: torch.dtype) -> Blocks:
    """Return the tile for vectors of this dtype."""
    return _WIDE if dtype == torch.float32 else _HALF


@triton.jit
def _scan_keys(
    best,
    nearest,
    rows,
    live,
    vectors,
    vector_stride,
    keys_of,
    key_stride,
    begin,
    end,
    low,
    high,
    shift,
    DIM: tl.constexpr,  # noqa: N803
    KEYS: tl.constexpr,  # noqa: N803
    DEPTH: tl.constexpr,  # noqa: N803
    WIDEN: tl.constexpr,  # noqa: N803
):
    """Fold keys begin..end into each row's running maximum; row i may see the keys low[i]..high[i] only."""
    for left in range(begin, end, KEYS):
        keys = left + tl.arange(0, KEYS)
        present = keys < end
        similarity = tl.zeros((rows.shape[0], KEYS), dtype=tl.float32)
        for start in range(0, DIM, DEPTH):
            depth = start + tl.arange(0, DEPTH)
            inside = depth < DIM
            row = tl.load(
                vectors + rows[:, None] * vector_stride + depth[None, :],
                mask=live[:, None] & inside[None, :],
                other=0.0,
            )
            key = tl.load(
                keys_of + keys[None, :] * key_stride + depth[:, None],
                mask=inside[:, None] & present[None, :],
                other=0.0,
            )
            if WIDEN:
                row = row.to(tl.float32)
                key = key.to(tl.float32)
            similarity = tl.dot(row, key, similarity, input_precision="ieee")
        seen = (keys[None, :] >= low[:, None]) & (keys[None, :] < high[:, None])
        similarity = tl.where(seen, similarity, -float("inf"))
        highest, column = tl.max(similarity, axis=1, return_indices=True, return_indices_tie_break_left=True)
        # Strictly above: keys come in rising order, so a tie stays with the earlier one.
        better = highest > best
        nearest = tl.where(better, left + column.to(tl.int64) + shift, nearest)
        best = tl.where(better, highest, best)
    return best, nearest


@triton.jit
def novelty_kernel(
    tiles,
    vectors,
    vector_stride,
    starts,
    history,
    history_stride,
    history_starts,
    history_ends,
    novelty,
    nearest_row,
    count,
    DIM: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    KEYS: tl.constexpr,  # noqa: N803
    DEPTH: tl.constexpr,  # noqa: N803
    HISTORY: tl.constexpr,  # noqa: N803
    WIDEN: tl.constexpr,  # noqa: N803
):
    """Write novelty and nearest of one tile of rows; all row numbers are int64."""
    tile = tiles + tl.program_id(0).to(tl.int64) * 4
    top = tl.load(tile)
    key_begin = tl.load(tile + 1)
    rows = top + tl.arange(0, ROWS)
    live = rows < count
    best = tl.full((ROWS,), -float("inf"), dtype=tl.float32)
    nearest = tl.full((ROWS,), -1, dtype=tl.int64)
    if HISTORY:
        low = tl.load(history_starts + rows, mask=live, other=0)
        high = tl.load(history_ends + rows, mask=live, other=0)
        best, nearest = _scan_keys(
            best,
            nearest,
            rows,
            live,
            vectors,
            vector_stride,
            history,
            history_stride,
            tl.load(tile + 2),
            tl.load(tile + 3),
            low,
            high,
            count,
            DIM,
            KEYS,
            DEPTH,
            WIDEN,
        )
    # The last row of the tile sees no key later than the row before it.
    key_end = tl.minimum(top + ROWS, count) - 1
    best, nearest = _scan_keys(
        best,
        nearest,
        rows,
        live,
        vectors,
        vector_stride,
        vectors,
        vector_stride,
        key_begin,
        key_end,
        tl.load(starts + rows, mask=live, other=0),
        rows,
        count * 0,
        DIM,
        KEYS,
        DEPTH,
        WIDEN,
    )
    far = tl.minimum(tl.maximum(1.0 - best, 0.0), 2.0)
    tl.store(novelty + rows, tl.where(nearest < 0, float("nan"), far), mask=live)
    tl.store(nearest_row + rows, nearest, mask=live)


INTERPRETED = not isinstance(novelty_kernel, triton.JITFunction)


def work_list(
    offsets: NDArray[np.int64], history_offsets: NDArray[np.int64] | None, rows: int
) -> NDArray[np.int64]:
    """Return the tiles of one launch, the most work first.

    The rows of all segments are cut every `rows` rows, wherever segments end: a long segment becomes many
    tiles, many tiny ones share one, and no row is padding but the last tile's.

    Parameters
    ----------
    offsets, history_offsets : int64 (segments + 1,)
        As in `causal_novelty`; without history None.
    rows : int
        Rows of a tile.

    Returns
    -------
    int64 (tiles, 4)
        First row; first key, which is where the segment of the first row begins; the history rows of all of
        its segments, from and to.
    """
    top = np.arange(0, offsets[-1], rows, dtype=np.int64)
    bottom = np.minimum(top + rows, offsets[-1])
    first = np.searchsorted(offsets, top, side="right") - 1
    last = np.searchsorted(offsets, bottom - 1, side="right") - 1
    tiles = np.zeros((top.size, 4), dtype=np.int64)
    tiles[:, 0], tiles[:, 1] = top, offsets[first]
    if history_offsets is not None:
        tiles[:, 2], tiles[:, 3] = history_offsets[first], history_offsets[last + 1]
    keys = bottom - tiles[:, 1] + tiles[:, 3] - tiles[:, 2]
    return tiles[np.argsort(-keys, kind="stable")]


def causal_novelty(
    vectors: torch.Tensor,
    offsets: NDArray[np.int64],
    *,
    history: torch.Tensor | None = None,
    history_offsets: NDArray[np.int64] | None = None,
    blocks: Blocks | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `coverage_kernels.causal_novelty.causal_novelty` returns, on the device of `vectors`.

    Parameters
    ----------
    vectors : float16, bfloat16 or float32 tensor (n, d)
        Unit rows; not checked.
    offsets : int64 array (segments + 1,)
        On the host; not checked.
    history : tensor (h, d), optional
        Of the same dtype and device.
    history_offsets : int64 array (segments + 1,), optional
    blocks : Blocks, optional
        Tile; by default that of the dtype.

    Returns
    -------
    novelty : float32 tensor (n,)
    nearest : int64 tensor (n,)
    """
    novelty = torch.empty(len(vectors), dtype=torch.float32, device=vectors.device)
    nearest = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
    launch(
        vectors, offsets, history, history_offsets, blocks or default_blocks(vectors.dtype), novelty, nearest
    )
    return novelty, nearest


def launch(
    vectors: torch.Tensor,
    offsets: NDArray[np.int64],
    history: torch.Tensor | None,
    history_offsets: NDArray[np.int64] | None,
    blocks: Blocks,
    novelty: torch.Tensor,
    nearest: torch.Tensor,
) -> None:
    """Write every element of `novelty` and `nearest`."""
    if not len(vectors):
        return
    device = vectors.device
    vectors = rows_contiguous(vectors)
    past = vectors if history is None else rows_contiguous(history)
    starts = _of_rows(offsets[:-1], offsets, device)
    if history_offsets is None:
        past_starts = past_ends = starts
    else:
        past_starts = _of_rows(history_offsets[:-1], offsets, device)
        past_ends = _of_rows(history_offsets[1:], offsets, device)
    tiles = work_list(offsets, history_offsets, blocks.rows)
    # Triton starts a kernel on the current GPU, which need not be that of the tensors.
    with torch.cuda.device_of(vectors):
        novelty_kernel[(len(tiles),)](
            torch.from_numpy(tiles).to(device),
            vectors,
            vectors.stride(0),
            starts,
            past,
            past.stride(0),
            past_starts,
            past_ends,
            novelty,
            nearest,
            len(vectors),
            DIM=vectors.shape[1],
            ROWS=blocks.rows,
            KEYS=blocks.keys,
            DEPTH=blocks.depth,
            HISTORY=history is not None,
            # The interpreter multiplies the bit patterns of bfloat16.
            WIDEN=INTERPRETED and vectors.dtype == torch.bfloat16,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )


def _of_rows(
    per_segment: NDArray[np.int64], offsets: NDArray[np.int64], device: torch.device
) -> torch.Tensor:
    """Return the value of each row's segment."""
    lengths = torch.from_numpy(np.diff(offsets)).to(device)
    return torch.repeat_interleave(torch.from_numpy(np.ascontiguousarray(per_segment)).to(device), lengths)
