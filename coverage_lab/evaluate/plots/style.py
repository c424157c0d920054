"""What the plots of the benchmark page have in common: colours, labels, axes and legend."""

from __future__ import annotations

from coverage_lab.plotting.figure import Spec, axis, layout, palette, role
from coverage_lab.untrusted.text import escaped, plotly_text, shortened

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

#: A phone shows these many letters beside a plot, and these many in its legend.
LABEL_SIGNS = 26
LEGEND_SIGNS = 28


def short_label(name: str, limit: int = LABEL_SIGNS) -> str:
    """Return a name for Plotly, which reads a small HTML of its own; the middle is cut out of long ones."""
    return plotly_text(shortened(escaped(name), limit))


def percent_axis(title: str) -> Spec:
    """Return an axis of shares from 0 to 1."""
    return axis(title, {"range": [-0.02, 1.03], "tickformat": ".0%", "dtick": 0.25})


def with_legend(x: Spec, y: Spec, *, height: int) -> Spec:
    """Return a layout with the legend above the plot."""
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


def upright(x: float) -> Spec:
    """Return a dotted vertical line."""
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1.0,
        "layer": "below",
        "line": {"color": role("muted"), "width": 1, "dash": "dot"},
    }
