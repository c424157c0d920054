"""What a benchmark run says: typed results, the same bytes each time."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from coverage_lab.evaluate.p_values import PValues

#: Stands beside every headline: positives are public harvesting sets, not caught harvesters.
REPLAYED = "on replayed public corpora"

Role = Literal["detector", "variant", "baseline", "probe"]
ROLES: tuple[Role, ...] = ("detector", "variant", "baseline", "probe")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunDescription(_Frozen):
    """What was run. Nothing here changes from one run to the next of the same thing."""

    encoder_id: str
    folds: int = Field(ge=1)
    seed: int
    corpora: dict[str, int] = Field(description="corpora by kind")
    versions: dict[str, str] = Field(description="of this package and what it computes with")
    options: dict[str, str] = Field(default_factory=dict, description="that accounts and models depend on")
    detector: str = Field(description="name of the method that is to lead")
    variants: tuple[str, ...] = Field(default=(), description="parts of the detector by themselves")
    probes: tuple[str, ...] = Field(default=(), description="methods that should fail; all others: baselines")

    def role(self, method: str) -> Role:
        """What `method` is in this run."""
        if method == self.detector:
            return "detector"
        if method in self.variants:
            return "variant"
        return "probe" if method in self.probes else "baseline"


class Interval(_Frozen):
    """Middle 95% of the replicates."""

    low: float
    high: float


class Row(_Frozen):
    """Share of flagged accounts, in [0, 1], in one kind, language, rung or corpus ('' = several, unknown)."""

    name: str
    accounts: int
    corpora: int
    share: float


class CampaignRow(_Frozen):
    """Split harvests of one rung; shares of campaigns in [0, 1]."""

    rung: str
    campaigns: int
    accounts: int
    one: float = Field(description="with one account or more over the 1% threshold")
    half: float = Field(description="with half of their accounts or more over it")
    one_by_chance: float = Field(description="as `one`, if each were flagged as often as innocent accounts")


class Figures(_Frozen):
    """One method at one size. ``None`` where a figure has no meaning, never a made-up number."""

    method: str
    role: Role
    size: int
    auroc: float | None
    auroc_interval: Interval | None
    tpr_1pct: float | None = Field(description="share of pure harvests found at 1% false positives")
    tpr_1pct_interval: Interval | None
    tpr_01pct: float | None = Field(description="the same at 0.1%; None under 1,000 innocent accounts")
    threshold_1pct: float | None
    fpr_by_kind: tuple[Row, ...]
    flagged_apart: tuple[Row, ...] = Field(description="evaluation runs and red-team research")
    fpr_by_language: tuple[Row, ...]
    tpr_by_rung: tuple[Row, ...]
    tpr_by_ordinary_percent: tuple[Row, ...] = Field(description="name: percent of ordinary traffic")
    tpr_by_corpus: tuple[Row, ...] = Field(description="pure harvests, lowest first")
    campaigns: tuple[CampaignRow, ...]
    roc: tuple[tuple[float, float], ...] = Field(description="(FPR, TPR); at the headline's size only")


class FoundBy(_Frozen):
    """Of the trajectories that reach `size`, the share that was flagged at it or before."""

    size: int
    trajectories: int
    share: float


class DetectionDelay(_Frozen):
    """Prompts until an account that grows is flagged for the first time, at each size's 1% threshold."""

    method: str
    trajectories: int
    median: float | None = Field(description="prompts; None where half or more are never flagged")
    never: float | None
    found_by: tuple[FoundBy, ...]
    innocent_found_by: tuple[FoundBy, ...] = Field(description="what looking at every size costs")


class Lead(_Frozen):
    """How far the detector is ahead of the best baseline, in TPR at 1% FPR at the headline's size."""

    baseline: str
    difference: float
    interval: Interval | None = Field(description="same replicates for both")


class Called(_Frozen):
    """What the detector called the accounts of one kind."""

    kind: str
    accounts: int
    own: float | None = Field(
        description="share called by its kind's archetype; only of evaluation runs and red-team"
    )
    shares: dict[str, float]


class Size(_Frozen):
    """Accounts of one size."""

    size: int
    benign: int
    benign_corpora: int
    harvests: int = Field(description="pure")
    harvest_corpora: int


class Results(_Frozen):
    """All figures of a benchmark run, on replayed public corpora."""

    claim: str
    settings: RunDescription
    resampling_seed: int
    replicates: int
    headline_size: int | None
    sizes: tuple[Size, ...]
    figures: tuple[Figures, ...]
    growth: tuple[DetectionDelay, ...]
    lead: Lead | None
    archetypes: tuple[Called, ...]
    p_values: tuple[PValues, ...] = Field(default=(), description="whether p-values hold, size by size")

    def to_json(self) -> str:
        """JSON with sorted keys; equal results give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False) + "\n"

    def at(self, size: int) -> list[Figures]:
        """Figures at `size`: the detector, its variants, baselines, probes; in each the best first."""
        return sorted((each for each in self.figures if each.size == size), key=_rank)

    def headline(self) -> list[Figures]:
        """`at` the headline's size; empty where no size has harvests and innocent accounts."""
        return [] if self.headline_size is None else self.at(self.headline_size)

    def growth_of(self, method: str) -> DetectionDelay | None:
        """Return how soon a method finds what grows; None where that was not measured."""
        return next((each for each in self.growth if each.method == method), None)

    def best_baseline(self) -> str | None:
        """The baseline with the highest TPR at 1% FPR, then AUROC, at the headline's size."""
        return next((each.method for each in self.headline() if each.role == "baseline"), None)


def _rank(figures: Figures) -> tuple[int, float, float, str]:
    return (
        ROLES.index(figures.role),
        -1.0 if figures.tpr_1pct is None else -figures.tpr_1pct - 1,
        0.0 if figures.auroc is None else -figures.auroc,
        figures.method,
    )
