"""Vectors of prompts that were seen before, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Bytes of a digest and its place in the dictionary, beside the vector itself.
_OVERHEAD = 160


class VectorCache:
    """Least recently used vectors, by digest of their token ids, on the device that made them.

    Parameters
    ----------
    max_bytes
        Bytes that vectors and their keys may take; 0 keeps none. Memory is taken as it fills on a CPU, at
        once on a GPU.
    dim
        Length of a vector.
    device
        Torch device of the vectors.
    """

    def __init__(self, max_bytes: int, *, dim: int, device: str) -> None:
        import torch

        self._slots = max_bytes // (4 * dim + _OVERHEAD)
        self._vectors = torch.empty((self._slots, dim), dtype=torch.float32, device=device)
        self._slot_of: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slot_of)

    def clear(self) -> None:
        """Forget everything."""
        self._slot_of.clear()

    def known(self, digests: Sequence[bytes]) -> list[int]:
        """Return the indices of the digests that are here, which makes those the most recently used."""
        found = [index for index, digest in enumerate(digests) if digest in self._slot_of]
        for index in found:
            self._slot_of.move_to_end(digests[index])
        return found

    def read(self, digests: Sequence[bytes]) -> torch.Tensor:
        """Return a copy of the vectors of digests that are here, ``(n, dim)`` float32.

        Raises
        ------
        KeyError
            One of them is not here.
        """
        import torch

        slots = [self._slot_of[digest] for digest in digests]
        return self._vectors[torch.tensor(slots, dtype=torch.int64, device=self._vectors.device)]

    def write(self, digests: Sequence[bytes], vectors: torch.Tensor) -> None:
        """Keep the vectors of digests that are distinct and not here yet; of too many, the last ones."""
        import torch

        first = max(0, len(digests) - self._slots)
        slots = []
        for digest in digests[first:]:
            full = len(self._slot_of) == self._slots
            slot = self._slot_of.popitem(last=False)[1] if full else len(self._slot_of)
            self._slot_of[digest] = slot
            slots.append(slot)
        if slots:
            place = torch.tensor(slots, dtype=torch.int64, device=self._vectors.device)
            self._vectors[place] = vectors[first:]
