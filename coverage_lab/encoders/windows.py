"""Texts in windows, and vectors that were made on a device brought to the host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def spans(count: int, size: int) -> list[range]:
    """Cut ``range(count)`` into runs of `size`, the last one shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def to_host(windows: Iterable[tuple[range, torch.Tensor]], *, rows: int, dim: int) -> NDArray[np.float32]:
    """Return the rows of all windows as one array on the host, ``(rows, dim)``.

    Each is fetched one window late: a GPU works on the next while the host waits for this one.
    """
    vectors = np.empty((rows, dim), dtype=np.float32)
    before: tuple[range, torch.Tensor] | None = None
    for span, window in windows:
        if before is not None:
            vectors[before[0]] = before[1].cpu().numpy()
        before = (span, window)
    if before is not None:
        vectors[before[0]] = before[1].cpu().numpy()
    return vectors
