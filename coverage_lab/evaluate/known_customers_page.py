"""One self-contained HTML page of the protocol of known customers: the table, and two pictures."""

from __future__ import annotations

from pathlib import Path

from coverage_lab.evaluate.html_page import html_page
from coverage_lab.evaluate.known_customers import KnownCustomersResults, KnownCustomersRow
from coverage_lab.evaluate.plots.contamination import alarms_spec, found_spec
from coverage_lab.plotting.html_file import write_whole


def write_known_customers_page(path: Path, results: KnownCustomersResults) -> None:
    """Write the protocol's results as one HTML file that needs no network; the same results, the same bytes.

    Raises
    ------
    OutputError
        The file can't be written.
    """
    everyone = [row for row in results.rows if row.size is None]
    specs = {"found": found_spec(everyone), "alarms": alarms_spec(everyone)}
    page = html_page(
        "known_customers.html.j2",
        specs,
        title="Harvests nobody has seen, against customers that are known",
        results=results,
        rows=[shown_row(row) for row in results.rows],
        strangers=everyone[0],
        adapted=everyone[1],
    )
    write_whole(path, page, what="page")


def shown_row(row: KnownCustomersRow) -> dict[str, str]:
    """A row as people read it, by column; `adapted to` is what the score was fitted to."""
    known = "nothing" if row.contamination is None else f"own accounts, {row.contamination:.0%} harvests"
    return {
        "prompts": "all" if row.size is None else f"{row.size:,}",
        "adapted to": known,
        "AUROC": f"{row.auroc:.3f}",
        "found at 1%": f"{row.caught[0]:.2f}",
        "found at 5%": f"{row.caught[1]:.2f}",
        "harvests p ≤ .05": f"{row.harvests_at_p_5pct:.2f}",
        "customers p ≤ .05": f"{row.ordinary_at_p[1]:.3f}",
        "accounts p ≤ .05": f"{row.ordinary_accounts_at_p[1]:.3f}",
    }
