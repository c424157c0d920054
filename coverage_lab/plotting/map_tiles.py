"""The map of an atlas as plain data: tiles, ordinary traffic and names, for pages and pictures alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coverage_lab.errors import CoverageLabError
from coverage_lab.untrusted.text import visible

#: Ordinary traffic, little to much.
GREY = {"light": ("#f3f2ee", "#aeb4bc"), "dark": ("#22272e", "#596270")}
#: When a tile was reached, first prompt to last: matplotlib's "plasma" from 2% to 92% of its way, whose
#: lightness rises throughout.
SCALE = (
    "#1b068d",
    "#43039e",
    "#6400a7",
    "#8305a7",
    "#a01a9c",
    "#b83289",
    "#cd4a76",
    "#df6263",
    "#ee7b51",
    "#f9973f",
    "#fdb52e",
    "#fbd724",
)


class MapOf(Protocol):
    """What is drawn of an atlas (`coverage_lab.Atlas`)."""

    @property
    def id(self) -> str:
        """Hash of its contents."""

    @property
    def parents(self) -> NDArray[np.int32]:
        """Cell of each fine cell at each level, ``(3, K)``."""

    @property
    def masses(self) -> tuple[NDArray[np.float64], ...]:
        """Per level, share of ordinary traffic in each cell."""

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """Per level, a name for each cell."""

    @property
    def layout(self) -> NDArray[np.int16] | None:
        """Tile of each fine cell, ``(K, 2)``: row and column."""


def map_data(atlas: MapOf) -> dict[str, object]:
    """What a page needs to draw the map of an atlas itself: plain data, every text made visible.

    Whole numbers keep the page small: ``usual`` is in percent, ``mass`` in millionths of ordinary traffic.

    Raises
    ------
    CoverageLabError
        The atlas has no layout.
    """
    tiles = tiles_of(atlas)
    return {
        "rows": tiles[:, 0].tolist(),
        "columns": tiles[:, 1].tolist(),
        "usual": np.rint(100 * usual(atlas)).astype(int).tolist(),
        "mass": np.rint(1e6 * atlas.masses[-1]).astype(int).tolist(),
        "regions": [[visible(name), row, column] for name, row, column in regions(atlas, tiles)],
        "greys": GREY,
        "scale": SCALE,
    }


def parted_names(names: Sequence[str]) -> dict[str, object]:
    """Split names into starts, which many have, and rests, so that a page holds each start once.

    Returns
    -------
    dict
        ``starts``, each once; ``start``, the place there of each name's; ``rests``, what follows it.
    """
    parts = [name.rpartition(" · ") for name in names]
    starts = sorted({broad + between for broad, between, _ in parts})
    return {
        "starts": starts,
        "start": [starts.index(broad + between) for broad, between, _ in parts],
        "rests": [rest for _, _, rest in parts],
    }


def regions(atlas: MapOf, tiles: NDArray[np.int64]) -> list[tuple[str, float, float]]:
    """Short name of each coarse cell, and the row and column in its middle."""
    found = []
    tiles_each = np.bincount(atlas.parents[0])
    for cell in np.argsort(-tiles_each, kind="stable").tolist():
        name = atlas.names[0][cell]
        mine = tiles[atlas.parents[0] == cell]
        row, column = np.median(mine, axis=0)
        # Keywords, where an atlas has no names, are four: two are enough here.
        found.append((", ".join(name.split(", ")[:2]), float(row), float(column)))
    return found


def usual(atlas: MapOf) -> NDArray[np.float64]:
    """How much of ordinary traffic each fine cell has, 0 to 1 by rank, since a few cells have most of it."""
    mass = atlas.masses[-1]
    rank = np.argsort(np.argsort(mass, kind="stable"), kind="stable")
    scaled: NDArray[np.float64] = (rank / max(len(mass) - 1, 1)) ** 2
    return scaled


def tiles_of(atlas: MapOf) -> NDArray[np.int64]:
    """Row and column of each fine cell, ``(K, 2)``."""
    if atlas.layout is None:
        raise CoverageLabError(
            f"atlas {atlas.id[:12]}: expected one with a layout, got one without; "
            "coverage-lab atlas lay-out adds it"
        )
    return atlas.layout.astype(np.int64)
