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
#: Accounts outside that members are compared with at most: a random sample of more would tell p no finer than
#: a bound on members needs, and all of them for every group would be all pairs.
MOST_OUTSIDE = 5_000
#: How far rounding moves an overlap: the same accounts summed in another order are as alike.
ROUNDING = 1e-9
#: Confidence of the lower bound on members.
MEMBERS_ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Link:
    """What the second half of the prompts says of a group.

    Attributes
    ----------
    overlap : float
        Mean overlap of its pairs, over `KINDS`: 1 = shares of one source, 0 = nothing in common. Clipped to
        [−1, 1], which the luck of few prompts may leave; p-values are of what it was before.
    by_kind : dict
        The same of each kind, clipped too.
    p_value : float
        Share of random groups of as many comparable accounts that overlap as much, the group itself among
        them.
    member_overlap : float64 (k,)
        Of each member with the others, clipped too.
    member_p : float64 (k,)
        Share of comparable accounts outside that overlap as much with the group, the member itself among
        them; of a random `MOST_OUTSIDE` where there are more.
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
    among : int64 (U,)
        Places of the accounts that a group could be made of: `Sketches.comparable`. Groups are compared with
        these alone. Accounts of one prompt overlap with nobody, and would make any group look linked.
    """

    def __init__(self, half: Half, among: NDArray[np.int64]) -> None:
        mine = half.at(among)
        self._scaled = [mine.means(kind).scaled() for kind in KINDS]
        count = len(among)
        rng = np.random.default_rng(0)
        self._sample = np.sort(rng.permutation(count)[:MOST_OUTSIDE])
        self._row = np.full(len(half.prompts), -1, np.int64)
        self._row[among] = np.arange(len(among))
        self._null: dict[int, NDArray[np.float64]] = {}

    def test(self, group: NDArray[np.int64]) -> Link:
        """Test a group that was proposed by other prompts; the same group gives the same answer.

        Raises
        ------
        ValueError
            A member is none of the accounts that a group could be made of.
        """
        rows = self._row[group]
        if (rows < 0).any():
            raise ValueError(
                f"group: expected places of comparable accounts, got {group[rows < 0].tolist()}; "
                "make groups of `among` only"
            )
        overlap = mean_overlap(self._scaled, rows)
        null = self._random_overlaps(min(len(rows), MOST_DRAWN))
        looked = np.concatenate([rows, np.setdiff1d(self._sample, rows)])
        with_group = overlap_with_members(
            [scaled[looked] for scaled in self._scaled], np.arange(len(rows), dtype=np.int64)
        )
        mine, others = with_group[: len(rows)], np.sort(with_group[len(rows) :])
        as_high = len(others) - np.searchsorted(others, mine, side="left")
        member_p = (1 + as_high) / (len(others) + 1)
        return Link(
            overlap=_clipped(overlap),
            by_kind={
                kind: _clipped(mean_overlap([scaled], rows))
                for kind, scaled in zip(KINDS, self._scaled, strict=True)
            },
            p_value=float(1 + (null >= overlap - ROUNDING).sum()) / (len(null) + 1),
            member_overlap=np.clip(mine, -1.0, 1.0),
            member_p=member_p,
            accounts_at_least=members_at_least(member_p, alpha=MEMBERS_ALPHA),
        )

    def _random_overlaps(self, size: int) -> NDArray[np.float64]:
        """Mean overlap of random groups of `size` comparable accounts, drawn once a size."""
        if size not in self._null:
            rng = np.random.default_rng(size)
            count = len(self._scaled[0])
            drawn = (rng.choice(count, min(size, count), replace=False) for _ in range(DRAWS))
            self._null[size] = np.array([mean_overlap(self._scaled, group) for group in drawn])
        return self._null[size]


def _clipped(overlap: float) -> float:
    return min(1.0, max(-1.0, overlap))
