"""How far a computed inner product may lie from the true one; the README has the derivation."""

from __future__ import annotations

#: Unit of one float32 addition on a CPU: rounding to nearest.
CPU_UNIT = 2.0**-24
#: Of one addition in a tensor core. They truncate (2^-23); twice that allows for the shared alignment of the
#: terms of one instruction.
TENSOR_CORE_UNIT = 2.0**-22
#: The norms in the bound are themselves rounded.
_SLACK = 1.01


def summation(dim: int, unit: float) -> float:
    """Return γ_d = d·u / (1 − d·u): relative error of a sum of d products in any order."""
    return _SLACK * dim * unit / (1 - dim * unit)
