"""Inner product, largest and second largest in one kernel; the n × K products are never stored."""

# Triton has no types, and reads the annotations of a kernel itself.
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from coverage_kernels.nearest_cell.bound import TENSOR_CORE_UNIT, summation
from coverage_kernels.nearest_cell.reference import BLOCK, rounding
from coverage_kernels.tile import Blocks, rows_contiguous

Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


DEFAULT = Blocks(rows=128, keys=128, depth=64, warps=8, stages=3)


@triton.jit
def top2_kernel(
    vectors,
    vector_stride,
    centroids,
    centroid_stride,
    cell,
    highest,
    second,
    count,
    centroid_count,
    DIM: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    KEYS: tl.constexpr,  # noqa: N803
    DEPTH: tl.constexpr,  # noqa: N803
):
    """Write the best centroid of one tile of rows and its two largest products."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = rows < count
    first = tl.full((ROWS,), -float("inf"), dtype=tl.float32)
    runner_up = tl.full((ROWS,), -float("inf"), dtype=tl.float32)
    best = tl.zeros((ROWS,), dtype=tl.int32)
    for left in range(0, centroid_count, KEYS):
        keys = left + tl.arange(0, KEYS)
        present = keys < centroid_count
        similarity = tl.zeros((ROWS, KEYS), dtype=tl.float32)
        for start in range(0, DIM, DEPTH):
            depth = start + tl.arange(0, DEPTH)
            inside = depth < DIM
            row = tl.load(
                vectors + rows[:, None] * vector_stride + depth[None, :],
                mask=live[:, None] & inside[None, :],
                other=0.0,
            )
            key = tl.load(
                centroids + keys[None, :].to(tl.int64) * centroid_stride + depth[:, None],
                mask=inside[:, None] & present[None, :],
                other=0.0,
            )
            similarity = tl.dot(row, key, similarity)
        similarity = tl.where(present[None, :], similarity, -float("inf"))
        top, column = tl.max(similarity, axis=1, return_indices=True, return_indices_tie_break_left=True)
        others = tl.where(tl.arange(0, KEYS)[None, :] == column[:, None], -float("inf"), similarity)
        below = tl.max(others, axis=1)
        runner_up = tl.maximum(tl.maximum(runner_up, below), tl.minimum(first, top))
        # Strictly above: centroids come in rising order, so a tie stays with the lower id.
        best = tl.where(top > first, left + column, best)
        first = tl.maximum(first, top)
    tl.store(cell + rows, best, mask=live)
    tl.store(highest + rows, first, mask=live)
    tl.store(second + rows, runner_up, mask=live)


INTERPRETED = not isinstance(top2_kernel, triton.JITFunction)


def nearest_cell(vectors: torch.Tensor, centroids: torch.Tensor, *, blocks: Blocks = DEFAULT) -> Found:
    """Return fine cell, margin, and which rows were settled in float64, on the device of `vectors`.

    Products are of float16 (a vector in bfloat16 keeps its value unless it is tiny) and summed in float32;
    rows whose margin is not above twice the error bound get float64 products with every centroid.

    Parameters
    ----------
    vectors : float16, bfloat16 or float32 tensor (n, d)
        Finite; not checked.
    centroids : float tensor (K, d)
        As they are known best: their rounding to float16 is part of the bound. K of 1 or more.
    blocks : Blocks
        Tile.

    Returns
    -------
    cell : int64 tensor (n,)
    margin : float32 tensor (n,)
    rechecked : bool tensor (n,)
    """
    half = vectors.to(torch.float16)
    half_centroids = centroids.to(torch.float16)
    shape, device = (len(vectors),), vectors.device
    cell = torch.empty(shape, dtype=torch.int32, device=device)
    highest = torch.empty(shape, dtype=torch.float32, device=device)
    second = torch.empty(shape, dtype=torch.float32, device=device)
    launch(half, half_centroids, blocks, cell, highest, second)
    margin = highest - second
    bound = error_bound(vectors, half, centroids, half_centroids)
    # Written so that NaN, of vectors beyond float16, counts as too close.
    rechecked = ~(margin > 2 * bound)
    found = cell.to(torch.int64)
    close = torch.nonzero(rechecked)[:, 0]
    found[close], margin[close] = _in_float64(vectors[close], centroids)
    return found, margin, rechecked


def launch(
    vectors: torch.Tensor,
    centroids: torch.Tensor,
    blocks: Blocks,
    cell: torch.Tensor,
    highest: torch.Tensor,
    second: torch.Tensor,
) -> None:
    """Write every element of `cell`, `highest` and `second` from float16 matrices."""
    if not len(vectors):
        return
    vectors, centroids = rows_contiguous(vectors), rows_contiguous(centroids)
    # Triton starts a kernel on the current GPU, which need not be that of the tensors.
    with torch.cuda.device_of(vectors):
        top2_kernel[(triton.cdiv(len(vectors), blocks.rows),)](
            vectors,
            vectors.stride(0),
            centroids,
            centroids.stride(0),
            cell,
            highest,
            second,
            len(vectors),
            len(centroids),
            DIM=vectors.shape[1],
            ROWS=blocks.rows,
            KEYS=blocks.keys,
            DEPTH=blocks.depth,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )


def error_bound(
    vectors: torch.Tensor, half: torch.Tensor, centroids: torch.Tensor, half_centroids: torch.Tensor
) -> torch.Tensor:
    """Return, for each row, how far any of its computed products may lie from the true one."""
    norm, missed = _norms(vectors), _norms(vectors.to(torch.float32) - half.to(torch.float32))
    largest = _norms(half_centroids).max()
    lost = _norms(centroids.to(torch.float32) - half_centroids.to(torch.float32)).max()
    gamma = summation(vectors.shape[1], TENSOR_CORE_UNIT)
    return missed * largest + norm * lost + gamma * (norm + missed) * largest


def _norms(matrix: torch.Tensor) -> torch.Tensor:
    norms: torch.Tensor = torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float32)
    return norms


def _in_float64(rows: torch.Tensor, centroids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `reference.nearest_cell` returns, on the device."""
    cell = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    margin = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
    wide = centroids.to(torch.float64)
    largest = torch.linalg.vector_norm(wide, dim=1).max()
    step = max(1, 16 * BLOCK // len(wide))
    for start in range(0, len(rows), step):
        part = rows[start : start + step].to(torch.float64)
        similarity = part @ wide.T
        tie = rounding(part.shape[1]) * torch.linalg.vector_norm(part, dim=1) * largest
        equal = similarity >= (similarity.amax(dim=1) - tie)[:, None]
        ids = torch.arange(len(wide), device=rows.device)
        best = torch.where(equal, ids, len(wide)).amin(dim=1, keepdim=True)
        winner = similarity.gather(1, best)[:, 0]
        similarity.scatter_(1, best, -torch.inf)
        cell[start : start + step] = best[:, 0]
        margin[start : start + step] = (winner - similarity.amax(dim=1)).clamp(min=0).to(torch.float32)
    return cell, margin
