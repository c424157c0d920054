"""Vectors of distinct prompts, and what states need of them: cells, novelty, sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coverage_lab.atlas import Atlas
from coverage_lab.measures import novelty as causal_novelty
from coverage_lab.measures.ragged import bounded_runs

#: Rows of whole accounts whose vectors are gathered at once (25 MB at 384 dimensions).
BLOCK = 16_384


class Vectors(Protocol):
    """Unit rows of U distinct prompts, in the memory that they were made in."""

    @property
    def dim(self) -> int:
        """Length of a row."""
        ...

    def __len__(self) -> int: ...

    def cells(self, atlas: Atlas) -> NDArray[np.int32]:
        """Return each row's cells, shape ``(U, levels)``, as `Atlas.assign` does."""
        ...

    def novelty(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return how unlike its account's earlier prompts each prompt is, as `coverage_lab.measures.novelty`.

        Parameters
        ----------
        which : int64 (N,)
            Row that each prompt is, in time order within each account.
        offsets : int64 (A + 1,)
            Account i sent ``which[offsets[i]:offsets[i + 1]]``, at least one.
        """
        ...

    def sums(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of each account's rows, shape ``(A, dim)``; parameters as of `novelty`."""
        ...

    def squares(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of each account's squared rows, column by column; parameters as of `novelty`."""
        ...


@dataclass(frozen=True, eq=False)
class HostVectors:
    """Vectors in the host's memory.

    Attributes
    ----------
    rows : float32 (U, dim)
        Read in place, a block of accounts at a time.
    """

    rows: NDArray[np.float32]

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.rows.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def cells(self, atlas: Atlas) -> NDArray[np.int32]:
        """Return each row's cells, shape ``(U, levels)``."""
        return atlas.assign(self.rows)

    def novelty(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return each prompt's novelty, shape ``(N,)``."""
        far = np.empty(len(which), np.float32)
        for start, stop in bounded_runs(offsets, BLOCK):
            begin, end = offsets[start], offsets[stop]
            cuts = offsets[start : stop + 1] - begin
            far[begin:end] = causal_novelty(self.rows[which[begin:end]], cuts)[0]
        return far

    def sums(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of each account's rows, shape ``(A, dim)``."""
        return self._summed(which, offsets, squared=False)

    def squares(self, which: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of each account's squared rows, shape ``(A, dim)``."""
        return self._summed(which, offsets, squared=True)

    def _summed(
        self, which: NDArray[np.int64], offsets: NDArray[np.int64], *, squared: bool
    ) -> NDArray[np.float64]:
        sums = np.empty((len(offsets) - 1, self.dim))
        for start, stop in bounded_runs(offsets, BLOCK):
            begin, end = offsets[start], offsets[stop]
            rows = self.rows[which[begin:end]]
            cuts = offsets[start:stop] - begin
            np.add.reduceat(
                np.square(rows) if squared else rows, cuts, axis=0, dtype=np.float64, out=sums[start:stop]
            )
        return sums
