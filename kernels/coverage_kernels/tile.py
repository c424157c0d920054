"""What the Triton kernels share: the sizes of a tile, and the place and layout of a matrix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class Blocks(NamedTuple):
    """Sizes of a tile and how to schedule it; rows, keys and depth are powers of 2 from 16."""

    rows: int
    keys: int
    depth: int
    warps: int
    stages: int


def rows_contiguous(matrix: torch.Tensor) -> torch.Tensor:
    """Return the matrix, copied if the elements of a row are apart."""
    return matrix if matrix.stride(1) == 1 else matrix.contiguous()


def place_of(matrix: NDArray[Any] | torch.Tensor, *, interpreted: bool) -> torch.device:
    """Return where a kernel is to read the matrix: on its own GPU, else on the current one.

    Triton's interpreter reads the memory of the CPU.
    """
    if isinstance(matrix, torch.Tensor) and matrix.is_cuda:
        return matrix.device
    return torch.device("cpu" if interpreted else "cuda")


def placed(matrix: NDArray[Any] | torch.Tensor, dtype: torch.dtype, place: torch.device) -> torch.Tensor:
    """Return the matrix as a tensor of this dtype in this place; itself where it is that already."""
    if isinstance(matrix, np.ndarray):
        # A copy, since torch shares an array's memory and takes none that is read-only or runs backwards.
        matrix = torch.from_numpy(np.array(matrix, order="C"))
    return matrix.detach().to(dtype).to(place)
