"""Linear layers of the packed forward: torch's own, or oneDNN's with weights laid out beforehand."""

from __future__ import annotations

from typing import Protocol

import torch
from torch.nn import functional


class LinearLayer(Protocol):
    """y = x Wᵀ + b, in two variants that save a pass over memory where the library can fuse it."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return y."""
        ...

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """Return y Φ(y), Φ the normal distribution function (the exact GELU)."""
        ...

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return y + other."""
        ...


class PlainLinear:
    """torch.nn.functional.linear."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return y."""
        return functional.linear(x, self._weight, self._bias)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """Return the exact GELU of y."""
        return functional.gelu(self(x))

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return y + other."""
        return self(x) + other


class OneDnnLinear:
    """The operators that torch.compile writes for frozen CPU models; 6 to 10% less time for a whole forward.

    Their results don't depend on the number of rows, in bfloat16 always and in float32 from 12 rows on
    (`tests/test_encoders_packed.py` looks).
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, rows: int) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return y."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return y

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """Return the exact GELU of y."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "gelu", [], "none")
        return y

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return y + other."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")
        return y


def one_dnn_has(dtype: torch.dtype) -> bool:
    """Return whether `OneDnnLinear` runs here in that precision without emulating it."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (available and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32
