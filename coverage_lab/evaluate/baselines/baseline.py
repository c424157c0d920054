"""The one contract of every baseline: fit on a sample whose truth is known, then score any other sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """Accounts of a benchmark: rows of one bank of prompt vectors.

    Parameters
    ----------
    vectors : float32 (P, d)
        Unit norm; a shared bank, which may hold prompts of no account.
    rows : tuple of int64 arrays
        Prompts of each account, in the order of time; rows of `vectors`.
    harvest : bool (A,)
        The truth; only `fit` may look at it.
    weight : float64 (A,)
        Non-negative; accounts' weights such that each corpus counts the same.

    Raises
    ------
    ValueError
        The arrays do not fit together. Norms are not checked: samples that share a bank are made often.
    """

    vectors: NDArray[np.float32]
    rows: tuple[NDArray[np.int64], ...]
    harvest: NDArray[np.bool_]
    weight: NDArray[np.float64]

    def __post_init__(self) -> None:
        accounts = len(self.rows)
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32 or self.vectors.shape[1] == 0:
            raise ValueError(
                f"vectors: expected float32 of shape (P, d), got {self.vectors.dtype} of {self.vectors.shape}"
            )
        for row in self.rows:
            if row.ndim != 1 or row.dtype != np.int64:
                raise ValueError(f"rows: expected int64 of shape (n,), got {row.dtype} of {row.shape}")
            if row.size and (row.min() < 0 or row.max() >= len(self.vectors)):
                raise ValueError(
                    f"rows: expected 0 to {len(self.vectors) - 1}, got {row.min()} to {row.max()}"
                )
        if self.harvest.shape != (accounts,) or self.harvest.dtype != np.bool_:
            raise ValueError(
                f"harvest: expected bool of shape ({accounts},), got {self.harvest.dtype} of "
                f"{self.harvest.shape}"
            )
        if self.weight.shape != (accounts,) or not np.all((self.weight >= 0) & (self.weight < np.inf)):
            raise ValueError(f"weight: expected {accounts} finite numbers from 0, got {self.weight.shape}")


#: Scores of the accounts, (A,): higher = more like harvesting; never NaN.
Score = Callable[[Sample], NDArray[np.float64]]


class Baseline(Protocol):
    """A published method under the benchmark's contract."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def fit(self, train: Sample, *, seed: int) -> Score:
        """Return the score that `train` gives; the same seed gives the same score.

        Raises
        ------
        ValueError
            `train` has not what the method needs, such as a benign account with prompts.
        """
