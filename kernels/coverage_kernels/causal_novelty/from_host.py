"""NumPy arrays to the GPU and back, for callers whose vectors are not there already."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from coverage_kernels.causal_novelty import triton_kernel


def causal_novelty(
    vectors: NDArray[np.floating],
    offsets: NDArray[np.int64],
    *,
    history: NDArray[np.floating] | None,
    history_offsets: NDArray[np.int64] | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what `coverage_kernels.causal_novelty.causal_novelty` returns; input is not checked.

    Float16 is multiplied as float16 if both matrices are; else both as float32.
    """
    past = vectors[:0] if history is None else history
    half = vectors.dtype == past.dtype == np.float16
    device = "cpu" if triton_kernel.INTERPRETED else "cuda"
    kind = np.float16 if half else np.float32

    def on_device(matrix: NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(np.array(matrix, dtype=kind, order="C")).to(device)

    novelty, nearest = triton_kernel.causal_novelty(
        on_device(vectors),
        offsets,
        history=None if history is None else on_device(past),
        history_offsets=history_offsets,
    )
    return novelty.cpu().numpy(), nearest.cpu().numpy()
