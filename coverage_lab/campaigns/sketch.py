"""Sketches: what is held of every account to find groups among all of them; a few kB each, no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts import OPENINGS, AccountStates
from coverage_lab.accounts.state import in_first_half
from coverage_lab.campaigns.overlap import Means, centre_of, means_of

#: Hashed opening words are folded to so many columns: 1,024 would be most of a sketch.
OPENING_COLUMNS = 128
#: Prompts that the first half needs to give a direction.
LEAST_FIRST = 10
#: Prompts that the second half needs to have a length without luck.
LEAST_SECOND = 2
#: Kinds of evidence that accounts are compared by.
KINDS = ("content", "openings")


@dataclass(frozen=True, eq=False)
class Half:
    """Sums over half of each account's prompts.

    Attributes
    ----------
    prompts : int64 (A,)
    content : float32 (A, d)
        Sum of the contents' unit vectors.
    openings : float32 (A, 128)
        Sum of the hashed opening words.
    """

    prompts: NDArray[np.int64]
    content: NDArray[np.float32]
    openings: NDArray[np.float32]

    def means(self, kind: str) -> Means:
        """Means of one of `KINDS`, about the mean of all accounts."""
        sums = self.content if kind == "content" else self.openings
        return means_of(sums, self.prompts, centre_of(sums, self.prompts))

    def at(self, rows: NDArray[np.int64]) -> Half:
        """Sums of some of the accounts."""
        return Half(self.prompts[rows], self.content[rows], self.openings[rows])


@dataclass(frozen=True, eq=False)
class Sketches:
    """Sketches of many accounts.

    The first half of the prompts proposes groups, the second tests them. A prompt's half is by its text's
    hash: the same text is in the same half of every account.

    Attributes
    ----------
    account_ids : tuple of str (A,)
        Sorted, unique.
    first, second : Half
    """

    account_ids: tuple[str, ...]
    first: Half
    second: Half

    def __len__(self) -> int:
        return len(self.account_ids)

    @property
    def prompts(self) -> NDArray[np.int64]:
        """Prompts of each account, (A,)."""
        return self.first.prompts + self.second.prompts

    def comparable(self) -> NDArray[np.int64]:
        """Places of the accounts that can be proposed and tested: those with enough prompts in each half."""
        enough = (self.first.prompts >= LEAST_FIRST) & (self.second.prompts >= LEAST_SECOND)
        return np.flatnonzero(enough).astype(np.int64)

    def at(self, rows: NDArray[np.int64]) -> Sketches:
        """Sketches of some of the accounts, whose places must rise."""
        return Sketches(tuple(self.account_ids[i] for i in rows), self.first.at(rows), self.second.at(rows))


def sketches_of(states: AccountStates) -> Sketches:
    """Sketch every account of some states.

    States merge, and a sketch is a function of one state: so the same prompts give the same sketch however
    they were cut.
    """
    total = states.prompts
    half = in_first_half(states.digests)
    counted = np.concatenate([[0], np.cumsum(half)])
    first = counted[states.offsets[1:]] - counted[states.offsets[:-1]]
    return Sketches(
        states.account_ids,
        Half(
            first.astype(np.int64),
            states.first_half_content_sums.astype(np.float32),
            _folded(states.first_half_opening_sums),
        ),
        Half(
            (total - first).astype(np.int64),
            (states.content_sums - states.first_half_content_sums).astype(np.float32),
            _folded(states.opening_sums - states.first_half_opening_sums),
        ),
    )


def join(parts: Sequence[Sketches]) -> Sketches:
    """Put the sketches of several parts together, by account."""
    ids = [account_id for part in parts for account_id in part.account_ids]
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)

    def joined(halves: Sequence[Half]) -> Half:
        return Half(
            np.concatenate([half.prompts for half in halves])[order],
            np.concatenate([half.content for half in halves])[order],
            np.concatenate([half.openings for half in halves])[order],
        )

    return Sketches(
        tuple(ids[i] for i in order.tolist()),
        joined([part.first for part in parts]),
        joined([part.second for part in parts]),
    )


def _folded(sums: NDArray[np.float64]) -> NDArray[np.float32]:
    """Add hashed columns with signs of their own, so that products stay the same on average."""
    fold = OPENINGS // OPENING_COLUMNS
    signs = np.random.default_rng(0).choice([-1.0, 1.0], OPENINGS)
    folded: NDArray[np.float32] = (
        (sums * signs).reshape(len(sums), fold, OPENING_COLUMNS).sum(axis=1).astype(np.float32)
    )
    return folded
