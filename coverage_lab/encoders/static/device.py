"""The same vectors by torch, for a GPU: an embedding bag, and the head in the same whole numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from coverage_lab.encoders.packaged import MAX_CHARACTERS
from coverage_lab.encoders.static.head import POSITIVE_LEVELS, SIGNED_LEVELS, TINY, Head
from coverage_lab.encoders.static.pieces import BEGINNING, END, Pieces
from coverage_lab.encoders.static.table import RECIPE_ID, Table
from coverage_lab.encoders.tokens import Tokens, ahead
from coverage_lab.encoders.windows import spans, to_host

#: Prompts at once; more keep a GPU no busier.
_WINDOW = 16_384


class DeviceStaticEncoder:
    """The static encoder as a `DeviceEncoder`.

    Everything before the last tanh is the same to the bit as `StaticEncoder`'s; after it, vectors agree to
    10⁻⁶ in every number. One thread cuts texts into pieces, ahead of the device.

    Parameters
    ----------
    pieces, table, head
        As `load_static` makes them.
    device
        Torch device that it works on.
    """

    name = "static"
    id = RECIPE_ID
    precision = "float32"

    def __init__(self, pieces: Pieces, table: Table, head: Head, *, device: str) -> None:
        self.device = device
        self.dim = head.dim
        self._pieces = pieces
        factors = torch.from_numpy(table.factors).to(device)
        # A copy: torch takes no memory that can't be written to.
        self._numbers = torch.from_numpy(np.array(table.rows)).to(device) * factors[:, None].to(torch.float32)
        self._marks = self._numbers[BEGINNING] + self._numbers[END]
        self._unit = head.unit
        self._matrices = {
            name: (torch.from_numpy(made.values).to(device), torch.from_numpy(made.scale).to(device))
            for name, made in head.matrices.items()
        }

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape ``(len(texts), dim)``."""
        return to_host(self.encode_windows(texts), rows=len(texts), dim=self.dim)

    def encode_windows(self, texts: Sequence[str]) -> Iterator[tuple[range, torch.Tensor]]:
        """Yield ``(rows, their unit rows as float32 on the device)`` window by window, in order.

        A thread finds the pieces of up to two windows ahead; it ends with the iterator.
        """

        def pieces(span: range) -> Tokens:
            return self._pieces.of([text[:MAX_CHARACTERS] for text in texts[span.start : span.stop]])

        for span, tokens in ahead(pieces, spans(len(texts), _WINDOW)):
            # Not around the yield: the caller's own products are its own business.
            with torch.inference_mode(), _exact_products():
                window = self._vectors(tokens)
            yield span, window

    def _vectors(self, tokens: Tokens) -> torch.Tensor:
        sums = torch.nn.functional.embedding_bag(
            self._sent(tokens.ids),
            self._numbers,
            self._sent(tokens.offsets[:-1].astype(np.int32)),
            mode="sum",
        )
        sums += self._marks
        factor = self._unit / torch.sqrt(self._sent((tokens.lengths + 2).astype(np.float32)))
        row, scale = _levels(sums, SIGNED_LEVELS)
        factor *= scale
        y0 = self._product(row, "d0")
        y1 = self._product(row, "p1")
        row, scale = _levels(y0.clamp_(min=0), POSITIVE_LEVELS)
        y1 += self._product(row, "d1") * scale[:, None]
        row, scale = _levels(y1.clamp_(min=0), POSITIVE_LEVELS)
        factor *= scale
        y2 = self._product(row, "d2")
        last = self._product(row, "p3")
        row, scale = _levels(y2.clamp_(min=0), POSITIVE_LEVELS)
        last += self._product(row, "d3") * scale[:, None]
        last *= factor[:, None]
        return torch.nn.functional.normalize(last.tanh_(), dim=1)

    def _product(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        values, scale = self._matrices[name]
        return (rows @ values).mul_(scale)

    def _sent(self, array: NDArray[np.int32] | NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def _levels(rows: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows rounded to whole numbers up to `levels`, and what each row's are in."""
    largest = rows.abs().amax(dim=1).clamp_(min=float(TINY))
    # A tensor: with a plain number torch multiplies by a reciprocal, which is rounded once more.
    top = torch.full_like(largest, levels)
    return (rows * (top / largest)[:, None]).round_(), largest / top


@contextmanager
def _exact_products() -> Iterator[None]:
    """Multiply float32 as such inside the block, whatever the process allows (TF32 cuts digits off)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
