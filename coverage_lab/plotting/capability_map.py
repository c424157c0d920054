"""The capability map: all fine cells of an atlas as tiles, and where accounts went on it, through time.

Every cell is one tile, and tiles that lie together hold prompts that are alike. Grey is ordinary traffic: the
stronger, the more of it. Coloured tiles are what the account reached; their colour says when. A customer
fills a few patches, a reseller what ordinary traffic fills, a sweep the whole map.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from textwrap import wrap

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike, NDArray

from coverage_lab.errors import CoverageLabError
from coverage_lab.plotting.figure import COLOURS
from coverage_lab.plotting.html_file import asset, environment, plotly_js, policy
from coverage_lab.plotting.map_tiles import GREY, MapOf, map_data, parted_names, regions, tiles_of, usual
from coverage_lab.plotting.picture import Picture, Style, Theme, panel, safe, style_of
from coverage_lab.untrusted.text import json_for_script, plotly_text, shortened, visible

__all__ = ["MapOf", "capability_map", "map_page"]

#: From early to late; its lightness rises all the way, so that grey prints and the colour-blind see it too.
_COLOURS = "plasma"
#: Rows, columns and inches of a panel's side by how many accounts are drawn.
_SHAPES = {1: (1, 1, 7.4), 2: (1, 2, 5.6), 3: (1, 3, 4.6), 4: (2, 2, 5.6)}


def capability_map(atlas: MapOf, accounts: Mapping[str, ArrayLike], *, theme: Theme = "light") -> Picture:
    """Draw where up to four accounts went on the map of an atlas.

    Parameters
    ----------
    atlas : Atlas
        With a layout, as the atlases that ship have.
    accounts : mapping of name → int (n,)
        Fine cell of each prompt of an account, in time order; `coverage_lab.trace` gives them.
    theme : str
        "light" or "dark".

    Raises
    ------
    CoverageLabError
        The atlas has no layout, there are no accounts or more than four, an account has no prompt or a cell
        that is not on the map, or there is no such theme.
    """
    style, tiles = style_of(theme), tiles_of(atlas)
    if len(accounts) not in _SHAPES:
        raise CoverageLabError(f"accounts: expected 1 to {max(_SHAPES)}, got {len(accounts)}")
    visits = {name: _visits(name, cells, len(tiles)) for name, cells in accounts.items()}
    rows, columns, side = _SHAPES[len(visits)]
    figure = Picture(style, width=side * columns + 0.9, height=(side + 0.3) * rows + 0.5)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(h_pad=0.1)  # type: ignore[call-arg]  # the constrained layout, which has it
    said = []
    panels = []
    for place, (name, (cells, first, _)) in enumerate(visits.items(), start=1):
        axes = panel(figure, style, (rows, columns, place))
        panels.append(axes)
        n = len(np.asarray(accounts[name]))
        _paint(axes, style, theme, atlas, tiles, cells, first / n)
        if side > 5:  # names on smaller panels would hide the tiles
            _name(axes, style, atlas, tiles)
        share = float(atlas.masses[-1][cells].sum())
        words = f"{len(cells):,} of {len(tiles):,} tiles in {n:,} prompts"
        axes.set_title(
            f"{safe(name, 48)}\n{words}", color=style.ink, fontsize=11, loc="left", fontweight="bold"
        )
        said.append(f"{visible(name)}: {words}, where {share:.0%} of ordinary traffic goes")
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), colormaps[_COLOURS]),
        ax=panels,
        location="bottom",
        shrink=0.4,
        aspect=40,
        ticks=[0, 1],
        format=FuncFormatter(lambda at, _: "first prompt" if at < 0.5 else "last prompt"),
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=style.muted, labelsize=9, length=0)
    bar.ax.set_title(
        "Coloured: when the account reached it. Grey: ordinary traffic, the stronger the more.",
        fontsize=9,
        color=style.ink,
    )
    figure.alt = (
        f"Map of {len(tiles):,} topics as tiles, those that accounts reached coloured. {'; '.join(said)}."
    )
    return figure


def _paint(
    axes: Axes,
    style: Style,
    theme: Theme,
    atlas: MapOf,
    tiles: NDArray[np.int64],
    cells: NDArray[np.int64],
    when: NDArray[np.float64],
) -> None:
    height, width = tiles.max(axis=0) + 1
    image = np.full((height, width, 3), to_rgb(style.surface))
    low, high = (np.array(to_rgb(colour)) for colour in GREY[theme])
    image[tiles[:, 0], tiles[:, 1]] = low + (high - low) * usual(atlas)[:, None]
    image[tiles[cells, 0], tiles[cells, 1]] = colormaps[_COLOURS](0.02 + 0.9 * when)[:, :3]
    axes.imshow(image, interpolation="nearest")
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _name(axes: Axes, style: Style, atlas: MapOf, tiles: NDArray[np.int64]) -> None:
    """Write the name of each broad topic in its middle."""
    for name, row, column in regions(atlas, tiles):
        axes.text(
            column,
            row,
            "\n".join(safe(line, 20) for line in wrap(name, 16) if _written(line)),
            ha="center",
            va="center",
            fontsize=6.5,
            color=style.ink,
            linespacing=0.95,
            path_effects=[withStroke(linewidth=1.8, foreground=style.surface)],
        )


@cache
def _signs() -> frozenset[int]:
    """Code points that matplotlib's font has."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def _written(text: str) -> bool:
    """Whether a picture can show a text; a page, whose fonts are the reader's, shows all."""
    return all(ord(sign) in _signs() for sign in text)


