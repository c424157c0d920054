"""Time `causal_novelty` against the full square and a product of the same arithmetic; JSON rows.

A row is written only if the answer agrees with the reference here, on this device. One baseline is what
public semantic deduplication does: the whole square of each segment, then the mask, then the maximum. The
other, on a CPU, is one plain product of two square-sided matrices with as many floating-point operations as
the pairs of earlier and later rows need: what is left of it is the cost of the cutting and the maxima.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from coverage_kernels.causal_novelty import causal_novelty, reference
from numpy.typing import NDArray

from benchmarks.rows import Case, Target

#: As in the tests: rounding of float32 sums.
TOLERANCE = 2e-6
DIM = 384
#: The answer for the first rows does not depend on later ones: so many are held against the reference.
CHECKED = 6000
#: Rows of a square held at once: all of 100,000 would be 40 GB in float32, with as much again for the mask.
SLAB = 8192
#: Rows of the one long segment.
ROWS = {"cpu": 6000, "cuda": 100_000}
#: Of a CPU's case: share of the speed of a plain product. Of a GPU's: share of its bfloat16 matrix rate, and
#: how many times as fast as the full squares.
PLAIN, MATRIX, SQUARES = Target("speedup", 0.8), Target("share_of_bf16_matmul", 0.5), Target("speedup", 10)


def lengths(device: str, rows: int) -> dict[str, list[int]]:
    """Return the segment lengths of each case; on a GPU also `rows` segments of 64."""
    groups = {"one long": [rows]}
    if device == "cuda":
        groups |= {"accounts of 64": [64] * rows}
    return groups | {f"accounts of {n}": [n] * max(1, rows // n) for n in (300, 10)}


def gap(novelty: NDArray[np.float32], head: NDArray[np.floating], offsets: NDArray[np.int64]) -> float:
    """Return the largest difference to the reference among the first rows; infinite if NaN lies elsewhere."""
    plain = reference.causal_novelty(head, _of_head(offsets, len(head)))[0]
    if not np.array_equal(np.isnan(novelty[: len(head)]), np.isnan(plain)):
        return float("inf")
    return float(np.nanmax(np.abs(novelty[: len(head)] - plain)))


def _of_head(offsets: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    return np.append(offsets[: np.searchsorted(offsets, rows)], rows)


def full_square(vectors: Any, offsets: list[int]) -> None:
    """Multiply, mask and take the maximum of each segment with torch; `SLAB` rows at a time."""
    import torch

    for start, stop in pairwise(offsets):
        for top in range(start, stop, SLAB):
            similarity = vectors[top : min(top + SLAB, stop)] @ vectors[start:stop].T
            later = torch.ones_like(similarity, dtype=torch.bool).triu(top - start)
            similarity.masked_fill_(later, -torch.inf).max(dim=1)


def plain_product(flops: float, seed: int) -> Callable[[], object]:
    """Return a call of torch that multiplies (s, DIM) by (DIM, s) with ``2 DIM s² = flops``."""
    import torch

    side = max(1, round((flops / (2 * DIM)) ** 0.5))
    draw = torch.Generator().manual_seed(seed)
    one, other = torch.randn(side, DIM, generator=draw), torch.randn(DIM, side, generator=draw)
    # Into memory that is there: fresh memory would take it up to twice as long.
    product = torch.empty(side, side)
    return lambda: torch.matmul(one, other, out=product)


def cases(device: str, rows: int, seed: int) -> Iterator[Case]:
    """Yield the cases of a device; `rows` are those of the one long segment."""
    for case, cut in lengths(device, rows).items():
        offsets = np.cumsum([0, *cut])
        flops = 2 * DIM * float(np.sum(np.array(cut) * (np.array(cut) - 1.0) / 2))
        yield from (_cpu if device == "cpu" else _cuda)(case, offsets, flops, seed)


def _cpu(case: str, offsets: NDArray[np.int64], flops: float, seed: int) -> Iterator[Case]:
    vectors = np.random.default_rng(seed).standard_normal((int(offsets[-1]), DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # Ten rows of 384 numbers make 5 operations a byte: reading them is what takes the time.
    least = None if case == "accounts of 10" else PLAIN
    baselines: dict[str, tuple[Callable[[], object], Target | None]] = {
        "full square, mask, max (reference, NumPy)": (
            lambda: reference.causal_novelty(vectors, offsets),
            None,
        ),
        "plain matmul of the same FLOPs (torch)": (plain_product(flops, seed), least),
    }
    for name, (baseline, target) in baselines.items():
        yield Case(
            op="causal_novelty",
            case=case,
            shape={"segments": len(offsets) - 1, "dim": DIM, "dtype": "float32"},
            rows=len(vectors),
            call=lambda: causal_novelty(vectors, offsets, backend="cpu"),
            baseline=baseline,
            baseline_name=name,
            gap=lambda: gap(causal_novelty(vectors, offsets, backend="cpu")[0], vectors[:CHECKED], offsets),
            tolerance=TOLERANCE,
            flops=flops,
            target=target,
        )


def _cuda(case: str, offsets: NDArray[np.int64], flops: float, seed: int) -> Iterator[Case]:
    import torch

    # Made where they are used: 100,000 segments of 64 are 10 GB in float32.
    draw = torch.Generator("cuda").manual_seed(seed)
    wide = torch.randn(int(offsets[-1]), DIM, generator=draw, device="cuda")
    wide /= wide.norm(dim=1, keepdim=True)
    targets = {"one long": MATRIX, "accounts of 64": SQUARES}
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        vectors = wide.to(dtype)
        head = vectors[:CHECKED].float().cpu().numpy()
        yield Case(
            op="causal_novelty",
            case=case,
            shape={"segments": len(offsets) - 1, "dim": DIM, "dtype": str(dtype).removeprefix("torch.")},
            rows=len(vectors),
            call=partial(causal_novelty, vectors, offsets, backend="triton"),
            baseline=partial(full_square, vectors, offsets.tolist()),
            baseline_name="full square, mask, max (torch)",
            gap=partial(_gap_on_cuda, vectors, head, offsets),
            tolerance=TOLERANCE,
            flops=flops,
            target=None if dtype == torch.float32 else targets.get(case),
        )


def _gap_on_cuda(vectors: Any, head: NDArray[np.float32], offsets: NDArray[np.int64]) -> float:
    novelty = causal_novelty(vectors, offsets, backend="triton")[0]
    return gap(novelty.cpu().numpy(), head, offsets)
