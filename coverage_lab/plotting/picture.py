"""What all pictures share: a figure with words for those who can't see it, colours, two themes."""

from __future__ import annotations

import base64
import io
import textwrap
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias

from coverage_lab.errors import CoverageLabError, MissingExtraError
from coverage_lab.plotting.figure import COLOURS
from coverage_lab.untrusted.text import shortened, visible

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as missing:
    raise MissingExtraError("matplotlib", "plots", "a picture") from missing

Theme: TypeAlias = Literal["light", "dark"]

#: Okabe and Ito's colours, which people who are colour-blind tell apart; on dark the blue is their sky blue.
_OKABE_ITO = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}


@dataclass(frozen=True)
class Style:
    """Colours of one theme, by what they stand for.

    Attributes
    ----------
    surface, ink, muted, grid : str
        Background, text, quiet text and marks, lines of the grid.
    account, own, reference, uniform : str
        An account, its own prompts in random order, ordinary traffic, a uniform sweep.
    review, watch, inconclusive, clear : str
        The verdicts.
    several : tuple of str
        Accounts that are drawn together.
    """

    surface: str
    ink: str
    muted: str
    grid: str
    account: str
    own: str
    reference: str
    uniform: str
    review: str
    watch: str
    inconclusive: str
    clear: str
    several: tuple[str, ...]


def style_of(theme: Theme) -> Style:
    """Colours of a theme.

    Raises
    ------
    CoverageLabError
        There is no such theme.
    """
    if theme not in COLOURS:
        raise CoverageLabError(f"theme: expected 'light' or 'dark', got {visible(str(theme))[:40]!r}")
    base, tone, dark = COLOURS[theme], _OKABE_ITO, theme == "dark"
    strong = tone["sky"] if dark else tone["blue"]
    return Style(
        surface=base["surface"],
        ink=base["ink"],
        muted=base["muted"],
        grid=base["grid"],
        account=tone["vermilion"] if not dark else "#FF8C5F",
        own=base["ink"],
        reference=tone["green"] if not dark else "#3FC796",
        uniform=strong,
        review=tone["vermilion"] if not dark else "#FF8C5F",
        watch=tone["orange"],
        inconclusive=base["muted"],
        clear=strong,
        several=(
            tone["vermilion"] if not dark else "#FF8C5F",
            strong,
            tone["green"] if not dark else "#3FC796",
            tone["purple"],
            tone["orange"],
            base["ink"],
        ),
    )


class Picture(Figure):
    """A matplotlib figure that says in words what it shows, and shows itself in a notebook.

    Parameters
    ----------
    style : Style
    width, height : float
        Inches; 100 pixels each on a screen.

    Attributes
    ----------
    alt : str
        What the picture shows, for those who can't see it.
    """

    def __init__(self, style: Style, *, width: float = 7.2, height: float = 4.2) -> None:
        super().__init__(figsize=(width, height), dpi=100, layout="constrained", facecolor=style.surface)
        self.alt = ""

    def png(self) -> bytes:
        """Bytes of a PNG file, 2 pixels a point for sharp screens."""
        return self._written("png", dpi=200)

    def svg(self) -> bytes:
        """Bytes of an SVG file, the same for the same picture."""
        with rc_context({"svg.hashsalt": "coverage_lab", "svg.fonttype": "none"}):
            return self._written("svg", metadata={"Date": None, "Description": self.alt})

    def _written(self, kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format=kind, facecolor=self.get_facecolor(), **options)
        return file.getvalue()

    def _repr_html_(self) -> str:
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        data = base64.b64encode(self.png()).decode()
        return (
            f'<img src="data:image/png;base64,{data}" alt="{escape(self.alt)}" '
            f'width="{width}" height="{height}" style="max-width:100%;height:auto">'
        )


def panel(
    figure: Picture,
    style: Style,
    place: tuple[int, int, int] = (1, 1, 1),
    *,
    grid: Literal["both", "x"] = "both",
) -> Axes:
    """Add axes in our style."""
    axes: Axes = figure.add_subplot(*place)
    axes.set_facecolor(style.surface)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(style.muted)
    axes.tick_params(colors=style.muted, labelsize=9)
    axes.grid(True, axis=grid, color=style.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def named(axes: Axes, style: Style, *, x: str, y: str, title: str = "") -> None:
    """Write what the axes are, with their units, and what is seen, in as many lines as it needs."""
    axes.set_xlabel(x, color=style.ink, fontsize=10)
    axes.set_ylabel(y, color=style.ink, fontsize=10)
    if title:
        figure = axes.get_figure(root=True)
        assert figure is not None
        inches = figure.get_figwidth() * axes.get_position().width + 0.6
        axes.set_title(
            textwrap.fill(title, int(10.5 * inches)),
            color=style.ink,
            fontsize=11,
            loc="left",
            fontweight="bold",
        )


def legend(figure: Picture | Axes, style: Style, **options: Any) -> None:
    """Write the legend in our style."""
    figure.legend(frameon=False, labelcolor=style.ink, fontsize=9, **options)


def safe(text: str, limit: int = 40) -> str:
    """Untrusted text that matplotlib takes as it is: no formula, never left out of a legend."""
    plain = shortened(visible(text), limit).replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain
