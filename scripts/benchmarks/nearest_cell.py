"""Time `nearest_cell` against chunked products and argmax, and FAISS, in the same run; one JSON row per case.

A row is written only if every cell agrees with float64 here, on this device. Each vector lies between two of
the centroids, with margins spread evenly over 0 to 0.03, so that some rows are settled in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from coverage_kernels.nearest_cell import nearest_cell, reference
from numpy.typing import NDArray

from benchmarks.rows import Case, Target

DIM = 384
CHUNK = 8192
#: Vectors of each case.
ROWS = {"cpu": 8192, "cuda": 262_144}
#: Rows of each case that are held against the reference.
CHECKED = 4000
#: Cells of the larger case, and what share of a GPU's bfloat16 matrix rate is to be reached there.
MOST, MATRIX = 16384, Target("share_of_bf16_matmul", 0.55)


def sample(rows: int, count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return unit vectors scattered around the middle of two unit centroids, and all centroids."""
    draw = np.random.default_rng(seed)
    centroids = draw.standard_normal((count, DIM), dtype=np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    noise = draw.standard_normal((rows, DIM), dtype=np.float32) / np.float32(np.sqrt(DIM))
    one, other = centroids[draw.integers(0, count, (2, rows))]
    share = draw.uniform(0.48, 0.52, (rows, 1)).astype(np.float32)
    vectors = share * one + (1 - share) * other + noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), centroids


def chunked(vectors: Any, centroids: Any) -> None:
    """Multiply chunk by chunk and take argmax with torch: no margin, ties and rounding as they fall."""
    for start in range(0, len(vectors), CHUNK):
        (vectors[start : start + CHUNK] @ centroids.T).argmax(dim=1)


def wrong(cell: NDArray[np.integer], vectors: NDArray[np.floating], centroids: NDArray[np.floating]) -> float:
    """Return how many of the first cells are not those of float64."""
    exact, _ = reference.nearest_cell(vectors[:CHECKED], centroids)
    return float(np.count_nonzero(cell[:CHECKED] != exact))


def cases(device: str, rows: int, seed: int) -> Iterator[Case]:
    """Yield the cases of a device."""
    for count in (1024, MOST):
        vectors, centroids = sample(rows, count, seed)
        for dtype in ("float32",) if device == "cpu" else ("float16", "bfloat16"):
            made = (_cpu if device == "cpu" else _cuda)(vectors, centroids, dtype)
            call, checked, rechecked, baselines = made
            for name, baseline in baselines.items():
                yield Case(
                    op="nearest_cell",
                    case=f"{count} cells",
                    shape={"cells": count, "dim": DIM, "dtype": dtype, "rechecked": rechecked},
                    rows=rows,
                    call=call,
                    baseline=baseline,
                    baseline_name=name,
                    gap=checked,
                    tolerance=0,
                    flops=2.0 * DIM * rows * count,
                    target=MATRIX if device == "cuda" and count == MOST else None,
                )


Timed = tuple[Callable[[], object], Callable[[], float], float, dict[str, Callable[[], object]]]


def _cpu(vectors: NDArray[np.float32], centroids: NDArray[np.float32], dtype: str) -> Timed:
    import faiss
    import torch

    index = faiss.IndexFlatIP(DIM)
    index.add(centroids)
    rows, cells = torch.from_numpy(vectors), torch.from_numpy(centroids)
    found = nearest_cell(vectors, centroids, backend="cpu")
    return (
        lambda: nearest_cell(vectors, centroids, backend="cpu"),
        lambda: wrong(found.cells[:, 0], vectors, centroids),
        float(found.rechecked.mean()),
        {
            "chunked matmul and argmax (torch)": lambda: chunked(rows, cells),
            "IndexFlatIP, k = 2 (FAISS)": lambda: index.search(vectors, 2),
        },
    )


def _cuda(vectors: NDArray[np.float32], centroids: NDArray[np.float32], dtype: str) -> Timed:
    import torch

    rows = torch.from_numpy(vectors).to("cuda", getattr(torch, dtype))
    wide = torch.from_numpy(centroids).to("cuda")
    cells = wide.to(rows.dtype)
    found = nearest_cell(rows, wide, backend="triton")
    return (
        lambda: nearest_cell(rows, wide, backend="triton"),
        lambda: wrong(found.cells[:, 0].cpu().numpy(), rows.float().cpu().numpy(), centroids),
        float(found.rechecked.double().mean()),
        {"chunked matmul and argmax (torch)": lambda: chunked(rows, cells)},
    )
