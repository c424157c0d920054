"""A campaign explained in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coverage_lab.report.accounts_view import defined
from coverage_lab.report.campaigns_view import campaign_evidence
from coverage_lab.report.terminal import verdict_text
from coverage_lab.untrusted.text import JOINERS, shortened, visible


def explain_campaign(row: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One campaign in words and numbers.

    Parameters
    ----------
    row : Mapping[str, Any]
        Row of `schema.CAMPAIGNS`, as `Table.to_pylist` gives it.
    members : sequence of Mapping[str, Any]
        Its rows of `schema.MEMBERS`.
    """
    p_value, score = defined(row["p_value"]), defined(row["score"])
    head = Text.assemble(
        ("Campaign ", "bold"),
        visible(row["campaign"]),
        "\n",
        verdict_text(row["verdict"]),
        f" · {row['accounts']:,} accounts · {row['prompts']:,} prompts"
        f" · score {'n/a' if score is None else f'{score:.3f}'} (0..1)"
        f" · p {'n/a' if p_value is None else f'{p_value:.3g}'}",
    )
    weighed = Text("\n".join(f"  {term}: {value}" for term, value in campaign_evidence(row)))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  member", overflow="fold")
    for name in ("prompts", "share", "overlap", "p", "own ground"):
        table.add_column(name, justify="right", no_wrap=True)
    for member in sorted(members, key=lambda member: (-member["prompts"], member["account_id"])):
        table.add_row(
            Text(f"  {shortened(visible(member['account_id']), 40)}"),
            f"{member['prompts']:,}",
            f"{member['share']:.1%}",
            f"{member['overlap']:.2f}",
            f"{member['member_p']:.3g}",
            f"{member['own_ground']:.0%}",
        )
    return Group(
        head,
        weighed,
        Text("\nWhy", style="bold"),
        *[Padding(Text(f"• {visible(reason, keep=JOINERS)}"), (0, 0, 0, 2)) for reason in row["reasons"]],
        Text("\nMembers", style="bold"),
        table,
        Text(
            "  overlap: with the others, 1 = shares of one source; p: share of accounts outside that are as "
            "much like the members; own ground: narrow topics that no other member reached"
        ),
        Text(
            "\nThe system recommends; people decide. Accounts that ask alike may have one owner, one teacher "
            "or one framework; the evidence is from behaviour only, and every flag can be appealed.",
            style="italic",
        ),
    )
