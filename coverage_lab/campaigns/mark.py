"""What being a member of a campaign changes for an account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

#: Verdicts of a campaign that raise its members'.
RAISING = ("review", "watch")
_RAISED = ("clear", "inconclusive")


@dataclass(frozen=True)
class Membership:
    """The campaign of an account, and the sentence that its reasons begin with."""

    campaign: str
    sentence: str


def memberships(campaigns: pa.Table, members: pa.Table) -> dict[str, Membership]:
    """Tell the campaign of every account that one for watch or review has, by account.

    Parameters
    ----------
    campaigns, members : Table
        Schemas `coverage_lab.schema.CAMPAIGNS` and `MEMBERS`.
    """
    raising = {row["campaign"]: row for row in campaigns.to_pylist() if row["verdict"] in RAISING}
    found = {}
    for member in members.to_pylist():
        row = raising.get(member["campaign"])
        if row is not None:
            sentence = (
                f"One of {row['accounts']:,} accounts that look like one campaign ({row['campaign']}, "
                f"{row['verdict']}): their {row['prompts']:,} prompts together have p = "
                f"{row['p_value']:.3g}; it overlaps with the others by {member['overlap']:.2f} "
                "(1: shares of one source)"
            )
            found[member["account_id"]] = Membership(row["campaign"], sentence)
    return found


def mark_members(rows: pa.Table, of: Mapping[str, Membership]) -> pa.Table:
    """Put members' campaign, verdict and first reason into rows of accounts or flags.

    A member is watched at least: a clear or inconclusive verdict becomes "watch". Its own review stays one.
    One without a p-value keeps its verdict: its texts are so few, or so unreadable, that it is never flagged.

    Parameters
    ----------
    rows : Table
        With `account_id`, `p_value`, `verdict`, `reasons` and `campaign`.
    of : mapping
        From `memberships`.
    """
    wanted = pa.array(list(of), pa.large_string())
    if not pc.any(pc.is_in(rows["account_id"], value_set=wanted)).as_py():
        return rows
    campaigns, verdicts, reasons = [], [], []
    compared = rows["p_value"].is_valid().to_pylist()
    for account_id, known, verdict, told in zip(
        rows["account_id"].to_pylist(),
        compared,
        rows["verdict"].to_pylist(),
        rows["reasons"].to_pylist(),
        strict=True,
    ):
        mine = of.get(account_id)
        campaigns.append(None if mine is None else mine.campaign)
        verdicts.append("watch" if mine is not None and known and verdict in _RAISED else verdict)
        reasons.append(told if mine is None else [mine.sentence, *told])
    for name, values in (("campaign", campaigns), ("verdict", verdicts), ("reasons", reasons)):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(
            place, rows.schema.field(place), pa.array(values, rows.schema.field(place).type)
        )
    return rows
