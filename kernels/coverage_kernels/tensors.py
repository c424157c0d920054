"""Arrays and tensors alike: every op takes NumPy arrays or torch tensors and answers with what it was given.

torch is not imported here: whoever passes a tensor has imported it already.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch

#: Arrays in, arrays out; tensors in, tensors out.
Values = TypeVar("Values", "NDArray[Any]", "torch.Tensor")


def is_tensor(values: object) -> bool:
    """Tell whether this is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def as_array(values: ArrayLike | torch.Tensor) -> NDArray[Any]:
    """Return the numbers as an array: a CPU tensor's own memory, a copy of a GPU's.

    bfloat16, which NumPy lacks, becomes float32: the same numbers.
    """
    given: Any = values
    if is_tensor(given):
        host = given.detach().cpu()
        given = (host.float() if str(host.dtype) == "torch.bfloat16" else host).numpy()
    return np.asarray(given)


def like(found: NDArray[Any] | torch.Tensor, given: Values) -> Values:
    """Return what was found as an array if `given` is one, else as a tensor on the device of `given`."""
    answer: Any = found
    if not is_tensor(given):
        answer = as_array(answer)
    else:
        answer = answer if is_tensor(answer) else sys.modules["torch"].from_numpy(answer)
        answer = answer.to(given.device)
    return cast("Values", answer)


def check_floats(matrix: NDArray[Any] | torch.Tensor, name: str) -> None:
    """Raise ValueError unless this is a matrix of floating-point numbers."""
    given: Any = matrix
    floats = given.is_floating_point() if is_tensor(given) else np.issubdtype(given.dtype, np.floating)
    if given.ndim != 2 or not floats:
        raise ValueError(
            f"{name}: expected floats of shape (n, d), got {given.dtype} of shape {tuple(given.shape)}"
        )


def row_norms(matrix: NDArray[Any] | torch.Tensor) -> NDArray[np.floating]:
    """Return the norm of each row, summed in float32 at least where the rows lie; float (n,)."""
    given: Any = matrix
    if not is_tensor(given):
        squares = np.einsum("nd,nd->n", given, given, dtype=np.float32, casting="same_kind")
        return np.asarray(np.sqrt(squares))
    torch = sys.modules["torch"]
    kind = torch.promote_types(given.dtype, torch.float32)
    return as_array(torch.linalg.vector_norm(given.detach(), dim=1, dtype=kind))


def finite_rows(matrix: NDArray[Any] | torch.Tensor) -> NDArray[np.bool_]:
    """Tell which rows hold no NaN and no infinity, looked at where they lie; bool (n,)."""
    given: Any = matrix
    if not is_tensor(given):
        return np.asarray(np.isfinite(given).all(axis=1))
    return as_array(sys.modules["torch"].isfinite(given).all(dim=1))
