"""The score: an additive scorecard over four kinds of evidence, shipped as data.

score = 1 / (1 + exp(−(b + Σ_j g_j(z_j) + style + wording + template)))

- *shape*: how the account covers ground (the measures);
- *build*: how its prompts are built (length, questions, lists, first person, ...);
- *style*: a linear function of the direction of its mean prompt vector;
- *wording*: a linear function of the direction of its prompts' mean opening words, hashed;
- *template*: a relief for accounts whose prompts all open alike, as a product's fixed instruction makes them:
  ``−relief · max(0, r − 0.3)`` with r the mean product of two openings. What one instruction says is one
  piece of evidence, however often it is sent.

Each named feature is first compared with benign accounts of its size, ``z = (x − m(ln n))/sd`` with m a
parabola; g is a step function of z, so an outlier can add no more than the outermost step. What each term
adds is its *points* (log-odds), and the reasons are the largest points.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import expit

from coverage_lab.accounts.prompt_features import OPENINGS
from coverage_lab.detect.archetype import ArchetypeModel
from coverage_lab.detect.conformal import conformal_p
from coverage_lab.detect.features import FEATURES, Features
from coverage_lab.detect.trajectory import Trajectories
from coverage_lab.errors import ConfigError

#: Openings that are no more alike than this earn no relief.
VARIED = 0.3
#: Norm below which a mean is no direction.
LEAST_NORM = 0.02


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(_Frozen):
    """One named feature's place in the score, and what it is among benign accounts (for the reasons)."""

    name: str
    by_size: tuple[float, float, float]  # m(ln n) = a + b·ln n + c·(ln n)²
    sd: float
    edges: tuple[float, ...]  # of z, rising
    points: tuple[float, ...]  # one more than edges
    benign_p05: float
    benign_median: float
    benign_p95: float

    @model_validator(mode="after")
    def _sound(self) -> Feature:
        if len(self.points) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("edges must rise, and there must be one more points than edges")
        return self

    def standardised(self, values: NDArray[np.float64], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compare values with benign accounts of the same size: z, shape ``(A,)``."""
        size = np.log(np.maximum(prompts, 1))
        a, b, c = self.by_size
        z: NDArray[np.float64] = (values - (a + b * size + c * size**2)) / self.sd
        return z


class Linear(_Frozen):
    """A linear term: points = weight · x/|x| + offset."""

    weight: tuple[float, ...]
    offset: float
    benign_p05: float
    benign_median: float
    benign_p95: float


class Calibration(_Frozen):
    """Scores of benign accounts, sorted by prompts."""

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


class GrowthCalibration(_Frozen):
    """Scores of ordinary accounts as they grew, for looks at one account again and again.

    A row of `score` ends where its account does: as many scores as `sizes` that it reached.
    """

    sizes: tuple[int, ...]
    score: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _sound(self) -> GrowthCalibration:
        if any(not 0 < len(row) <= len(self.sizes) for row in self.score):
            raise ValueError("a row must have one to as many scores as there are sizes")
        self.trajectories()
        return self

    def trajectories(self) -> Trajectories:
        """The same as arrays that looks are compared with."""
        table = np.full((len(self.score), len(self.sizes)), np.nan)
        for row, scores in enumerate(self.score):
            table[row, : len(scores)] = scores
        return Trajectories(np.array(self.sizes, dtype=np.int64), table)


class Mixture(_Frozen):
    """`Scorecard.linear` of whole accounts, from which shares of a mixture are told.

    `prompt_sd` is the standard deviation of one prompt's linear value within an account. 0 = not known:
    the luck of few prompts is not counted then, and intervals of small accounts come out too narrow.
    """

    benign: tuple[float, ...]
    harvest: tuple[float, ...]
    prompt_sd: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @property
    def tells(self) -> bool:
        """Whether there is anything to tell shares by: a median harvest above the median benign account."""
        both = bool(self.benign) and bool(self.harvest)
        return both and float(np.median(self.harvest)) > float(np.median(self.benign))


class Scorecard(_Frozen):
    """Weights, benign calibration and the card that says what they were made from."""

    atlas_id: str
    encoder_id: str
    intercept: float
    features: tuple[Feature, ...]
    style: Linear
    wording: Linear
    template_relief: float
    archetypes: ArchetypeModel
    mixture: Mixture
    calibration: Calibration
    growth: GrowthCalibration | None = None
    card: dict[str, str | float | int]

    @model_validator(mode="after")
    def _known_features(self) -> Scorecard:
        if tuple(feature.name for feature in self.features) != FEATURES:
            raise ValueError("the features are not those of this version's coverage_lab.detect.features")
        if len(self.wording.weight) != OPENINGS:
            raise ValueError(f"wording: expected {OPENINGS} weights, got {len(self.wording.weight)}")
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

    def standardised(self, features: Features) -> NDArray[np.float64]:
        """Compare the named features with benign accounts of the same size: z, shape ``(A, F)``."""
        columns = [
            feature.standardised(features.named[:, j], features.prompts)
            for j, feature in enumerate(self.features)
        ]
        return np.column_stack(columns)

    def points(self, features: Features) -> NDArray[np.float64]:
        """What each term adds to the log-odds; an undefined feature adds 0.

        Parameters
        ----------
        features : Features

        Returns
        -------
        float64 (A, F + 3)
            One column a feature, then style, wording and template; positive = towards harvesting.
        """
        z = self.standardised(features)
        columns = []
        for j, feature in enumerate(self.features):
            steps = np.array(feature.points)[np.searchsorted(feature.edges, z[:, j], side="right")]
            columns.append(np.where(np.isnan(z[:, j]), 0.0, steps))
        for term, x in ((self.style, features.style), (self.wording, features.wording)):
            columns.append(_weighed(direction(x), term) + term.offset)
        columns.append(-self.template_relief * sameness(features))
        return np.column_stack(columns)

    def linear(self, features: Features) -> NDArray[np.float64]:
        """Weigh mean vector and mean openings as they are, (A,).

        Not scaled to a direction, so that a mixture's value is the mixture of its parts' values
        (`coverage_lab.detect.mixture`).
        """
        return _weighed(features.style, self.style) + _weighed(features.wording, self.wording)

    def score(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score accounts from their points: 0..1, higher = more like harvesting, shape ``(A,)``."""
        score: NDArray[np.float64] = expit(self.intercept + points.sum(axis=1))
        return score

    def likeliest(self, features: Features) -> list[tuple[str, float]]:
        """Name the likeliest archetype of each account, with its probability."""
        z = self.standardised(features)
        chances = self.archetypes.probabilities(z, direction(features.style), direction(features.wording))
        best = np.argmax(chances, axis=1)
        return [(self.archetypes.names[k], float(chances[i, k])) for i, k in enumerate(best)]

    def p_value(self, score: NDArray[np.float64], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Conformal p-value against benign accounts of similar size, shape ``(A,)``."""
        return conformal_p(
            score,
            prompts,
            calibration_score=np.array(self.calibration.score),
            calibration_prompts=np.array(self.calibration.prompts, dtype=np.int64),
            neighbours=self.calibration.neighbours,
        )


def _weighed(x: NDArray[np.floating], term: Linear) -> NDArray[np.float64]:
    # Not `@`: BLAS rounds a row otherwise among many than alone, and each account is judged alone.
    value: NDArray[np.float64] = np.einsum("ad,d->a", x.astype(np.float64), np.array(term.weight))
    return value


def direction(mean: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scale means of unit vectors to length 1; a mean of nearly nothing stays short."""
    x = mean.astype(np.float64)
    unit: NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), LEAST_NORM)
    return unit


def sameness(features: Features) -> NDArray[np.float64]:
    """By how much the openings are more alike than `VARIED`, (A,), 0 to 0.7."""
    alike: NDArray[np.float64] = np.maximum(np.nan_to_num(features.opening_repeat) - VARIED, 0)
    return alike


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
