"""How the members of a group divide their prompts: same texts, same cells, ground of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts import AccountStates
from coverage_lab.atlas import Atlas
from coverage_lab.campaigns.collisions import (
    Meetings,
    expected_union,
    meeting_ratio,
    meetings_within_topics,
)
from coverage_lab.schema import LEVELS

_MIDDLE, _FINE = LEVELS.index("middle"), LEVELS.index("fine")


@dataclass(frozen=True, eq=False)
class Division:
    """How the members of a group divide what they ask.

    Attributes
    ----------
    shared_texts : float
        Share of the group's different texts that more than one member sent.
    member_shared_texts : float
        Share of its different texts that another member sent too, of the median member: one stranger that has
        wandered into a group doesn't change it.
    text_ratio, cell_ratio : float
        `meeting_ratio` of texts and of fine cells.
    meetings : Meetings
        In fine cells, given each member's topics, against ordinary traffic.
    cells_reached : int
        Fine cells that the group reached.
    cells_expected : float
        Those that as many prompts of ordinary traffic would reach.
    own_ground : float64 (k,)
        Share of each member's fine cells that no other member reached.
    """

    shared_texts: float
    member_shared_texts: float
    text_ratio: float
    cell_ratio: float
    meetings: Meetings
    cells_reached: int
    cells_expected: float
    own_ground: NDArray[np.float64]


def division_of(states: AccountStates, atlas: Atlas) -> Division:
    """Tell how the accounts of some states divide what they ask."""
    member = np.repeat(np.arange(len(states.account_ids)), states.prompts)
    texts = np.unique(states.digests, return_inverse=True)[1]
    cells = states.cells[:, _FINE].astype(np.int64)
    size = len(states.account_ids)
    return Division(
        shared_texts=float((_holders(member, texts) > 1).mean()),
        member_shared_texts=float(np.median(1 - _alone(member, texts, size))),
        text_ratio=meeting_ratio(member, texts),
        cell_ratio=meeting_ratio(member, cells),
        meetings=meetings_within_topics(member, cells, atlas.masses[_FINE], atlas.parents[_MIDDLE]),
        cells_reached=len(np.unique(cells)),
        cells_expected=expected_union(states.prompts, atlas.masses[_FINE]),
        own_ground=_alone(member, cells, size),
    )


def _pairs(
    member: NDArray[np.int64], value: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Different (member, value) pairs."""
    width = int(value.max()) + 1
    pairs = np.unique(member * width + value)
    return pairs // width, pairs % width


def _alone(member: NDArray[np.int64], value: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Share of each member's different values that no other member has; 0 of one that has none."""
    mine, values = _pairs(member, value)
    alone = mine[_holders(member, value)[values] == 1]
    share: NDArray[np.float64] = np.bincount(alone, minlength=size) / np.maximum(
        np.bincount(mine, minlength=size), 1
    )
    return share


def _holders(member: NDArray[np.int64], value: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many members have each value, by value from 0 to the largest."""
    counted: NDArray[np.int64] = np.bincount(_pairs(member, value)[1])
    return counted
