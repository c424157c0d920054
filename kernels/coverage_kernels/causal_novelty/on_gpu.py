"""Arrays and tensors of any place to the GPU, where they are not there already."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coverage_kernels.causal_novelty import triton_kernel
from coverage_kernels.tile import place_of, placed

Matrix = NDArray[Any] | torch.Tensor
#: Multiplied as they are, if both matrices are of one of them; all others as float32.
_NARROW = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def causal_novelty(
    vectors: Matrix,
    offsets: NDArray[np.int64],
    *,
    history: Matrix | None,
    history_offsets: NDArray[np.int64] | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the op's answer as tensors on the GPU; input is not checked."""
    place = place_of(vectors, interpreted=triton_kernel.INTERPRETED)
    kinds = {str(matrix.dtype).removeprefix("torch.") for matrix in (vectors, history) if matrix is not None}
    kind = _NARROW.get(kinds.pop(), torch.float32) if len(kinds) == 1 else torch.float32
    return triton_kernel.causal_novelty(
        placed(vectors, kind, place),
        offsets,
        history=None if history is None else placed(history, kind, place),
        history_offsets=history_offsets,
    )
