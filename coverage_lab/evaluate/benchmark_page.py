"""One self-contained HTML page of a benchmark run: the table, and the pictures behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from coverage_lab.evaluate.results import (
    REPLAYED,
    DetectionDelay,
    Figures,
    FoundBy,
    Results,
    Row,
)
from coverage_lab.evaluate.scored_accounts import ladder_order
from coverage_lab.evaluate.tables import (
    caption,
    figures_of,
    headline_title,
    interval_text,
    number,
    other_sizes,
    shown,
    size_name,
    tpr_text,
)
from coverage_lab.plotting.figure import Spec, axis, layout, palette, role
from coverage_lab.plotting.html_file import asset, environment, plotly_js, policy, write_whole
from coverage_lab.untrusted.text import json_for_script, plotly_text, shortened

#: Roles of colour; the detector and the best baseline are apart in lightness as well as hue.
PALETTE = palette(
    light={
        "detector": "#0a5c8f",
        "variant": "#0b8058",
        "baseline": "#c2571a",
        "other": "#8b929c",
        "probe": "#b04a94",
    },
    dark={
        "detector": "#7cc0ee",
        "variant": "#3fc796",
        "baseline": "#ff9a5c",
        "other": "#7d8794",
        "probe": "#e28cc8",
    },
)

_TEMPLATES = "coverage_lab.evaluate"
#: A phone shows these many letters beside a plot, and these many in its legend.
_LABEL_SIGNS = 26
_LEGEND_SIGNS = 28
_BAR_HEIGHT = 30
_VARIANT_DASHES = ("dash", "dashdot", "longdash")
_DOT_HEIGHT = 19


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
    script = asset(_TEMPLATES, "benchmark.js")
    plotly = plotly_js()
    first = next(iter(results.headline()), None)
    baseline = results.best_baseline()
    second = _at_headline(results, baseline)
    specs = {} if first is None else _specs(results, first, second)
    templates = environment(_TEMPLATES)
    templates.filters |= {"shown": shown, "percent": lambda share: f"{100 * share:.1f}%"}
    return templates.get_template("benchmark.html.j2").render(
        title=headline_title(results),
        caption=caption(results),
        replayed=REPLAYED,
        results=results,
        detector=results.settings.detector,
        baseline=baseline,
        first=first,
        growth=_growth_of(results, results.settings.detector),
        sizes=[size_name(size) for size in other_sizes(results)],
        rows=_table_rows(results),
        lead_interval=interval_text(results.lead.interval) if results.lead else "",
        plots=set(specs),
        palette=PALETTE,
        css=Markup(asset(_TEMPLATES, "benchmark.css")),
        script=Markup(script),
        plotly=Markup(plotly),
        policy=policy(plotly, script),
        page_data=Markup(json_for_script({"palette": PALETTE, "plots": specs})),
    )


def _label(name: str, limit: int = _LABEL_SIGNS) -> str:
    """A name for Plotly, which reads a small HTML of its own; the middle is cut out of long ones."""
    return plotly_text(shortened(shown(name), limit))


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


def _growth_of(results: Results, method: str) -> DetectionDelay | None:
    return next((each for each in results.growth if each.method == method), None)


def _specs(results: Results, first: Figures, second: Figures | None) -> dict[str, Spec]:
    """Plots by name; those that would be empty are left out."""
    pair = [first] if second is None else [first, second]
    specs = {
        "roc": roc_spec(results.headline(), best=second.method if second else None),
        "corpora": corpora_spec(pair),
        "kinds": bars_spec([*first.fpr_by_kind, *first.flagged_apart], apart=len(first.flagged_apart)),
        "languages": bars_spec(first.fpr_by_language, unnamed="several or unknown"),
        "rungs": rungs_spec(pair),
        "sizes": sizes_spec(results, [each.method for each in pair]),
    }
    return {name: spec for name, spec in specs.items() if spec["data"]}


def _percent_axis(title: str) -> Spec:
    return axis(title, {"range": [-0.02, 1.03], "tickformat": ".0%", "dtick": 0.25})


def _layout(x: Spec, y: Spec, *, height: int) -> Spec:
    legend = {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "font": {"size": 12, "color": role("ink")},
    }
    plain = layout(x, y, height=height, margin={"l": 8, "r": 14, "t": 8, "b": 40})
    return plain | {"showlegend": True, "legend": legend, "bargap": 0.35}


def _upright(x: float, y1: float = 1.0) -> Spec:
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": y1,
        "layer": "below",
        "line": {"color": role("muted"), "width": 1, "dash": "dot"},
    }


def roc_spec(headline: Sequence[Figures], *, best: str | None) -> Spec:
    """ROC curves of all methods on a logarithmic axis of false positives, from 0.1% up."""
    traces: list[Spec] = []
    named_other = False
    variants = [each.method for each in headline if each.role == "variant"]
    # The detector last, so that it lies on top.
    for each in reversed(headline):
        if not each.roc:
            continue
        colour = each.role if each.role != "baseline" or each.method == best else "other"
        plain = colour == "other"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "other baselines" if plain else _label(each.method, _LEGEND_SIGNS),
                "legendgroup": "other" if plain else "",
                "showlegend": not (plain and named_other),
                "legendrank": 1 + ["detector", "variant", "baseline", "other", "probe"].index(colour),
                "x": [*(rate for rate, _ in each.roc), 1.0],
                "y": [*(found for _, found in each.roc), 1.0],
                "line": {
                    "color": role(colour),
                    "width": 3 if each.role == "detector" else 1.25 if plain else 2,
                    "dash": "dot"
                    if each.role == "probe"
                    else _VARIANT_DASHES[variants.index(each.method) % len(_VARIANT_DASHES)]
                    if each.role == "variant"
                    else "solid",
                },
                "text": _label(each.method, 80),
                "hovertemplate": "<b>%{text}</b><br>%{y:.0%} found at %{x:.2~%} FPR<extra></extra>",
            }
        )
        named_other |= plain
    x = axis(
        "innocent accounts flagged (log scale)",
        {
            "type": "log",
            "range": [-3.03, 0.02],
            "tickmode": "array",
            "tickvals": [0.001, 0.01, 0.1, 1],
            "ticktext": ["0.1%", "1%", "10%", "100%"],
        },
    )
    figure = _layout(x, _percent_axis("harvests found"), height=460)
    figure["shapes"] = [_upright(0.001), _upright(0.01)]
    return {"data": traces, "layout": figure}


def corpora_spec(pair: Sequence[Figures]) -> Spec:
    """Share of each corpus's pure harvests found, the detector's lowest at the top; a dot a method."""
    order = [row.name for row in reversed(pair[0].tpr_by_corpus)]
    place = {name: index for index, name in enumerate(order)}
    traces: list[Spec] = []
    if len(pair) > 1:
        theirs = {row.name: row.share for row in pair[1].tpr_by_corpus}
        ends = [(place[row.name], row.share, theirs.get(row.name)) for row in pair[0].tpr_by_corpus]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [part for _, ours, other in ends for part in (ours, other, None)],
                "y": [part for at, _, _ in ends for part in (at, at, None)],
                "line": {"color": role("rule"), "width": 2},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    for colour, symbol, each in reversed(
        list(zip(("detector", "baseline"), ("circle", "diamond-open"), pair, strict=False))
    ):
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": _label(each.method, _LEGEND_SIGNS),
                "legendrank": 1 if colour == "detector" else 2,
                "x": [row.share for row in each.tpr_by_corpus],
                "y": [place[row.name] for row in each.tpr_by_corpus],
                "text": [
                    f"{_label(row.name, 80)}<br>{row.accounts:,} accounts" for row in each.tpr_by_corpus
                ],
                "marker": {"color": role(colour), "symbol": symbol, "size": 9, "line": {"width": 1.5}},
                "hovertemplate": "<b>%{text}</b><br>%{x:.0%} found<extra></extra>",
            }
        )
    y = axis(
        "",
        {
            "tickmode": "array",
            "tickvals": list(range(len(order))),
            "ticktext": [_label(name) for name in order],
            "range": [-0.7, len(order) - 0.3],
        },
    )
    figure = _layout(
        _percent_axis("harvests found at 1% FPR"), y, height=110 + _DOT_HEIGHT * max(len(order), 2)
    )
    return {"data": traces if order else [], "layout": figure}


def bars_spec(rows: Sequence[Row], *, apart: int = 0, unnamed: str = "") -> Spec:
    """Share of flagged accounts in each group as bars; the last `apart` in another colour, set off."""
    names = [_label(row.name.replace("_", " ") or unnamed) for row in rows]
    plain = len(rows) - apart
    figure = _layout(
        axis(
            "accounts flagged at the 1% threshold", {"tickformat": ".1~%", "rangemode": "tozero", "nticks": 6}
        ),
        axis("", {"autorange": "reversed", "type": "category"}),
        height=70 + _BAR_HEIGHT * max(len(rows), 2),
    )
    figure["showlegend"] = False
    top = max([0.02, *(row.share for row in rows)])
    figure["xaxis"] |= {"range": [0, top * 1.25]}
    figure["shapes"] = [_upright(0.01)]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": names,
                "x": [row.share for row in rows],
                "text": [f"{100 * row.share:.1f}%" for row in rows],
                "textposition": "outside",
                "cliponaxis": False,
                "customdata": [[row.accounts, row.corpora] for row in rows],
                "marker": {"color": [role("detector" if at < plain else "other") for at in range(len(rows))]},
                "hovertemplate": "%{customdata[0]:,} accounts of %{customdata[1]:,} corpora<extra></extra>",
            }
        ]
        if rows
        else [],
        "layout": figure,
    }


def rungs_spec(pair: Sequence[Figures]) -> Spec:
    """Share of harvests found on each rung of the ladder, bars of the detector beside the baseline's."""
    rungs = sorted({row.name for each in pair for row in each.tpr_by_rung}, key=ladder_order)
    traces = []
    for colour, each in zip(("detector", "baseline"), pair, strict=False):
        rows = {row.name: row for row in each.tpr_by_rung}
        mine = [rows[name] for name in rungs if name in rows]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": _label(each.method, _LEGEND_SIGNS),
                "y": [_rung_label(row.name) for row in mine],
                "x": [row.share for row in mine],
                "text": [f"{row.share:.0%}" for row in mine],
                "textposition": "outside",
                "cliponaxis": False,
                "customdata": [[row.accounts, row.corpora] for row in mine],
                "marker": {"color": role(colour)},
                "hovertemplate": "%{x:.0%} of %{customdata[0]:,} accounts, %{customdata[1]:,} corpora"
                "<extra></extra>",
            }
        )
    figure = _layout(
        _percent_axis("harvests found at 1% FPR"),
        axis("", {"autorange": "reversed", "type": "category"}),
        height=110 + (10 + 17 * len(pair)) * max(len(rungs), 2),
    )
    figure["xaxis"]["range"] = [0, 1.12]
    figure |= {"barmode": "group", "bargap": 0.3}
    return {"data": traces if rungs else [], "layout": figure}


def _rung_label(rung: str) -> str:
    mixed = re.fullmatch(r"mixed_(\d+)", rung)
    return f"{mixed.group(1)}% ordinary traffic" if mixed else _label(rung.replace("_", " "))


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
                    _label(method, _LEGEND_SIGNS),
                    colour,
                    "solid",
                )
            )
    growth = _growth_of(results, methods[0])
    if growth is not None and growth.found_by:
        name = _label(methods[0], _LEGEND_SIGNS)
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
    figure = _layout(x, _percent_axis("accounts flagged"), height=440)
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
