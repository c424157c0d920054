"""Account states: the mergeable statistics from which every measure of an account is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts.prompt_features import OPENINGS, STRUCTURE


@dataclass(frozen=True, eq=False)
class Members:
    """Which hashed names (end users, sessions) each account was seen with.

    Attributes
    ----------
    account : int64 (M,)
        Position of the account; rows are sorted by (account, name) and unique.
    name : uint64 (M,)
        64-bit BLAKE2b of the name: enough to count and to merge, not to read back.
    """

    account: NDArray[np.int64]
    name: NDArray[np.uint64]

    def counts(self, accounts: int) -> NDArray[np.int64]:
        """Distinct names of each of `accounts` accounts, shape ``(accounts,)``."""
        return np.bincount(self.account, minlength=accounts).astype(np.int64)

    @staticmethod
    def nobody() -> Members:
        """No account was seen with any name."""
        return Members(np.empty(0, np.int64), np.empty(0, np.uint64))


def members(account: NDArray[np.int64], name: NDArray[np.uint64]) -> Members:
    """Sort and de-duplicate (account, name) pairs."""
    order = np.lexsort((name, account))
    account, name = account[order], name[order]
    first = np.ones(len(account), dtype=bool)
    first[1:] = (account[1:] != account[:-1]) | (name[1:] != name[:-1])
    return Members(account[first], name[first])


#: Fields of `AccountStates` that hold hashed names.
NAMED = ("end_users", "sessions", "templates")


def sum_widths(dim: int) -> dict[str, int]:
    """Fields of `AccountStates` that add over parts, and how wide each is for vectors of length `dim`."""
    return {
        "vector_sums": dim,
        "content_sums": dim,
        "content_squares": dim,
        "instruction_sums": dim,
        "wrapping_sums": len(WRAPPING),
        "token_sums": len(TOKENS),
        "structure_sums": len(STRUCTURE),
        "structure_squares": len(STRUCTURE),
        "opening_sums": OPENINGS,
        "content_opening_sums": OPENINGS,
        "first_half_content_sums": dim,
        "first_half_opening_sums": OPENINGS,
    }


def in_first_half(digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which prompts are of the first half: those with an even digest, so equal texts stay together.

    What is found in one half can be tested on the other, which had no part in finding it.
    """
    even: NDArray[np.bool_] = (digests & np.uint64(1)) == 0
    return even


#: Columns of `AccountStates.wrapping_sums`.
WRAPPING = ("wrapped_prompts", "constant_characters", "characters")

#: Columns of `AccountStates.token_sums`.
TOKENS = ("tokens_in", "tokens_out")


@dataclass(frozen=True, eq=False)
class AccountStates:
    """States of many accounts in ragged form; a value: nothing here is changed in place.

    Prompts of one account are sorted by (timestamp, digest), which does not depend on how the
    input was cut into files, so merging is associative and commutative to the last bit.

    Attributes
    ----------
    account_ids : tuple of str (A,)
        Sorted, unique.
    offsets : int64 (A + 1,)
        Prompts of account i are rows ``offsets[i]:offsets[i + 1]``.
    timestamps : int64 (N,)
        Microseconds since 1970, UTC.
    digests : uint64 (N,)
        64-bit BLAKE2b of the prompt's text: equal text, equal digest.
    cells : int32 (N, 3)
        The cell of the prompt's content (`coverage_lab.accounts.templates`) at each level, coarsest first.
    novelty : float32 (N,)
        1 − largest cosine of its content to that of an earlier prompt *of the part it was traced in*; NaN for
        the first.
        Merged parts keep theirs, and an exact repeat of an earlier part is set to 0: a prompt's value
        after a merge is at least its novelty against the whole history, or NaN. Everything else merges
        exactly; summaries of novelty depend on the cut until a part is traced with its history.
    vector_sums : float64 (A, d)
        Sum of the unit vectors of the account's whole prompts; their mean is this over the prompts. Sums add
        over parts, so after a merge the last bits depend on the order (relative 1e-12); so do all other sums.
    content_sums, content_squares : float64 (A, d)
        Sum of the unit vectors of the prompts' contents, and of their squares column by column.
    instruction_sums : float64 (A, d)
        Sum of the unit vectors of the instructions that prompts are wrapped in; one without adds nothing.
    wrapping_sums : float64 (A, 3)
        Prompts that are wrapped, characters that are constant, characters in all. What is constant is told
        within the part that was traced.
    token_sums : float64 (A, 2)
        Tokens in and out of the prompts of which both are known. Whole numbers, so they add exactly.
    structure_sums, structure_squares : float64 (A, t)
        Sum and sum of squares of the prompts' structure (`coverage_lab.accounts.STRUCTURE`).
    opening_sums : float64 (A, 1024)
        Sum of the prompts' hashed opening words (`coverage_lab.accounts.prompt_features.openings`): 8 kB, the
        largest part of an account of few prompts.
    content_opening_sums : float64 (A, 1024)
        The same of the contents.
    first_half_content_sums, first_half_opening_sums : float64 (A, d), float64 (A, 1024)
        `content_sums` and `opening_sums` of the prompts of the first half alone (`in_first_half`).
    end_users, sessions, templates : Members
        Hashed end users, sessions and instructions.
    """

    account_ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    digests: NDArray[np.uint64]
    cells: NDArray[np.int32]
    novelty: NDArray[np.float32]
    vector_sums: NDArray[np.float64]
    content_sums: NDArray[np.float64]
    content_squares: NDArray[np.float64]
    instruction_sums: NDArray[np.float64]
    wrapping_sums: NDArray[np.float64]
    token_sums: NDArray[np.float64]
    structure_sums: NDArray[np.float64]
    structure_squares: NDArray[np.float64]
    opening_sums: NDArray[np.float64]
    content_opening_sums: NDArray[np.float64]
    first_half_content_sums: NDArray[np.float64]
    first_half_opening_sums: NDArray[np.float64]
    end_users: Members
    sessions: Members
    templates: Members

    @property
    def prompts(self) -> NDArray[np.int64]:
        """Prompts of each account, shape ``(A,)``."""
        return np.diff(self.offsets)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vector_sums.shape[1])

    @staticmethod
    def empty(dim: int, *, levels: int = 3) -> AccountStates:
        """State of no account: the neutral element of `merge`."""
        rest: dict[str, Any] = {name: np.empty((0, width)) for name, width in sum_widths(dim).items()}
        rest |= dict.fromkeys(NAMED, Members.nobody())
        return AccountStates(
            account_ids=(),
            offsets=np.zeros(1, np.int64),
            timestamps=np.empty(0, np.int64),
            digests=np.empty(0, np.uint64),
            cells=np.empty((0, levels), np.int32),
            novelty=np.empty(0, np.float32),
            **rest,
        )


