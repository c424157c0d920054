"""Time `causal_novelty` against the full square in the same run; one JSON row per case.

    PYTHONPATH=kernels python kernels/bench/causal_novelty.py --repeats 9 --out rows.jsonl

A row is written only if the answer agrees with the reference here, on this device. The baseline is what
public semantic deduplication does: the whole square of each segment, then the mask, then the maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from coverage_kernels.causal_novelty import causal_novelty, reference
from numpy.typing import NDArray
from rows import Case, chosen_device, parser, write

#: As in the tests: rounding of float32 sums.
TOLERANCE = 2e-6
DIM = 384
#: The answer for the first rows does not depend on later ones: so many are held against the reference.
CHECKED = 6000


def lengths(rows: int) -> dict[str, list[int]]:
    """Return the segment lengths of each case, about `rows` rows in each."""
    return {
        "one long": [rows],
        "accounts of 300": [300] * max(1, rows // 300),
        "accounts of 10": [10] * max(1, rows // 10),
    }


def gap(novelty: NDArray[np.float32], vectors: NDArray[np.floating], offsets: NDArray[np.int64]) -> float:
    """Return the largest difference to the reference among the first rows; infinite if NaN lies elsewhere."""
    head = vectors[:CHECKED]
    plain = reference.causal_novelty(head, np.minimum(offsets, len(head)))[0]
    if not np.array_equal(np.isnan(novelty[:CHECKED]), np.isnan(plain)):
        return float("inf")
    return float(np.nanmax(np.abs(novelty[:CHECKED] - plain)))


def full_square(vectors: Any, offsets: list[int]) -> None:
    """Multiply, mask and take the maximum of each segment with torch."""
    import torch

    for start, stop in pairwise(offsets):
        similarity = vectors[start:stop] @ vectors[start:stop].T
        later = torch.ones_like(similarity, dtype=torch.bool).triu()
        similarity.masked_fill_(later, -torch.inf).max(dim=1)


def cases(device: str, rows: int, seed: int) -> Iterator[Case]:
    """Yield the cases of a device."""
    for case, cut in lengths(rows).items():
        vectors = np.random.default_rng(seed).standard_normal((sum(cut), DIM), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        offsets = np.cumsum([0, *cut])
        pairs = float(np.sum(np.array(cut) * (np.array(cut) - 1.0) / 2))
        shape = {"segments": len(cut), "dim": DIM}
        for dtype in ("float32",) if device == "cpu" else ("float16", "bfloat16", "float32"):
            call, baseline, name, checked = (_cpu if device == "cpu" else _cuda)(vectors, offsets, dtype)
            yield Case(
                op="causal_novelty",
                case=case,
                shape=shape | {"dtype": dtype},
                rows=sum(cut),
                call=call,
                baseline=baseline,
                baseline_name=name,
                gap=checked,
                tolerance=TOLERANCE,
                flops=2 * DIM * pairs,
            )


Timed = tuple[Callable[[], object], Callable[[], object], str, Callable[[], float]]


def _cpu(vectors: NDArray[np.float32], offsets: NDArray[np.int64], dtype: str) -> Timed:
    return (
        lambda: causal_novelty(vectors, offsets, backend="cpu"),
        lambda: reference.causal_novelty(vectors, offsets),
        "full square, mask, max (reference, NumPy)",
        lambda: gap(causal_novelty(vectors, offsets, backend="cpu")[0], vectors, offsets),
    )


def _cuda(vectors: NDArray[np.float32], offsets: NDArray[np.int64], dtype: str) -> Timed:
    import torch
    from coverage_kernels.causal_novelty import triton_kernel

    rows = torch.from_numpy(vectors).to("cuda", getattr(torch, dtype))
    as_rounded = rows.float().cpu().numpy()
    return (
        lambda: triton_kernel.causal_novelty(rows, offsets),
        lambda: full_square(rows, offsets.tolist()),
        "full square, mask, max (torch)",
        lambda: gap(triton_kernel.causal_novelty(rows, offsets)[0].cpu().numpy(), as_rounded, offsets),
    )


def main() -> None:
    """Write one JSON row per case to a file or stdout."""
    told = parser(__doc__, rows=6000).parse_args()
    device = chosen_device(told.device)
    write(cases(device, told.rows, told.seed), device, told.repeats, told.out)


if __name__ == "__main__":
    main()
