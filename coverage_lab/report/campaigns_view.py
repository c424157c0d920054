"""What page and terminal say of each campaign: its evidence and its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from coverage_lab.files.table_rows import Rows, batches, columns_in
from coverage_lab.report import words
from coverage_lab.report.accounts_view import anchor_of, defined
from coverage_lab.untrusted.text import JOINERS, shortened, visible

#: Campaigns and members of each that a page shows; the tables hold the rest.
CAMPAIGNS_SHOWN = 20
MEMBERS_SHOWN = 100


@dataclass(frozen=True)
class Member:
    """One member as it is shown; every text is already visible. Bars are 0..100 of the largest share."""

    name: str
    account_id: str
    anchor: str
    prompts: int
    share: float
    share_bar: float
    overlap: float
    member_p: float
    own_ground: float


@dataclass(frozen=True)
class Campaign:
    """One campaign as it is shown; every text is already visible."""

    name: str
    anchor: str
    verdict: str
    accounts: int
    prompts: int
    score: float | None
    p_value: float | None
    archetype: str
    archetype_probability: float | None
    reasons: tuple[str, ...]
    evidence: tuple[tuple[str, str], ...]
    members: tuple[Member, ...]
    command: str

    @property
    def left_out(self) -> int:
        """Members that are not shown."""
        return self.accounts - len(self.members)


def campaigns_shown(campaigns: Rows, members: Rows, *, limit: int = CAMPAIGNS_SHOWN) -> list[Campaign]:
    """Read the first campaigns and their largest members.

    Parameters
    ----------
    campaigns, members : Table or Path
        Of `coverage_lab.schema.CAMPAIGNS`, the gravest first, and `MEMBERS`.
    limit : int
        Campaigns at most.
    """
    rows: list[dict[str, Any]] = []
    for batch in batches(campaigns, columns_in(campaigns)):
        rows += batch.slice(0, limit - len(rows)).to_pylist()
        if len(rows) == limit:
            break
    return [_campaign(row, members_of(members, row["campaign"])) for row in rows]


def members_of(members: Rows, campaign: str) -> list[dict[str, Any]]:
    """Rows of a campaign's members, by account."""
    found: list[dict[str, Any]] = []
    for batch in batches(members, columns_in(members)):
        found += batch.filter(pc.equal(batch["campaign"], campaign)).to_pylist()
    return found


def _campaign(row: Mapping[str, Any], members: list[dict[str, Any]]) -> Campaign:
    name = visible(row["campaign"])
    largest = sorted(members, key=lambda member: (-member["prompts"], member["account_id"]))[:MEMBERS_SHOWN]
    widest = max((member["share"] for member in largest), default=0.0) or 1.0
    return Campaign(
        name=name,
        anchor=name,
        verdict=visible(row["verdict"]),
        accounts=row["accounts"],
        prompts=row["prompts"],
        score=defined(row["score"]),
        p_value=defined(row["p_value"]),
        archetype=words.ARCHETYPES.get(row["archetype"], visible(row["archetype"])),
        archetype_probability=defined(row["archetype_probability"]),
        reasons=tuple(visible(reason, keep=JOINERS) for reason in row["reasons"]),
        evidence=campaign_evidence(row),
        members=tuple(
            Member(
                name=shortened(visible(member["account_id"]), 80),
                account_id=member["account_id"],
                anchor=anchor_of(member["account_id"]),
                prompts=member["prompts"],
                share=member["share"],
                share_bar=round(100 * member["share"] / widest, 1),
                overlap=member["overlap"],
                member_p=member["member_p"],
                own_ground=member["own_ground"],
            )
            for member in largest
        ),
        command=f"coverage-lab explain --campaign {name} --run OUTPUT",
    )


def campaign_evidence(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a reviewer weighs, as (term, value), of a row of campaigns."""
    q_value, ratio = defined(row["q_value"]), defined(row["cell_ratio"])
    return (
        ("Truly alike, with 95% confidence", f"{row['accounts_at_least']:,} of {row['accounts']:,} accounts"),
        (
            "Overlap of two members",
            f"{row['overlap']:.2f} (content {row['content_overlap']:.2f}, "
            f"opening words {row['opening_overlap']:.2f}; 1: shares of one source)",
        ),
        ("Random groups that overlap as much", f"{row['link_p']:.1%}"),
        (words.Q_VALUE, words.NOT_KNOWN if q_value is None else f"{q_value:.3g}"),
        ("Texts sent by more than one of them", f"{row['shared_texts']:.1%}"),
        (
            "Same narrow topic: two members, against one",
            words.NOT_KNOWN if ratio is None else f"{ratio:.2f}× (1: dealt at random, below: parted)",
        ),
        (
            "Narrow topics reached together",
            f"{row['cells_reached']:,} ({row['cells_expected']:,.0f} expected of ordinary traffic)",
        ),
        (
            "First and last prompt",
            f"{row['first_seen']:%Y-%m-%d %H:%M} to {row['last_seen']:%Y-%m-%d %H:%M} UTC",
        ),
    )