def merge(parts: Sequence[AccountStates]) -> AccountStates:
    """Merge states of days or shards, in any order and any grouping.

    Parameters
    ----------
    parts : sequence of AccountStates
        At least one, all on the same atlas.

    Returns
    -------
    AccountStates
        One state per account that any part names.
    """
    if not parts:
        raise ValueError("parts: expected at least one AccountStates, got none")
    ids = sorted({account_id for part in parts for account_id in part.account_ids})
    position = {account_id: i for i, account_id in enumerate(ids)}
    places = [
        np.array([position[account_id] for account_id in part.account_ids], dtype=np.int64) for part in parts
    ]
    account = np.concatenate(
        [np.repeat(place, part.prompts) for part, place in zip(parts, places, strict=True)]
    )
    timestamps = np.concatenate([part.timestamps for part in parts])
    digests = np.concatenate([part.digests for part in parts])
    cells = np.concatenate([part.cells for part in parts])
    novelty = np.concatenate([part.novelty for part in parts])
    # Novelty is the last key so that equal prompts of one moment come in one order however they were split.
    order = np.lexsort((np.nan_to_num(-novelty, nan=-np.inf), digests, timestamps, account))
    account, digests, novelty = account[order], digests[order], novelty[order]
    rest: dict[str, Any] = {
        name: _added([getattr(part, name) for part in parts], places, len(ids))
        for name in sum_widths(parts[0].dim)
    }
    rest |= {name: _merged_members([getattr(part, name) for part in parts], places) for name in NAMED}
    return AccountStates(
        account_ids=tuple(ids),
        offsets=np.searchsorted(account, np.arange(len(ids) + 1)).astype(np.int64),
        timestamps=timestamps[order],
        digests=digests,
        cells=cells[order],
        novelty=np.where(repeats(account, digests), np.float32(0), novelty),
        **rest,
    )


def repeats(account: NDArray[np.int64], digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell for every prompt whether an earlier one of its account has the same digest, shape ``(N,)``."""
    order = np.lexsort((digests, account))  # stable: the earliest of equals comes first
    again = np.zeros(len(digests), dtype=bool)
    later, earlier = order[1:], order[:-1]
    again[later] = (account[later] == account[earlier]) & (digests[later] == digests[earlier])
    return again


def _added(
    parts: Sequence[NDArray[np.float64]], places: Sequence[NDArray[np.int64]], accounts: int
) -> NDArray[np.float64]:
    sums = np.zeros((accounts, parts[0].shape[1]))
    for part, place in zip(parts, places, strict=True):
        sums[place] += part
    return sums


def _merged_members(parts: Sequence[Members], places: Sequence[NDArray[np.int64]]) -> Members:
    account = np.concatenate([place[part.account] for part, place in zip(parts, places, strict=True)])
    return members(account, np.concatenate([part.name for part in parts]))
