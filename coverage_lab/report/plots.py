"""Figures as plain Plotly specs: numbers and roles of colour here, themes and drawing elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.errors import CoverageLabError
from coverage_lab.plotting.figure import Spec, axis, layout, palette, role
from coverage_lab.report import words
from coverage_lab.schema import LEVELS
from coverage_lab.untrusted.text import plotly_text, shortened, visible

#: Roles of colour, the lines apart in lightness as well as hue, so that colour-blind readers and grey prints
#: keep them apart.
PALETTE = palette(
    light={
        "bar": "#b9bec6",
        "review": "#b3380d",
        "watch": "#8a5d00",
        "inconclusive": "#5d6675",
        "clear": "#2b7bba",
        "account": "#15181c",
        "own": "#1f77c4",
        "reference": "#0b8058",
        "uniform": "#b04a94",
    },
    dark={
        "bar": "#566070",
        "review": "#ff8c5f",
        "watch": "#e6b23c",
        "inconclusive": "#a9b2bf",
        "clear": "#5aa9e6",
        "account": "#f6f7f8",
        "own": "#63b0f2",
        "reference": "#3fc796",
        "uniform": "#e28cc8",
    },
)

#: Points that the overview draws at most; more would make the page heavy and the plot no clearer.
MAX_POINTS = 3_000

_HISTOGRAM_BINS = 40


def themed(spec: object, *, theme: str) -> Any:
    """Return `spec` with every colour role replaced by the colour of `theme` ('light' or 'dark')."""
    if isinstance(spec, str) and spec.startswith("var(--"):
        return PALETTE[theme][spec[len("var(--") : -1]]
    if isinstance(spec, dict):
        return {key: themed(value, theme=theme) for key, value in spec.items()}
    if isinstance(spec, list):
        return [themed(value, theme=theme) for value in spec]
    return spec


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _axis(title: str, *, log: bool = False) -> Spec:
    return axis(title, {"type": "log" if log else "linear"})


def _layout(x: Spec, y: Spec, *, height: int) -> Spec:
    return layout(x, y, height=height, margin={"l": 52, "r": 12, "t": 12, "b": 44})


def log_ticks(low: float, high: float) -> Spec:
    """Tick values and texts for a log axis: powers of ten, or and 3 times those where the range is short."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 3) if last - first <= 3 else (1,)
    values = [step * 10**power for power in range(first, last + 1) for step in steps]
    return {"tickmode": "array", "tickvals": values, "ticktext": [f"{value:,}" for value in values]}


def growth_spec(rows: pa.Table) -> Spec:
    """Growth curve of one account at one level against its three nulls.

    Parameters
    ----------
    rows : pa.Table
        Rows of `schema.CURVES` of one account and level, in any order. Rows with n < 1 are left out.

    Returns
    -------
    dict
        ``{"data": [...], "layout": {...}}`` with colour roles. Bands are cut at 1 cell, which n ≥ 1
        prompts always reach, so that log axes can show them.
    """
    rows = rows.filter(pc.greater_equal(rows["n"], 1)).sort_by("n")
    n = rows["n"].to_numpy().astype(np.int64)
    grid = n.tolist()
    traces: list[Spec] = []
    for line in words.NULL_LINES:
        low = np.maximum(rows[f"{line.key}_low"].to_numpy(), 1.0)
        high = np.maximum(rows[f"{line.key}_high"].to_numpy(), 1.0)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": grid + grid[::-1],
                "y": _rounded(np.concatenate([high, low[::-1]])),
                "fill": "toself",
                "fillcolor": role(line.key),
                "opacity": 0.16,
                "line": {"width": 0},
                "hoverinfo": "skip",
                "legendgroup": line.key,
                "showlegend": False,
            }
        )
    for line in words.NULL_LINES:
        traces.append(_curve(grid, _rounded(rows[f"{line.key}_mean"].to_numpy()), line, width=1.75))
    traces.append(_curve(grid, rows["distinct"].to_pylist(), words.ACCOUNT_LINE, width=2.75))
    figure = _layout(_axis("prompts"), _axis("distinct cells"), height=270)
    figure["hovermode"] = "x unified"
    figure["yaxis"]["rangemode"] = "tozero"
    return {"data": traces, "layout": figure}


def _curve(x: list[int], y: list[float], line: words.Line, *, width: float) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(x) == 1 else "lines",
        "name": line.title,
        "x": x,
        "y": y,
        "line": {"color": role(line.key), "dash": line.dash, "width": width},
        "legendgroup": line.key,
        "hovertemplate": "%{y:,.1~f}",
    }


def account_rows(curves: pa.Table, account_id: str, level: str) -> pa.Table:
    """Rows of one account at one level, of `schema.CURVES` or `schema.CELLS`."""
    return curves.filter((pc.field("account_id") == account_id) & (pc.field("level") == level))


