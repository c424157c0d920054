"""NumPy arrays to the GPU and back, for callers whose vectors are not there already."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from coverage_kernels.nearest_cell import triton_kernel
from coverage_kernels.nearest_cell.blocked import Found


def nearest_cell(vectors: NDArray[np.floating], centroids: NDArray[np.floating]) -> Found:
    """Return fine cell, margin, and which rows were settled in float64; input is not checked."""
    device = "cpu" if triton_kernel.INTERPRETED else "cuda"
    kind = np.float16 if vectors.dtype == np.float16 else np.float32
    cell, margin, rechecked = triton_kernel.nearest_cell(
        torch.from_numpy(np.array(vectors, dtype=kind, order="C")).to(device),
        torch.from_numpy(np.array(centroids, dtype=np.float32, order="C")).to(device),
    )
    return cell.cpu().numpy(), margin.cpu().numpy(), rechecked.cpu().numpy()
