"""The parts of a Plotly figure that all pages share: roles of colour, axes, layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]

#: Colours by role, with at least 4.5:1 (text) or 3:1 (marks) against the background. A page adds its own.
COLOURS: dict[str, dict[str, str]] = {
    "light": {
        "background": "#fbfaf8",
        "surface": "#ffffff",
        "ink": "#1b1f24",
        "muted": "#5a626d",
        "rule": "#dcd9d2",
        "grid": "#e9e6df",
        "accent": "#0a5c8f",
    },
    "dark": {
        "background": "#14171b",
        "surface": "#1c2026",
        "ink": "#e9ebee",
        "muted": "#a5adb8",
        "rule": "#363c45",
        "grid": "#2a2f37",
        "accent": "#7cc0ee",
    },
}


def palette(light: Mapping[str, str], dark: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Add a page's own roles to `COLOURS`, the same roles in both themes."""
    return {"light": {**COLOURS["light"], **light}, "dark": {**COLOURS["dark"], **dark}}


def role(name: str) -> str:
    """Stand-in for a colour of a page's palette, which the reader's theme resolves."""
    return f"var(--{name})"


def axis(title: str, more: Mapping[str, object] | None = None) -> Spec:
    """An axis in our style; `more` are keys of Plotly's own."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}},
        "gridcolor": role("grid"),
        "linecolor": role("rule"),
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
        "tickfont": {"size": 11},
        "tickangle": 0,
        **(more or {}),
    }


def layout(x: Spec, y: Spec, *, height: int, margin: Mapping[str, int]) -> Spec:
    """Lay out a plot of `height` pixels without a legend; `margin` has the keys l, r, t and b, in pixels."""
    return {
        "xaxis": x,
        "yaxis": y,
        "height": height,
        "margin": dict(margin),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": role("muted"), "family": "system-ui, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"},
        "hoverlabel": {
            "bgcolor": role("surface"),
            "bordercolor": role("rule"),
            "font": {"color": role("ink"), "size": 12},
            "align": "left",
            "namelength": -1,
        },
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
    }
