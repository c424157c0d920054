"""What ordinary accounts are like: features by size, steps, and the scale of each vector."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.features import VECTORS, Features
from coverage_lab.detect.fitting.accounts import TrainingAccounts, even_weights
from coverage_lab.detect.scorecard import NAMED_PARTS, Scorecard, evidence_of

#: Steps of a named feature.
STEPS = 6

Row = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """Scales that every fit of a scorecard shares.

    Attributes
    ----------
    by_size : float64 (F, 3)
        Parabola in ln n of each named feature among ordinary accounts.
    sd : float64 (F,)
        Standard deviation about it.
    edges : list of float64
        Of each feature's steps, in standard deviations.
    centre : mapping of vector name → float64 (k,)
        Mean of ordinary accounts.
    scale : mapping of vector name → float
        One number for all columns: standardising each would count rounding as much as meaning.
    """

    by_size: Row
    sd: Row
    edges: list[Row]
    centre: dict[str, Row]
    scale: dict[str, float]

    def compared_as(self, card: Scorecard) -> Frame:
        """Take a scorecard's comparison of named features; the vectors' scales stay."""
        features = card.features
        return replace(
            self,
            by_size=np.array([feature.by_size for feature in features]),
            sd=np.array([feature.sd for feature in features]),
            edges=[np.array(feature.edges) for feature in features],
        )

    def z(self, features: Features) -> Row:
        """Named features compared with ordinary accounts of the same size, (A, F)."""
        size = np.log(np.maximum(features.prompts, 1))
        curve = np.vander(size, 3, increasing=True) @ self.by_size.T
        z: Row = (features.named - curve) / self.sd
        return z

    def steps(self, features: Features, part: str) -> Row:
        """One-hot steps of the part's features, (A, Σ steps); none where a feature is not defined."""
        z = self.z(features)
        columns = []
        for j in range(*NAMED_PARTS[part].indices(len(self.edges))):
            step = np.searchsorted(self.edges[j], z[:, j], side="right")
            hot = np.zeros((len(z), len(self.edges[j]) + 1))
            known = ~np.isnan(z[:, j])
            hot[np.flatnonzero(known), step[known]] = 1
            columns.append(hot)
        return np.concatenate(columns, axis=1)

    def scaled(self, features: Features, name: str) -> Row:
        """A vector on the scale that it is fitted on, (A, k)."""
        x: Row = (evidence_of(features, name) - self.centre[name]) * self.scale[name]
        return x


def frame_of(ordinary: TrainingAccounts) -> Frame:
    """Work out what ordinary accounts are like; every customer counts the same."""
    features = ordinary.features
    weight = even_weights(ordinary.customer) * len(features)
    size = np.vander(np.log(np.maximum(features.prompts, 1)), 3, increasing=True)
    by_size, sd, edges = [], [], []
    for column in features.named.T:
        known = ~np.isnan(column)
        root = np.sqrt(weight[known])
        # A ridge this small only matters where all accounts are of one size.
        a = np.vstack([size[known] * root[:, None], 1e-3 * np.eye(3)])
        curve = np.linalg.lstsq(a, np.append(column[known] * root, np.zeros(3)), rcond=None)[0]
        rest = column[known] - size[known] @ curve
        deviation = (
            max(float(np.sqrt(np.average(rest**2, weights=weight[known]))), 1e-6) if known.any() else 1.0
        )
        by_size.append(curve)
        sd.append(deviation)
        cuts = np.quantile(rest / deviation, np.arange(1, STEPS) / STEPS) if known.any() else np.empty(0)
        edges.append(np.unique(np.round(cuts, 4)))
    centre, scale = {}, {}
    for name in VECTORS:
        x = evidence_of(features, name)
        centre[name] = np.average(x, axis=0, weights=weight)
        length = float(np.sqrt(np.average(np.square(x - centre[name]).sum(axis=1), weights=weight)))
        # Vectors that don't differ (no account is wrapped, say) get no weight rather than a huge one.
        scale[name] = 22.0 / length if length > 1e-6 else 0.0
    return Frame(np.array(by_size), np.array(sd), edges, centre, scale)
