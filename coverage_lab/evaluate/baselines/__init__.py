"""Every published method that runs on prompt vectors of accounts, under one contract.

The README beside this file lists paper, formula, differences and check of each.
"""

from __future__ import annotations

from coverage_lab.evaluate.baselines.b4b import B4b
from coverage_lab.evaluate.baselines.baseline import Baseline, Sample, Score
from coverage_lab.evaluate.baselines.cap import Cap
from coverage_lab.evaluate.baselines.mahalanobis import Mahalanobis
from coverage_lab.evaluate.baselines.mean_embedding import MeanEmbedding
from coverage_lab.evaluate.baselines.mmd import Mmd
from coverage_lab.evaluate.baselines.mmd_nearest import MmdNearest
from coverage_lab.evaluate.baselines.prada import Prada
from coverage_lab.evaluate.baselines.seat import Seat
from coverage_lab.evaluate.baselines.vendi import Vendi
from coverage_lab.evaluate.baselines.volume import Volume

#: All of them at their published settings, in the order of tables.
BASELINES: tuple[Baseline, ...] = (
    Volume(),
    Vendi(order=1),
    Vendi(order=2),
    Prada(),
    Seat(),
    B4b(),
    Cap(),
    Mahalanobis(),
    Mmd(),
    MmdNearest(),
    MeanEmbedding(),
)

__all__ = [
    "BASELINES",
    "B4b",
    "Baseline",
    "Cap",
    "Mahalanobis",
    "MeanEmbedding",
    "Mmd",
    "MmdNearest",
    "Prada",
    "Sample",
    "Score",
    "Seat",
    "Vendi",
    "Volume",
]
