"""The score: kinds of evidence, each brought to one scale and added up; shipped as data.

score = 1 / (1 + exp(−(b + s · Σ_k w_k · z_k))), with z_k the *standing* of evidence k:
``clip((x_k − m_k) / r_k, ±2.5)``, where m_k and r_k are the median of ordinary accounts of n prompts and the
distance from there to their 95th percentile, by weights that did not see their corpora. Accounts that wrap
their prompts in an instruction spread wider than others, so m_k and r_k lie halfway between what they are
among all ordinary accounts and among those that are wrapped alike (`Features.wrapped`). The evidence:

- *shape*: how the account covers ground (the measures);
- *build*: how its prompts are built (length, questions, lists, first person, ...);
- *prompts*, *instruction*, *topics*, *spread*, *openings*, *content_openings*: a linear function each of one
  of `coverage_lab.detect.features.VECTORS`.

Shape and build are sums over named features. Each is first compared with benign accounts of its size,
``z = (x − m(ln n))/sd`` with m a parabola, then goes through a step function, so an outlier can add no more
than the outermost step. What each term adds to the log-odds is its *points*, and the reasons are the largest
points.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import expit

from coverage_lab.detect.archetype import ArchetypeModel
from coverage_lab.detect.conformal import conformal_p, customer_p
from coverage_lab.detect.features import FEATURES, SHAPE, VECTORS, Features
from coverage_lab.detect.trajectory import Trajectories
from coverage_lab.errors import ConfigError

#: Norm below which a mean is no direction.
LEAST_NORM = 0.02
#: No kind of evidence counts for more than so many times the distance of benign accounts' median and 95th
#: percentile, for or against.
MOST = 2.5
#: Kinds of evidence that are sums over named features, and which those are.
NAMED_PARTS = {"shape": slice(0, len(SHAPE)), "build": slice(len(SHAPE), len(FEATURES))}
#: All kinds of evidence.
PARTS = (*NAMED_PARTS, *VECTORS)
#: Evidence of which the root of what is above 0 is weighed, and evidence that is a mean over prompts as it
#: is.
ROOTED = ("openings", "content_openings")
ADDITIVE = ("prompts", "instruction")
#: Last column of `Scorecard.points`: what of shape and build no feature accounts for.
REST = len(FEATURES) + len(VECTORS)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(_Frozen):
    """One named feature's place in the score, and what it is among benign accounts (for the reasons)."""

    name: str
    by_size: tuple[float, float, float]  # m(ln n) = a + b·ln n + c·(ln n)²
    sd: float
    edges: tuple[float, ...]  # of z, rising
    points: tuple[float, ...]  # one more than edges, before the part is brought to scale
    benign_points: float  # their mean over benign accounts
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
    """A linear function of one of an account's vectors: value = weight · f(x) + offset (`evidence_of`)."""

    weight: tuple[float, ...]
    offset: float
    benign_p05: float
    benign_median: float
    benign_p95: float


