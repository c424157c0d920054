"""What an encoder is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]
Engine = Literal["packed", "sentence-transformers", "openvino"]


class Encoder(Protocol):
    """Turns texts into unit vectors.

    Attributes
    ----------
    name : str
        Short name for people, for instance ``minilm``.
    id : str
        Hex digest of what makes the vectors (model file hash and recipe); an atlas is bound to it.
    dim : int
        Length of a vector.
    device : str
        Where it runs: ``cpu`` or ``cuda``.
    precision : str
        What its layers compute in: ``float32``, ``bfloat16`` or ``float16``; no part of `id`.
    """

    @property
    def name(self) -> str:
        """Short name for people."""
        ...

    @property
    def id(self) -> str:
        """Hex digest of what makes the vectors."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def device(self) -> str:
        """Where it runs."""
        ...

    @property
    def precision(self) -> str:
        """What its layers compute in."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit-norm rows, shape ``(len(texts), dim)``; the same texts give the same bytes."""
        ...


@runtime_checkable
class DeviceEncoder(Encoder, Protocol):
    """An encoder that can leave its vectors where it made them."""

    def encode_windows(self, texts: Sequence[str]) -> Iterator[tuple[range, torch.Tensor]]:
        """Yield ``(rows, their unit rows as float32 on the device)`` window by window, in order."""
        ...


def stays_on_device(encoder: Encoder) -> TypeGuard[DeviceEncoder]:
    """Whether vectors of this encoder need not leave the GPU that makes them."""
    return encoder.device == "cuda" and isinstance(encoder, DeviceEncoder)
