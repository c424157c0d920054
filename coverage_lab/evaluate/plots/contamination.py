"""Shares found and false alarms against the harvests among the accounts that a score was adapted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coverage_lab.evaluate.known_customers import KnownCustomersRow
from coverage_lab.evaluate.plots.style import percent_axis, with_legend
from coverage_lab.plotting.figure import Spec, axis, role

Value = Callable[[KnownCustomersRow], float]


def found_spec(rows: Sequence[KnownCustomersRow]) -> Spec:
    """Share of harvests above all but 1% and 5% of the customers, strangers' scores as level lines."""
    lines = [
        *_lines(rows, lambda row: row.caught[0], "1% of customers above", "detector"),
        *_lines(rows, lambda row: row.caught[1], "5% of customers above", "variant"),
    ]
    return {"data": lines, "layout": with_legend(_x(), percent_axis("harvests found"), height=400)}


def alarms_spec(rows: Sequence[KnownCustomersRow]) -> Spec:
    """Share of customers and of accounts with p ≤ .05; the promise is a level line."""
    lines = [
        *_lines(rows, lambda row: row.ordinary_at_p[1], "customers", "baseline"),
        *_lines(rows, lambda row: row.ordinary_accounts_at_p[1], "accounts", "detector"),
        _level(0.05, "promised", "other", rows),
    ]
    highest = max(max(row.ordinary_at_p[1], row.ordinary_accounts_at_p[1]) for row in rows)
    y = axis("p ≤ .05", {"range": [0, max(0.12, 1.15 * highest)], "tickformat": ".0%"})
    return {"data": lines, "layout": with_legend(_x(), y, height=320)}


def _x() -> Spec:
    return axis("harvests among the accounts adapted to", {"tickformat": ".0%"})


def _lines(rows: Sequence[KnownCustomersRow], value: Value, name: str, colour: str) -> list[Spec]:
    """The adapted score by contamination, and that of strangers as a dotted level."""
    adapted = [row for row in rows if row.contamination is not None]
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [row.contamination for row in adapted],
        "y": [value(row) for row in adapted],
        "line": {"color": role(colour), "width": 2.5},
        "marker": {"size": 7},
        "hovertemplate": "<b>%{fullData.name}</b><br>%{y:.1%} with %{x:.0%} harvests<extra></extra>",
    }
    strangers = [row for row in rows if row.contamination is None]
    return [line, *(_level(value(row), f"{name}, not adapted", colour, rows) for row in strangers)]


def _level(y: float, name: str, colour: str, rows: Sequence[KnownCustomersRow]) -> Spec:
    ends = [row.contamination for row in rows if row.contamination is not None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [min(ends), max(ends)],
        "y": [y, y],
        "line": {"color": role(colour), "width": 1.5, "dash": "dot"},
        "hovertemplate": "<b>%{fullData.name}</b><br>%{y:.1%}<extra></extra>",
    }