def growth_figure(curves: pa.Table, account_id: str, level: str) -> go.Figure:
    """Growth curve of one account at one level against its three nulls, for notebooks.

    Parameters
    ----------
    curves : pa.Table
        Table of `schema.CURVES`.
    account_id : str
        Account to draw.
    level : str
        One of `schema.LEVELS`.

    Returns
    -------
    plotly.graph_objects.Figure
        Distinct cells against prompts, light theme, linear axes, with a legend.

    Raises
    ------
    CoverageLabError
        `level` is not a level, or `curves` has no row of the account at that level.
    """
    if level not in LEVELS:
        raise CoverageLabError(f"level: expected one of {', '.join(LEVELS)}, got {visible(str(level))!r}")
    rows = account_rows(curves, account_id, level)
    if rows.num_rows == 0:
        raise CoverageLabError(
            f"account_id: expected an account with a growth curve at level {level}, "
            f"got {shortened(visible(account_id), 80)!r}"
        )
    spec = themed(growth_spec(rows), theme="light")
    figure = spec["layout"] | {
        "showlegend": True,
        "height": 420,
        "plot_bgcolor": PALETTE["light"]["surface"],
        "paper_bgcolor": PALETTE["light"]["surface"],
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
    }
    return go.Figure(data=spec["data"], layout=figure)


def overview_rows(
    ranks: NDArray[np.int64], scores: NDArray[np.float64], always: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows that the overview draws: `always`, and of the rest an even stride by rank of verdict and score.

    Returns all rows, in order, where they are no more than `MAX_POINTS`.
    """
    if len(ranks) <= MAX_POINTS:
        return np.arange(len(ranks))
    kept = np.zeros(len(ranks), np.bool_)
    kept[always] = True
    order = np.lexsort((-scores, ranks))
    order = order[~kept[order]]
    room = min(max(MAX_POINTS - int(kept.sum()), 0), len(order))
    kept[order[np.linspace(0, len(order) - 1, room).round().astype(np.int64)]] = True
    return np.flatnonzero(kept)


#: What `overview_spec` needs of an account.
OVERVIEW_COLUMNS = ("account_id", "verdict", "prompts", "score", "p_value")


def overview_spec(accounts: pa.Table, anchors: Mapping[str, str]) -> Spec:
    """Prompts against score of those of the given accounts that have one, one trace a verdict.

    `customdata` of a point is its account's anchor in the page ('' where it has no section) and its
    p-value as text.
    """
    points: dict[str, list[tuple[str, int, float, str, str]]] = {}
    for account_id, verdict, prompts, score, p_value in zip(
        *(accounts[name].to_pylist() for name in OVERVIEW_COLUMNS),
        strict=True,
    ):
        if score is None:
            continue
        shown = plotly_text(shortened(visible(account_id), 60))
        p_text = "not available" if p_value is None or math.isnan(p_value) else f"{p_value:.3g}"
        points.setdefault(verdict, []).append((shown, prompts, score, anchors.get(account_id, ""), p_text))
    traces = []
    # The gravest verdict last, so that it lies on top.
    for verdict, style in sorted(words.VERDICTS.items(), key=lambda item: -item[1].rank):
        mine = points.get(verdict, [])
        if not mine:
            continue
        ids, prompts, scores, links, p_texts = zip(*mine, strict=True)
        grave = verdict in ("review", "watch")
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": verdict,
                "x": list(prompts),
                "y": [float(f"{score:.4g}") for score in scores],
                "text": list(ids),
                "customdata": [list(pair) for pair in zip(links, p_texts, strict=True)],
                "marker": {
                    "color": role(verdict),
                    "symbol": style.symbol,
                    "size": 11 if grave else 7,
                    "opacity": 0.95 if grave else 0.6,
                    "line": {"width": 1, "color": role("surface" if grave else verdict)},
                },
                "hovertemplate": (
                    f"<b>%{{text}}</b><br>{style.sign} {verdict}<br>%{{x:,}} prompts · score %{{y:.3f}}"
                    "<br>p-value %{customdata[1]}<extra></extra>"
                ),
            }
        )
    figure = _layout(_axis("prompts (log scale)", log=True), _axis("score"), height=430)
    counts = accounts["prompts"].to_numpy()
    if len(counts):
        figure["xaxis"] |= log_ticks(max(float(counts.min()), 1.0), max(float(counts.max()), 10.0))
    figure["yaxis"] |= {"range": [-0.03, 1.05]}
    return {"data": traces, "layout": figure}


def score_spec(scores: NDArray[np.float64]) -> Spec:
    """Histogram of all scores, NaN left out; the page adds the mark of one account."""
    counts, edges = np.histogram(scores[np.isfinite(scores)], bins=_HISTOGRAM_BINS, range=(0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    half = 0.5 / _HISTOGRAM_BINS
    figure = _layout(_axis("score"), _axis("accounts (log scale)", log=True), height=210)
    figure["margin"]["t"] = 28
    figure["bargap"] = 0.12
    figure["xaxis"] |= {"range": [-0.01, 1.01]}
    most = max(int(counts.max()), 1)
    # From 0.6, so that a bar of one account is still seen.
    figure["yaxis"] |= {"range": [math.log10(0.6), math.log10(most * 1.6)]} | log_ticks(1.0, float(most))
    return {
        "data": [
            {
                "type": "bar",
                "x": _rounded(middles),
                "y": counts.tolist(),
                "customdata": [[round(m - half, 3), round(m + half, 3)] for m in middles.tolist()],
                "marker": {"color": role("bar")},
                "hovertemplate": "%{y:,} accounts score %{customdata[0]}–%{customdata[1]}<extra></extra>",
            }
        ],
        "layout": figure,
    }
