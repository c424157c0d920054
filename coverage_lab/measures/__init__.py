"""Pure functions from counts, traces and vectors to numbers with a stated range and direction.

Arrays in, arrays out, many accounts at once: rows of account a lie at ``offsets[a]:offsets[a + 1]``.
The README beside this file lists every measure.
"""

from __future__ import annotations

from coverage_lab.measures.collisions import collisions
from coverage_lab.measures.counts import cell_counts, count_frequencies
from coverage_lab.measures.growth import curve_grid, curve_grids, growth_curve
from coverage_lab.measures.level import GrowthCurves, growth_curves, level_measures
from coverage_lab.measures.novelty import novelty, novelty_summary
from coverage_lab.measures.nulls import Band, rarefaction, reference_growth, uniform_growth
from coverage_lab.measures.order import order_z
from coverage_lab.measures.sample_coverage import good_coverage, new_slope, sample_coverage

__all__ = [
    "Band",
    "GrowthCurves",
    "cell_counts",
    "collisions",
    "count_frequencies",
    "curve_grid",
    "curve_grids",
    "good_coverage",
    "growth_curve",
    "growth_curves",
    "level_measures",
    "new_slope",
    "novelty",
    "novelty_summary",
    "order_z",
    "rarefaction",
    "reference_growth",
    "sample_coverage",
    "uniform_growth",
]
