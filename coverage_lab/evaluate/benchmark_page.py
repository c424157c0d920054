"""One self-contained HTML page of a benchmark run: the table, and the pictures behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coverage_lab.evaluate.html_page import html_page
from coverage_lab.evaluate.plots.groups import bars_spec, corpora_spec, disguises_spec
from coverage_lab.evaluate.plots.roc import roc_spec
from coverage_lab.evaluate.plots.sizes import sizes_spec
from coverage_lab.evaluate.results import Figures, Results
from coverage_lab.evaluate.tables import (
    caption,
    figures_of,
    headline_title,
    interval_text,
    number,
    other_sizes,
    size_name,
    tpr_text,
)
from coverage_lab.plotting.figure import Spec
from coverage_lab.plotting.html_file import write_whole


def write_page(path: Path, results: Results) -> None:
    """Write a run's results as one HTML file that needs no network.

    The same results give the same bytes. The file is written beside `path` first and then moved there,
    so that a reader never finds half a page.

    Parameters
    ----------
    path : Path
        File to write; one that is there is replaced.
    results : Results
        As `summarise` gives them. Without a headline the page says so and draws nothing.

    Raises
    ------
    OutputError
        The file can't be written.
    """
    write_whole(path, _page(results), what="page")


def _page(results: Results) -> str:
    first = next(iter(results.headline()), None)
    baseline = results.best_baseline()
    second = _at_headline(results, baseline)
    specs = {} if first is None else _specs(results, first, second)
    return html_page(
        "benchmark.html.j2",
        specs,
        title=headline_title(results),
        caption=caption(results),
        results=results,
        detector=results.settings.detector,
        baseline=baseline,
        first=first,
        growth=results.growth_of(results.settings.detector),
        sizes=[size_name(size) for size in other_sizes(results)],
        rows=_table_rows(results),
        lead_interval=interval_text(results.lead.interval) if results.lead else "",
        plots=set(specs),
    )


def _table_rows(results: Results) -> list[dict[str, Any]]:
    return [
        {
            "method": each.method,
            "role": each.role,
            "auroc": number(each.auroc, 3),
            "auroc_interval": interval_text(each.auroc_interval, 3),
            "tpr": number(each.tpr_1pct),
            "tpr_interval": interval_text(each.tpr_1pct_interval),
            "tpr_01": number(each.tpr_01pct),
            "others": [tpr_text(results, each.method, size) for size in other_sizes(results)],
        }
        for each in results.headline()
    ]


def _at_headline(results: Results, method: str | None) -> Figures | None:
    if method is None or results.headline_size is None:
        return None
    return figures_of(results, method, results.headline_size)


def _specs(results: Results, first: Figures, second: Figures | None) -> dict[str, Spec]:
    """Plots by name; those that would be empty are left out."""
    pair = [first] if second is None else [first, second]
    specs = {
        "roc": roc_spec(results.headline(), best=second.method if second else None),
        "corpora": corpora_spec(pair),
        "kinds": bars_spec([*first.fpr_by_kind, *first.flagged_apart], apart=len(first.flagged_apart)),
        "languages": bars_spec(first.fpr_by_language, unnamed="several or unknown"),
        "rungs": disguises_spec(pair),
        "sizes": sizes_spec(results, [each.method for each in pair]),
    }
    return {name: spec for name, spec in specs.items() if spec["data"]}
