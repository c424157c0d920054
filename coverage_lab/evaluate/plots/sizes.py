"""Shares found against the number of prompts."""

from __future__ import annotations

from collections.abc import Sequence

from coverage_lab.evaluate.plots.style import LEGEND_SIGNS, percent_axis, short_label, with_legend
from coverage_lab.evaluate.results import FoundBy, Results
from coverage_lab.evaluate.tables import size_name
from coverage_lab.plotting.figure import Spec, axis, role


def sizes_spec(results: Results, methods: Sequence[str]) -> Spec:
    """Share of pure harvests found against prompts, and of accounts found at a size or before it."""
    traces: list[Spec] = []
    seen: set[int] = set()
    for colour, method in zip(("detector", "baseline"), methods, strict=False):
        points = [
            each
            for each in sorted(results.figures, key=lambda each: each.size)
            if each.method == method and each.tpr_1pct is not None
        ]
        seen |= {each.size for each in points}
        banded = [each for each in points if each.tpr_1pct_interval is not None]
        if len(banded) > 1:
            highs = [each.tpr_1pct_interval.high for each in banded if each.tpr_1pct_interval]
            lows = [each.tpr_1pct_interval.low for each in banded if each.tpr_1pct_interval]
            grid = [each.size for each in banded]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": grid + grid[::-1],
                    "y": highs + lows[::-1],
                    "fill": "toself",
                    "fillcolor": role(colour),
                    "opacity": 0.14,
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                    "showlegend": False,
                }
            )
        if points:
            traces.append(
                _line(
                    [(each.size, each.tpr_1pct) for each in points],
                    short_label(method, LEGEND_SIGNS),
                    colour,
                    "solid",
                )
            )
    growth = results.growth_of(methods[0])
    if growth is not None and growth.found_by:
        name = short_label(methods[0], LEGEND_SIGNS)
        traces.append(_line(_found(growth.found_by), f"{name}, or earlier", "detector", "dot"))
        traces.append(
            _line(_found(growth.innocent_found_by), "innocent accounts, or earlier", "other", "dot")
        )
    ticks = sorted(seen)
    x = axis(
        "prompts (log scale)",
        {
            "type": "log",
            "tickmode": "array",
            "tickvals": ticks,
            "ticktext": [size_name(size) for size in ticks],
        },
    )
    figure = with_legend(x, percent_axis("accounts flagged"), height=440)
    return {"data": traces, "layout": figure}


def _found(found_by: Sequence[FoundBy]) -> list[tuple[int, float | None]]:
    return [(each.size, each.share) for each in found_by]


def _line(points: Sequence[tuple[int, float | None]], name: str, colour: str, dash: str) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [size for size, _ in points],
        "y": [share for _, share in points],
        "line": {"color": role(colour), "width": 2.5 if dash == "solid" else 1.75, "dash": dash},
        "marker": {"size": 7 if dash == "solid" else 4},
        "hovertemplate": "<b>%{fullData.name}</b><br>%{y:.0%} at %{x:,} prompts<extra></extra>",
    }
