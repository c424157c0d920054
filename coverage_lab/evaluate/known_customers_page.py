"""One self-contained HTML page of the protocol of known customers: the table, and two pictures."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from coverage_lab.evaluate.known_customers import KnownCustomersResults, KnownCustomersRow
from coverage_lab.evaluate.plots.contamination import alarms_spec, found_spec
from coverage_lab.evaluate.plots.style import PALETTE
from coverage_lab.evaluate.results import REPLAYED
from coverage_lab.plotting.html_file import asset, environment, plotly_js, policy, write_whole
from coverage_lab.untrusted.text import escaped, json_for_script

_TEMPLATES = "coverage_lab.evaluate"


def write_known_customers_page(path: Path, results: KnownCustomersResults) -> None:
    """Write the protocol's results as one HTML file that needs no network; the same results, the same bytes.

    Raises
    ------
    OutputError
        The file can't be written.
    """
    script, plotly = asset(_TEMPLATES, "benchmark.js"), plotly_js()
    everyone = [row for row in results.rows if row.size is None]
    specs = {"found": found_spec(everyone), "alarms": alarms_spec(everyone)}
    templates = environment(_TEMPLATES)
    templates.filters |= {"escaped": escaped}
    page = templates.get_template("known_customers.html.j2").render(
        title="Harvests nobody has seen, against customers that are known",
        replayed=REPLAYED,
        results=results,
        rows=[_cells(row) for row in results.rows],
        strangers=everyone[0],
        adapted=everyone[1],
        palette=PALETTE,
        css=Markup(asset(_TEMPLATES, "benchmark.css")),
        script=Markup(script),
        plotly=Markup(plotly),
        policy=policy(plotly, script),
        page_data=Markup(json_for_script({"palette": PALETTE, "plots": specs})),
    )
    write_whole(path, page, what="page")


def adapted_to(row: KnownCustomersRow) -> str:
    """Say what a score was fitted to."""
    return "nothing" if row.contamination is None else f"own accounts, {row.contamination:.0%} harvests"


def _cells(row: KnownCustomersRow) -> dict[str, str]:
    return {
        "prompts": "all" if row.size is None else f"{row.size:,}",
        "adapted to": adapted_to(row),
        "AUROC": f"{row.auroc:.3f}",
        "found at 1%": f"{row.caught[0]:.2f}",
        "found at 5%": f"{row.caught[1]:.2f}",
        "harvests p ≤ .05": f"{row.harvests_at_p_5pct:.2f}",
        "customers p ≤ .05": f"{row.ordinary_at_p[1]:.3f}",
        "accounts p ≤ .05": f"{row.ordinary_accounts_at_p[1]:.3f}",
    }
