"""The first score: a logistic scorecard over the measures and the mean prompt vector, shipped as data.

score = 1 / (1 + exp(−(b + Σ w_j z_j))),  z_j = clip((x_j − mean_j) / sd_j, −3, 3),
over the measures' features and the d coordinates of the account's mean prompt vector. Each w_j z_j is
that feature's points; those of the d coordinates are added up as one feature, *style*: how much the
account's prompts read like the instruction banks that harvests send. The reasons are the largest points.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from coverage_lab.detect.conformal import conformal_p
from coverage_lab.detect.features import FEATURES
from coverage_lab.errors import ConfigError

#: Name of the points that the mean prompt vector adds.
STYLE = "style"

#: How far a feature can pull: beyond this many benign standard deviations it adds no more points.
CLIP = 3.0


class Feature(BaseModel):
    """One feature's place in the score, and what it is among benign accounts (for the reasons)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mean: float
    sd: float
    weight: float
    benign_p05: float
    benign_median: float
    benign_p95: float


class Style(BaseModel):
    """The linear probe on the mean prompt vector, d coordinates each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    weight: tuple[float, ...]
    benign_p05: float
    benign_median: float
    benign_p95: float

    @model_validator(mode="after")
    def _one_length(self) -> Style:
        if not len(self.mean) == len(self.sd) == len(self.weight):
            raise ValueError("mean, sd and weight of the style probe must be equally long")
        return self


class Calibration(BaseModel):
    """Scores of benign accounts, sorted by prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    neighbours: int
    prompts: tuple[int, ...]
    score: tuple[float, ...]

    @model_validator(mode="after")
    def _sound(self) -> Calibration:
        if len(self.prompts) != len(self.score) or not 1 <= self.neighbours <= len(self.score):
            raise ValueError("prompts and score must be equally long, and at least `neighbours` long")
        if list(self.prompts) != sorted(self.prompts):
            raise ValueError("prompts must be sorted")
        return self


class Scorecard(BaseModel):
    """Weights, benign calibration and the card that says what they were made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    atlas_id: str
    encoder_id: str
    intercept: float
    features: tuple[Feature, ...]
    style: Style
    calibration: Calibration
    card: dict[str, str | float | int]

    @model_validator(mode="after")
    def _known_features(self) -> Scorecard:
        names = tuple(feature.name for feature in self.features)
        if names != FEATURES:
            raise ValueError("the features are not those of this version's coverage_lab.detect.features")
        return self

    @property
    def id(self) -> str:
        """Hex SHA-256 of the scorecard."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def calibrated_prompts(self) -> tuple[int, int]:
        """Prompts of the smallest and the largest calibration account."""
        return self.calibration.prompts[0], self.calibration.prompts[-1]

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that the calibration set allows."""
        return 1 / (self.calibration.neighbours + 1)

    def points(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature adds to the log-odds; an undefined feature adds 0.

        Parameters
        ----------
        features : float64 (A, F + d)
            From `coverage_lab.detect.features.feature_matrix`.

        Returns
        -------
        float64 (A, F + 1)
            One column a feature, `STYLE` last; positive = towards harvesting.
        """
        mean = np.array([*(feature.mean for feature in self.features), *self.style.mean])
        sd = np.array([*(feature.sd for feature in self.features), *self.style.sd])
        weight = np.array([*(feature.weight for feature in self.features), *self.style.weight])
        z = np.clip((features - mean) / sd, -CLIP, CLIP)
        each = np.where(np.isnan(z), 0.0, z) * weight
        count = len(self.features)
        return np.column_stack([each[:, :count], each[:, count:].sum(axis=1)])

    def score(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score accounts from their points: 0..1, higher = more like harvesting, shape ``(A,)``."""
        odds: NDArray[np.float64] = 1 / (1 + np.exp(-(self.intercept + points.sum(axis=1))))
        return odds

    def p_value(self, score: NDArray[np.float64], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Conformal p-value against benign accounts of similar size, shape ``(A,)``."""
        return conformal_p(
            score,
            prompts,
            calibration_score=np.array(self.calibration.score),
            calibration_prompts=np.array(self.calibration.prompts, dtype=np.int64),
            neighbours=self.calibration.neighbours,
        )


def load_scorecard(path: Path) -> Scorecard:
    """Read a scorecard from its JSON file.

    Raises
    ------
    ConfigError
        The file can't be read or is not a sound scorecard of this version.
    """
    try:
        return Scorecard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"scorecard {path}: can't be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ConfigError(f"scorecard {path}: {first['loc']}: {first['msg']}") from error


def default_scorecard(encoder_name: str) -> Scorecard:
    """Load the scorecard that ships for a built-in encoder's frozen atlas."""
    resource = importlib.resources.files("coverage_lab.detect") / "data" / f"{encoder_name}.json"
    with importlib.resources.as_file(resource) as path:
        return load_scorecard(path)
