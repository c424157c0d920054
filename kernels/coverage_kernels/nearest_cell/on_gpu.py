"""Arrays and tensors of any place to the GPU, where they are not there already."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coverage_kernels.nearest_cell import triton_kernel
from coverage_kernels.tile import place_of, placed

Matrix = NDArray[Any] | torch.Tensor
#: Multiplied as float16; all other kinds are given to the kernel as float32.
_NARROW = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def nearest_cell(vectors: Matrix, centroids: Matrix, levels: NDArray[np.int32]) -> triton_kernel.Found:
    """Return the op's answer as tensors on the GPU; input is not checked."""
    place = place_of(vectors, interpreted=triton_kernel.INTERPRETED)
    kind = _NARROW.get(str(vectors.dtype).removeprefix("torch."), torch.float32)
    fine, margin, rechecked = triton_kernel.nearest_cell(
        placed(vectors, kind, place), placed(centroids, torch.float32, place)
    )
    return placed(levels, torch.int32, place)[:, fine].T.contiguous(), margin, rechecked
