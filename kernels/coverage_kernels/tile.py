"""What the Triton kernels share: the sizes of a tile and the layout of a matrix."""

from __future__ import annotations

from typing import NamedTuple

import torch


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