class Part(_Frozen):
    """One kind of evidence's scale: what its values are among benign accounts of each size.

    `middle` and `spread` are those of accounts without instructions, the others of accounts whose prompts are
    all wrapped in one.
    """

    weight: float = Field(ge=0)  # 0: not used
    sizes: tuple[int, ...]
    middle: tuple[float, ...]
    spread: tuple[float, ...]
    wrapped_middle: tuple[float, ...]
    wrapped_spread: tuple[float, ...]

    @model_validator(mode="after")
    def _sound(self) -> Part:
        columns = (self.middle, self.spread, self.wrapped_middle, self.wrapped_spread)
        if not self.sizes or any(len(column) != len(self.sizes) for column in columns):
            raise ValueError("sizes, middles and spreads must be equally long, at least 1")
        if list(self.sizes) != sorted(set(self.sizes)) or min(*self.spread, *self.wrapped_spread) <= 0:
            raise ValueError("sizes must rise, and spreads must be above 0")
        return self

    def usual(self, features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Middle and spread for each account, (A,) each.

        Linear in ln n between the sizes. Between accounts without instructions and wrapped ones the middle is
        linear in `Features.wrapped`, and so is the logarithm of the spread.
        """
        wanted, logs = np.log(np.maximum(features.prompts, 1)), np.log(self.sizes)
        middle, spread, wrapped_middle, wrapped_spread = (
            np.interp(wanted, logs, column)
            for column in (self.middle, self.spread, self.wrapped_middle, self.wrapped_spread)
        )
        share = features.wrapped
        middle = (1 - share) * middle + share * wrapped_middle
        return middle, spread ** (1 - share) * wrapped_spread**share

    def standing(self, value: NDArray[np.float64], features: Features) -> NDArray[np.float64]:
        """Bring values to scale, (A,): 0 = benign median of such accounts, 1 = their 95th percentile."""
        middle, spread = self.usual(features)
        standing: NDArray[np.float64] = np.clip((value - middle) / spread, -MOST, MOST)
        return standing


class Calibration(_Frozen):
    """Scores of benign accounts that p-values compare with, sorted by customer, then by prompts.

    A customer is what counts once: of the shipped scorecard all accounts of a kind from one family of
    corpora, of a user's own calibration each account.
    """

    neighbours: int  # customers of similar size that an account is compared with
    prompts: tuple[int, ...]
    score: tuple[float, ...]
    customer: tuple[int, ...] = ()  # number of each account's; () = each account is one

    @model_validator(mode="after")
    def _sound(self) -> Calibration:
        if len(self.prompts) != len(self.score) or not 1 <= self.neighbours <= self.customers:
            raise ValueError("prompts and score must be equally long, and of at least `neighbours` customers")
        if self.customer and len(self.customer) != len(self.score):
            raise ValueError("customer must be as long as score, or empty")
        keys = list(zip(self.customer or (0,) * len(self.prompts), self.prompts, strict=True))
        if keys != sorted(keys):
            raise ValueError("accounts must be sorted by customer, then by prompts")
        return self

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return len(set(self.customer)) if self.customer else len(self.score)


class GrowthCalibration(_Frozen):
    """Scores of ordinary accounts as they grew, for looks at one account again and again.

    A row of `score` ends where its account does: as many scores as `sizes` that it reached.
    """

    sizes: tuple[int, ...]
    score: tuple[tuple[float, ...], ...]
    customer: tuple[int, ...] = ()  # number of each row's customer; () = each row is one

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
        customer = np.array(self.customer or range(len(self.score)), dtype=np.int64)
        return Trajectories(np.array(self.sizes, dtype=np.int64), table, customer)


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
    slope: float = Field(ge=0)
    features: tuple[Feature, ...]
    linear: dict[str, Linear]
    parts: dict[str, Part]
    archetypes: ArchetypeModel
    mixture: Mixture
    calibration: Calibration
    growth: GrowthCalibration | None = None
    card: dict[str, str | float | int]

    @model_validator(mode="after")
    def _known_features(self) -> Scorecard:
        if tuple(feature.name for feature in self.features) != FEATURES:
            raise ValueError("the features are not those of this version's coverage_lab.detect.features")
        if tuple(self.linear) != VECTORS or tuple(self.parts) != PARTS:
            raise ValueError(f"expected linear terms {VECTORS} and parts {PARTS}, in this order")
        if unknown := set(self.archetypes.vectors) - set(ARCHETYPE_VECTORS):
            raise ValueError(
                f"archetypes.vectors: expected some of {tuple(ARCHETYPE_VECTORS)}, got {unknown}"
            )
        return self

    @property
    def id(self) -> str:
        """Hex SHA-256 of the scorecard."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def calibrated_prompts(self) -> tuple[int, int]:
        """Prompts of the smallest and the largest calibration account."""
        return min(self.calibration.prompts), max(self.calibration.prompts)

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

    def values(self, features: Features) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Steps of each named feature, (A, F), and each kind of evidence before it is scaled, (A,)."""
        z = self.standardised(features)
        steps = np.column_stack(
            [
                np.where(
                    np.isnan(z[:, j]),
                    feature.benign_points,
                    np.array(feature.points)[np.searchsorted(feature.edges, z[:, j], side="right")],
                )
                for j, feature in enumerate(self.features)
            ]
        )
        values = {part: steps[:, columns].sum(axis=1) for part, columns in NAMED_PARTS.items()}
        for name, term in self.linear.items():
            values[name] = _weighed(evidence_of(features, name), term) + term.offset
        return steps, values

    def points(self, features: Features) -> NDArray[np.float64]:
        """What each term adds to the log-odds of a median ordinary account.

        Parameters
        ----------
        features : Features

        Returns
        -------
        float64 (A, F + 7)
            One column a named feature, one a name of `VECTORS`, and `REST`; positive = towards harvesting.
            With the intercept they sum to the log-odds. A feature that is not defined adds 0.
        """
        steps, values = self.values(features)
        points = np.zeros((len(features), REST + 1))
        for name, part in self.parts.items():
            gain = self.slope * part.weight
            total = gain * part.standing(values[name], features)
            if name not in NAMED_PARTS:
                points[:, len(FEATURES) + VECTORS.index(name)] = total
                continue
            _, spread = part.usual(features)
            columns = NAMED_PARTS[name]
            usual = np.array([feature.benign_points for feature in self.features[columns]])
            points[:, columns] = gain * (steps[:, columns] - usual) / spread[:, None]
            points[:, REST] += total - points[:, columns].sum(axis=1)
        return points

    def totals(self, features: Features) -> dict[str, NDArray[np.float64]]:
        """What each kind of evidence adds to the log-odds, (A,): the same as `points`, kind by kind."""
        _, values = self.values(features)
        return {
            name: self.slope * part.weight * part.standing(values[name], features)
            for name, part in self.parts.items()
        }

    def standings(self, features: Features) -> dict[str, NDArray[np.float64]]:
        """Where each kind of evidence stands among ordinary accounts of the size, (A,), not clipped.

        0 = their median, 1 = their 95th percentile.
        """
        _, values = self.values(features)
        found = {}
        for name, part in self.parts.items():
            middle, spread = part.usual(features)
            found[name] = (values[name] - middle) / spread
        return found

    def log_odds(self, features: Features) -> NDArray[np.float64]:
        """Score before it is squeezed into 0..1, (A,)."""
        odds: NDArray[np.float64] = self.points(features).sum(axis=1) + self.intercept
        return odds

    def additive(self, features: Features) -> NDArray[np.float64]:
        """Weigh the evidence that is a mean over prompts, (A,): a mixture's value is that of its parts."""
        found = np.zeros(len(features))
        for name in ADDITIVE:
            part, term = self.parts[name], self.linear[name]
            found += part.weight / part.spread[-1] * _weighed(evidence_of(features, name), term)
        return found

    def score(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score accounts from their points: 0..1, higher = more like harvesting, shape ``(A,)``."""
        return np.asarray(expit(self.intercept + points.sum(axis=1)), dtype=np.float64)

    def archetype_chances(self, features: Features) -> NDArray[np.float64]:
        """Probability of each archetype, (A, K), in the order of ``archetypes.names``; rows sum to 1."""
        vectors = [ARCHETYPE_VECTORS[name](features) for name in self.archetypes.vectors]
        return self.archetypes.probabilities(self.standardised(features), *vectors)

    def likeliest(self, features: Features) -> list[tuple[str, float]]:
        """Name the likeliest archetype of each account, with its probability."""
        chances = self.archetype_chances(features)
        best = np.argmax(chances, axis=1)
        return [(self.archetypes.names[k], float(chances[i, k])) for i, k in enumerate(best)]

    def p_value(self, score: NDArray[np.float64], prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Conformal p-value against benign accounts of similar size, shape ``(A,)``."""
        known = self.calibration
        others = np.array(known.score), np.array(known.prompts, dtype=np.int64)
        if known.customer:
            return customer_p(score, prompts, *others, np.array(known.customer), neighbours=known.neighbours)
        return conformal_p(
            score,
            prompts,
            calibration_score=others[0],
            calibration_prompts=others[1],
            neighbours=known.neighbours,
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


def evidence_of(features: Features, name: str) -> NDArray[np.float64]:
    """What a linear term weighs, (A, k): a vector of the account, or the root of what is above 0 in it."""
    x = features.vectors[name].astype(np.float64)
    return np.sqrt(np.maximum(x, 0)) if name in ROOTED else x


#: What archetypes are told by besides the named features.
ARCHETYPE_VECTORS: dict[str, Callable[[Features], NDArray[np.float64]]] = {
    "direction of prompts": lambda features: direction(features.vectors["prompts"]),
    "direction of openings": lambda features: direction(features.vectors["openings"]),
    "topics": lambda features: evidence_of(features, "topics"),
    "spread": lambda features: evidence_of(features, "spread"),
    "openings": lambda features: evidence_of(features, "openings"),
}


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
