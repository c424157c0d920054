"""What `coverage-lab atlas show` prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coverage_lab.atlas.model import Atlas
from coverage_lab.schema import LEVELS


@dataclass(frozen=True)
class LevelSummary:
    """One level of an atlas.

    Attributes
    ----------
    level
        Name of the level.
    cells
        Number of cells.
    mass_quantiles
        Least, 25%, median, 75% and largest reference mass of a cell.
    effective_cells
        1 / Σp², the Hill number of order 2 of the reference mass: 1 to `cells`.
    top
        Cells with the most reference mass: cell, label, mass.
    """

    level: str
    cells: int
    mass_quantiles: tuple[float, ...]
    effective_cells: float
    top: tuple[tuple[int, str, float], ...]


def describe(atlas: Atlas, *, top: int = 5) -> tuple[LevelSummary, ...]:
    """Summarise each level of `atlas`, coarsest first, with its `top` heaviest cells."""
    return tuple(
        LevelSummary(
            level=level,
            cells=len(mass),
            mass_quantiles=tuple(np.quantile(mass, (0, 0.25, 0.5, 0.75, 1)).tolist()),
            effective_cells=float(1 / np.square(mass).sum()),
            top=tuple(
                (int(cell), labels[cell], float(mass[cell]))
                for cell in np.argsort(-mass, kind="stable")[:top]
            ),
        )
        for level, mass, labels in zip(LEVELS, atlas.masses, atlas.labels, strict=True)
    )
