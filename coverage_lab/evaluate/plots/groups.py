"""Shares of flagged accounts by corpus, by kind or language, and by disguise."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coverage_lab.evaluate.plots.style import LEGEND_SIGNS, percent_axis, short_label, upright, with_legend
from coverage_lab.evaluate.results import Figures, Row
from coverage_lab.evaluate.scored_accounts import disguise_order
from coverage_lab.plotting.figure import Spec, axis, role

_BAR_HEIGHT = 30
_DOT_HEIGHT = 19


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
                "name": short_label(each.method, LEGEND_SIGNS),
                "legendrank": 1 if colour == "detector" else 2,
                "x": [row.share for row in each.tpr_by_corpus],
                "y": [place[row.name] for row in each.tpr_by_corpus],
                "text": [
                    f"{short_label(row.name, 80)}<br>{row.accounts:,} accounts" for row in each.tpr_by_corpus
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
            "ticktext": [short_label(name) for name in order],
            "range": [-0.7, len(order) - 0.3],
        },
    )
    figure = with_legend(
        percent_axis("harvests found at 1% FPR"), y, height=110 + _DOT_HEIGHT * max(len(order), 2)
    )
    return {"data": traces if order else [], "layout": figure}


def bars_spec(rows: Sequence[Row], *, apart: int = 0, unnamed: str = "") -> Spec:
    """Share of flagged accounts in each group as bars; the last `apart` in another colour, set off."""
    names = [short_label(row.name.replace("_", " ") or unnamed) for row in rows]
    plain = len(rows) - apart
    figure = with_legend(
        axis(
            "accounts flagged at the 1% threshold", {"tickformat": ".1~%", "rangemode": "tozero", "nticks": 6}
        ),
        axis("", {"autorange": "reversed", "type": "category"}),
        height=70 + _BAR_HEIGHT * max(len(rows), 2),
    )
    figure["showlegend"] = False
    top = max([0.02, *(row.share for row in rows)])
    figure["xaxis"] |= {"range": [0, top * 1.25]}
    figure["shapes"] = [upright(0.01)]
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


def disguises_spec(pair: Sequence[Figures]) -> Spec:
    """Share of harvests found in each disguise, bars of the detector beside the baseline's."""
    rungs = sorted({row.name for each in pair for row in each.tpr_by_rung}, key=disguise_order)
    traces = []
    for colour, each in zip(("detector", "baseline"), pair, strict=False):
        rows = {row.name: row for row in each.tpr_by_rung}
        mine = [rows[name] for name in rungs if name in rows]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": short_label(each.method, LEGEND_SIGNS),
                "y": [_disguise_label(row.name) for row in mine],
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
    figure = with_legend(
        percent_axis("harvests found at 1% FPR"),
        axis("", {"autorange": "reversed", "type": "category"}),
        height=110 + (10 + 17 * len(pair)) * max(len(rungs), 2),
    )
    figure["xaxis"]["range"] = [0, 1.12]
    figure |= {"barmode": "group", "bargap": 0.3}
    return {"data": traces if rungs else [], "layout": figure}


def _disguise_label(rung: str) -> str:
    mixed = re.fullmatch(r"mixed_(\d+)", rung)
    return f"{mixed.group(1)}% ordinary traffic" if mixed else short_label(rung.replace("_", " "))
