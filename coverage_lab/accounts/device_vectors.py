"""Vectors that stay on the GPU that made them: cells, novelty and sums leave it, the vectors don't."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from coverage_kernels.backends import chosen
from coverage_kernels.causal_novelty import causal_novelty
from coverage_kernels.nearest_cell import nearest_cell
from numpy.typing import NDArray

from coverage_lab.atlas import Atlas
from coverage_lab.encoders import DeviceEncoder
from coverage_lab.errors import AtlasError, ConfigError, CoverageLabError
from coverage_lab.measures.ragged import bounded_runs
from coverage_lab.progress import Progress, silent

#: Rows that are worked on at once (0.2 GB at 384 dimensions, and 0.4 GB while they are summed).
BLOCK = 1 << 17
#: Rows on which a device's kernels are compared with the host's before it is trusted.
_CHECK_ROWS = 256
#: Largest gap between the device's novelty and the host's of the same rows: both sum in float32.
_TOLERANCE = 5e-6


class DeviceVectors:
    """Vectors on the device of an encoder.

    Parameters
    ----------
    rows : float32 tensor (U, dim)
        Unit rows.
    half : bool
        Whether novelty is that of the rows rounded to float16, which tensor cores multiply. It moves a cosine
        by less than 1e-3, and by about 1e-5 as a rule: less than the rounding of a model in half precision.

    Raises
    ------
    ConfigError
        Triton can't run here.
    """

    def __init__(self, rows: torch.Tensor, *, half: bool) -> None:
        _require_triton()
        self._rows = rows
        self._half = half

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self._rows.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, atlas: Atlas) -> NDArray[np.int32]:
        """Return each row's cells, shape ``(U, levels)``: those of exact arithmetic on float32 rows.

        Raises
        ------
        AtlasError
            The rows have another length than the atlas', or one of them is not finite.
        """
        if self.dim != atlas.dim:
            raise AtlasError(f"vectors: expected shape (n, {atlas.dim}), got {tuple(self._rows.shape)}")
        fine = np.empty(len(self), dtype=np.int64)
        with _explain_full_memory(len(self)):
            centroids = _centroids(atlas, self._rows.device)
            for start in range(0, len(self), BLOCK):
                block = self._rows[start : start + BLOCK]
                if not bool(torch.isfinite(block).all()):
                    odd = int(torch.nonzero(~torch.isfinite(block).all(dim=1))[0, 0])
                    raise AtlasError(f"vectors: row {start + odd} is not finite")
                found = nearest_cell(block, centroids, backend="triton")
                fine[start : start + len(block)] = found.cells[:, 0].cpu()
        return atlas.levels_of(fine)

    def novelty(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return each prompt's novelty, shape ``(N,)``."""
        far = np.empty(len(which), np.float32)
        with _explain_full_memory(len(self)):
            for start, stop in bounded_runs(offsets, BLOCK):
                block = self._gathered(which[offsets[start] : offsets[stop]])
                rows = block.to(torch.float16) if self._half else block
                cuts = offsets[start : stop + 1] - offsets[start]
                found, _ = causal_novelty(rows, cuts, backend="triton")
                far[offsets[start] : offsets[stop]] = found.cpu()
        return far

    def sums(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of each account's rows, shape ``(A, dim)``, in their order: the same each time."""
        return self._summed(which, offsets, squared=False)

    def squares(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of each account's squared rows, shape ``(A, dim)``, in their order."""
        return self._summed(which, offsets, squared=True)

    def _summed(
        self, which: NDArray[np.int64], offsets: NDArray[np.int64], *, squared: bool
    ) -> NDArray[np.float64]:
        sums = np.empty((len(offsets) - 1, self.dim))
        with _explain_full_memory(len(self)):
            for start, stop in bounded_runs(offsets, BLOCK):
                rows = self._gathered(which[offsets[start] : offsets[stop]])
                wide = (rows.square() if squared else rows).to(torch.float64)
                lengths = torch.from_numpy(np.diff(offsets[start : stop + 1])).to(wide.device)
                found = torch.segment_reduce(wide, "sum", lengths=lengths, axis=0, unsafe=True)
                sums[start:stop] = found.cpu()
        return sums

    def _gathered(self, which: NDArray[np.int64]) -> torch.Tensor:
        return self._rows[torch.from_numpy(which).to(self._rows.device)]


def encoded_on_device(
    encoder: DeviceEncoder, texts: Sequence[str], *, progress: Progress = silent
) -> DeviceVectors:
    """Encode distinct texts and leave their vectors on the encoder's device.

    Parameters
    ----------
    encoder
        With vectors of 32 bits; of a half-precision model the novelty is that of float16 rows.
    texts
        Distinct.
    progress
        Told ``("encode", texts encoded, texts in all)`` window by window.

    Raises
    ------
    ConfigError
        Triton can't run here.
    CoverageLabError
        The device's memory is full.
    """
    _require_triton()
    rows: torch.Tensor | None = None
    with _explain_full_memory(len(texts)):
        for span, window in encoder.encode_windows(texts):
            if rows is None:
                rows = torch.empty((len(texts), encoder.dim), dtype=torch.float32, device=window.device)
            rows[span.start : span.stop] = window
            progress("encode", span.stop, len(texts))
    if rows is None:
        rows = torch.empty((0, encoder.dim))
    return DeviceVectors(rows, half=encoder.precision != "float32")


@lru_cache(maxsize=4)
def _centroids(atlas: Atlas, device: torch.device) -> torch.Tensor:
    """Give an atlas' centroids on a device, once its kernels are seen to agree with the host's there."""
    centroids = torch.from_numpy(np.ascontiguousarray(atlas.centroids)).to(device)
    _check_against_host(atlas, centroids)
    return centroids


def _check_against_host(atlas: Atlas, centroids: torch.Tensor) -> None:
    """Compare both kernels with the host's on random rows: a wrong driver or compiler must not pass."""
    rng = np.random.default_rng(0)
    pairs = atlas.centroids[rng.integers(len(atlas.centroids), size=(_CHECK_ROWS, 2))].sum(axis=1)
    noisy = pairs + 0.1 * rng.standard_normal(pairs.shape, np.float32)
    rows = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    cuts = np.array([0, _CHECK_ROWS // 4, _CHECK_ROWS])
    there = torch.from_numpy(rows).to(centroids.device)
    cells = nearest_cell(there, centroids, backend="triton").cells
    if not np.array_equal(cells.cpu(), nearest_cell(rows, atlas.centroids, backend="cpu").cells):
        raise _untrusted(centroids.device, "cells")
    for kind in (torch.float32, torch.float16):
        rounded = there.to(kind)
        far, _ = causal_novelty(rounded, cuts, backend="triton")
        host, _ = causal_novelty(rounded, cuts, backend="cpu")
        if not np.allclose(far.cpu(), host.cpu(), rtol=0, atol=_TOLERANCE, equal_nan=True):
            raise _untrusted(centroids.device, f"novelty in {kind}".replace("torch.", ""))


def _untrusted(device: torch.device, what: str) -> CoverageLabError:
    return CoverageLabError(
        f"encoder.device: on '{device.type}' the kernels give other {what} than on the host, so it can't be "
        "trusted; use encoder.device = 'cpu' and report this with the versions in run.json"
    )


def _require_triton() -> None:
    try:
        chosen("triton", "triton", op="accounts")
    except RuntimeError as error:
        raise ConfigError(f"encoder.device: 'cuda' needs our kernels; {error}") from error


@contextmanager
def _explain_full_memory(rows: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CoverageLabError(
            f"encoder.device: the GPU's memory is full with the vectors of {rows:,} distinct prompts; cut "
            "smaller buckets (job.buckets, needs --overwrite) or let fewer actors share a GPU"
        ) from error
