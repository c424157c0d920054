"""What an encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

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
