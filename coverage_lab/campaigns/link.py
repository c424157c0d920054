"""Whether the accounts of a proposed group are alike beyond chance, by the half that did not propose it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.campaigns.closed_testing import members_at_least
from coverage_lab.campaigns.overlap import mean_overlap, overlap_with_members
from coverage_lab.campaigns.sketch import KINDS, Half

#: Random groups that each group is compared with: the smallest p is one in a thousand.
DRAWS = 999
#: Members of a random group at most. A larger group's overlap varies less, so this errs to the safe side.
MOST_DRAWN = 50
#: Confidence of the lower bound on members.
MEMBERS_ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Link:
    """What the second half of the prompts says of a group.

    Attributes
    ----------
    overlap : float
        Mean overlap of its pairs, over `KINDS`: 1 = shares of one source, 0 = nothing in common.
    by_kind : dict
        The same of each kind.
    p_value : float
        Share of random groups of as many accounts that overlap as much, the group itself among them.
    member_overlap : float64 (k,)
        Of each member with the others.
    member_p : float64 (k,)
        Share of the accounts outside that overlap as much with the group, the member itself among them.
    accounts_at_least : int
        Members truly alike, with 95% confidence (closed testing).
    """

    overlap: float
    by_kind: dict[str, float]
    p_value: float
    member_overlap: NDArray[np.float64]
    member_p: NDArray[np.float64]
    accounts_at_least: int


class LinkTest:
    """Tests groups of one traffic.

    Parameters
    ----------
    half : Half
        The second half, of all accounts.
    """

    def __init__(self, half: Half) -> None:
        self._scaled = [half.means(kind).scaled() for kind in KINDS]
        self._having = np.flatnonzero(half.prompts > 0)
        self._null: dict[int, NDArray[np.float64]] = {}

    def test(self, group: NDArray[np.int64]) -> Link:
        """Test a group that was proposed by other prompts; the same group gives the same answer."""
        overlap = mean_overlap(self._scaled, group)
        null = self._random_overlaps(min(len(group), MOST_DRAWN))
        with_group = overlap_with_members(self._scaled, group)
        outside = np.ones(len(with_group), np.bool_)
        outside[group] = False
        others = np.sort(with_group[outside])
        mine = with_group[group]
        as_high = len(others) - np.searchsorted(others, mine, side="left")
        member_p = (1 + as_high) / (len(others) + 1)
        return Link(
            overlap=overlap,
            by_kind={
                kind: mean_overlap([scaled], group) for kind, scaled in zip(KINDS, self._scaled, strict=True)
            },
            p_value=float(1 + (null >= overlap).sum()) / (len(null) + 1),
            member_overlap=mine,
            member_p=member_p,
            accounts_at_least=members_at_least(member_p, alpha=MEMBERS_ALPHA),
        )

    def _random_overlaps(self, size: int) -> NDArray[np.float64]:
        """Mean overlap of random groups of `size` accounts of the traffic, drawn once a size."""
        if size not in self._null:
            rng = np.random.default_rng(size)
            drawn = (
                rng.choice(self._having, min(size, len(self._having)), replace=False) for _ in range(DRAWS)
            )
            self._null[size] = np.array([mean_overlap(self._scaled, group) for group in drawn])
        return self._null[size]