def _visits(
    name: str, cells: ArrayLike, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cells that an account reached, in that order, the prompt of each first visit (from 1), and visits."""
    trace = np.asarray(cells)
    owner = shortened(visible(name), 60)
    if trace.ndim != 1 or not len(trace) or not np.issubdtype(trace.dtype, np.integer):
        raise CoverageLabError(
            f"accounts[{owner!r}]: expected a fine cell a prompt, whole numbers of shape (n,), got "
            f"{trace.dtype} of shape {trace.shape}"
        )
    if trace.min() < 0 or trace.max() >= size:
        raise CoverageLabError(
            f"accounts[{owner!r}]: expected cells 0 to {size - 1}, got {trace.min()} to {trace.max()}; "
            "was it traced on another atlas?"
        )
    reached, first, counts = np.unique(trace, return_index=True, return_counts=True)
    order = np.argsort(first, kind="stable")
    return reached[order].astype(np.int64), first[order] + 1, counts[order]


def map_page(atlas: MapOf, accounts: Mapping[str, ArrayLike]) -> str:
    """Make one HTML page of the map, with a slider through time; it needs no network.

    Parameters
    ----------
    atlas : Atlas
        With a layout.
    accounts : mapping of name → int (n,)
        As for `capability_map`, any number of them; the page shows one at a time.

    Returns
    -------
    str
        The same for the same input. About 1.4 MB for 4,096 cells.

    Raises
    ------
    CoverageLabError
        As `capability_map`.
    """
    tiles = tiles_of(atlas)
    if not accounts:
        raise CoverageLabError("accounts: expected one or more, got none")
    told = []
    for name, cells in accounts.items():
        reached, first, counts = _visits(name, cells, len(tiles))
        told.append(
            {
                "name": shortened(visible(name), 80),
                "prompts": len(np.asarray(cells)),
                "cells": reached.tolist(),
                "first": first.tolist(),
                "visits": counts.tolist(),
            }
        )
    script, plotly = asset("coverage_lab.plotting", "map.js"), plotly_js()
    names = parted_names([plotly_text(visible(name)) for name in atlas.names[-1]])
    data = (map_data(atlas) | names) | {
        "regions": [
            [plotly_text(visible(label)), row, column] for label, row, column in regions(atlas, tiles)
        ],
        "accounts": told,
        "colours": COLOURS,
    }
    return (
        environment("coverage_lab.plotting")
        .get_template("map.html.j2")
        .render(
            accounts=told,
            cells=len(tiles),
            atlas=visible(atlas.id[:12]),
            colours=COLOURS,
            page_data=Markup(json_for_script(data)),
            plotly=Markup(plotly),
            script=Markup(script),
            policy=policy(plotly, script),
        )
    )
