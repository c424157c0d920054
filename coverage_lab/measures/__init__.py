"""Pure functions from counts, traces and vectors to numbers with a stated range and direction.

Arrays in, arrays out, many accounts at once: rows of account a lie at ``offsets[a]:offsets[a + 1]``.
The README beside this file lists every measure.
"""

from __future__ import annotations

from coverage_lab.measures.collisions import collisions
from coverage_lab.measures.counts import cell_counts, count_frequencies
from coverage_lab.measures.covering import cover_growth, lower_tail, separated_growth
from coverage_lab.measures.distance import (
    feature_sums,
    fourier_frequencies,
    fourier_mmd,
    mahalanobis,
    mmd,
    shrunk_covariance,
    whitened_sums,
)
from coverage_lab.measures.extrapolation import coverage_curve, extrapolation, growth_at_coverage
from coverage_lab.measures.growth import curve_grid, curve_grids, growth_curve
from coverage_lab.measures.hill import evenness, hill_estimate, hill_number, hill_ratio
from coverage_lab.measures.level import GrowthCurves, growth_curves, level_measures
from coverage_lab.measures.novelty import novelty, novelty_summary
from coverage_lab.measures.nulls import Band, rarefaction, reference_growth, uniform_growth
from coverage_lab.measures.order import order_z
from coverage_lab.measures.pitman_yor import PitmanYor, pitman_yor
from coverage_lab.measures.richness import ace, chao1, good_toulmin
from coverage_lab.measures.runs import Runs, runs
from coverage_lab.measures.sample_coverage import good_coverage, new_slope, sample_coverage
from coverage_lab.measures.spectrum import gram, gram_vendi, random_projection, rke, vendi
from coverage_lab.measures.timing import burstiness, hours_used
from coverage_lab.measures.uniformity import collision_tails, dispersion

__all__ = [
    "Band",
    "GrowthCurves",
    "PitmanYor",
    "Runs",
    "ace",
    "burstiness",
    "cell_counts",
    "chao1",
    "collision_tails",
    "collisions",
    "count_frequencies",
    "cover_growth",
    "coverage_curve",
    "curve_grid",
    "curve_grids",
    "dispersion",
    "evenness",
    "extrapolation",
    "feature_sums",
    "fourier_frequencies",
    "fourier_mmd",
    "good_coverage",
    "good_toulmin",
    "gram",
    "gram_vendi",
    "growth_at_coverage",
    "growth_curve",
    "growth_curves",
    "hill_estimate",
    "hill_number",
    "hill_ratio",
    "hours_used",
    "level_measures",
    "lower_tail",
    "mahalanobis",
    "mmd",
    "new_slope",
    "novelty",
    "novelty_summary",
    "order_z",
    "pitman_yor",
    "random_projection",
    "rarefaction",
    "reference_growth",
    "rke",
    "runs",
    "sample_coverage",
    "separated_growth",
    "shrunk_covariance",
    "uniform_growth",
    "vendi",
    "whitened_sums",
]
