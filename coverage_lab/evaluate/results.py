"""What a benchmark run says: typed results, the same bytes each time, for terminals and pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from coverage_lab.detect.fit import ARCHETYPE_OF, even_weights
from coverage_lab.errors import CoverageLabError
from coverage_lab.evaluate import metrics
from coverage_lab.evaluate.scored_accounts import APART_KINDS, ScoredAccounts, ladder_order

#: Stands beside every headline: positives are public harvesting sets, not caught harvesters.
REPLAYED = "on replayed public corpora"

HEADLINE_SIZE = 1_000
REPLICATES = 200
ONE_PERCENT = 0.01
ONE_PERMILLE = 0.001
#: False-positive rates of the ROC curves, 20 a decade from 0.1% up.
ROC_RATES = tuple(round(10 ** (step / 20 - 3), 6) for step in range(60))

Role = Literal["detector", "variant", "baseline", "probe"]
ROLES: tuple[Role, ...] = ("detector", "variant", "baseline", "probe")
Floats = NDArray[np.float64]


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

    def to_json(self) -> str:
        """JSON with sorted keys; equal results give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False) + "\n"

    def at(self, size: int) -> list[Figures]:
        """Figures at `size`: the detector, its variants, baselines, probes; in each the best first."""
        return sorted((each for each in self.figures if each.size == size), key=_rank)

    def headline(self) -> list[Figures]:
        """`at` the headline's size; empty where no size has harvests and innocent accounts."""
        return [] if self.headline_size is None else self.at(self.headline_size)

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


def summarise(scored: ScoredAccounts, *, settings: RunDescription, seed: int) -> Results:
    """Compute all figures of a run.

    Positives of the headline are pure harvests, negatives the benign kinds, of the same size. Every
    corpus counts the same in AUROC (both sides) and in TPR; a false-positive rate is a share of accounts.
    Intervals come from drawing clusters of corpora with replacement, harvests and innocent ones apart,
    with the threshold set anew in each replicate; they need two clusters or more on each side.

    Parameters
    ----------
    scored : ScoredAccounts
        Accounts with scores, corpus-out.
    settings : RunDescription
        What was run; copied into the results.
    seed : int
        Of the resampling.

    Returns
    -------
    Results
        Shares and AUROCs rounded to 6 decimals, thresholds to 6 digits. The order of accounts has no
        influence.

    Raises
    ------
    CoverageLabError
        `settings` names a method that has no scores.
    """
    for method in (settings.detector, *settings.variants, *settings.probes):
        if method not in scored.scores:
            raise CoverageLabError(
                f"settings: expected methods among {', '.join(scored.methods) or 'none'}, got {method!r}"
            )
    sized = [_AtSize(scored, size, seed) for size in scored.sizes]
    usable = [part.size for part in sized if part.positives.any() and part.benign.any()]
    headline = HEADLINE_SIZE if HEADLINE_SIZE in usable else max(usable, default=None)
    figures = tuple(
        part.figures(method, settings.role(method), with_roc=part.size == headline)
        for method in scored.methods
        for part in sized
    )
    results = Results(
        claim=f"Harvesting detection {REPLAYED}",
        settings=settings,
        resampling_seed=seed,
        replicates=REPLICATES,
        headline_size=headline,
        sizes=tuple(part.counts() for part in sized),
        figures=figures,
        growth=tuple(_growth(scored, sized, method) for method in scored.methods),
        lead=None,
        archetypes=_archetypes(scored),
    )
    baseline = results.best_baseline()
    at_headline = next((part for part in sized if part.size == headline), None)
    if baseline is None or at_headline is None:
        return results
    return results.model_copy(update={"lead": at_headline.lead(settings.detector, baseline)})


class _AtSize:
    """Accounts of one size with the weights and draws that all methods share."""

    def __init__(self, scored: ScoredAccounts, size: int, seed: int) -> None:
        self.size = size
        self.accounts = scored.take(scored.prompts == size)
        self.corpus = self.accounts.corpus
        self.benign = self.accounts.benign
        self.positives = self.accounts.pure
        self.weights = even_weights(self.corpus[self.positives])
        self.benign_weights = even_weights(self.corpus[self.benign])
        rng = np.random.default_rng([seed, size])
        cluster = self.accounts.cluster
        self.resampled = min(_distinct(cluster[self.positives]), _distinct(cluster[self.benign])) >= 2
        self.draws = self.weights * metrics.cluster_draws(
            cluster[self.positives], replicates=REPLICATES, rng=rng
        )
        self.benign_draws = metrics.cluster_draws(cluster[self.benign], replicates=REPLICATES, rng=rng)

    def counts(self) -> Size:
        return Size(
            size=self.size,
            benign=int(self.benign.sum()),
            benign_corpora=_distinct(self.corpus[self.benign]),
            harvests=int(self.positives.sum()),
            harvest_corpora=_distinct(self.corpus[self.positives]),
        )

    def threshold(self, method: str) -> float | None:
        return metrics.threshold_at(self.accounts.scores[method][self.benign], fpr=ONE_PERCENT)

    def tpr(self, method: str, fpr: float) -> float | None:
        scores = self.accounts.scores[method]
        threshold = metrics.threshold_at(scores[self.benign], fpr=fpr)
        return metrics.flagged_share(scores[self.positives], threshold, weights=self.weights)

    def tpr_replicates(self, method: str) -> Floats:
        scores = self.accounts.scores[method]
        return metrics.tpr_replicates(
            scores[self.positives], scores[self.benign], self.draws, self.benign_draws, fpr=ONE_PERCENT
        )

    def lead(self, detector: str, baseline: str) -> Lead | None:
        ours, theirs = self.tpr(detector, ONE_PERCENT), self.tpr(baseline, ONE_PERCENT)
        if ours is None or theirs is None:
            return None
        return Lead(
            baseline=baseline,
            difference=_rounded(ours - theirs),
            interval=_interval(self.tpr_replicates(detector) - self.tpr_replicates(baseline))
            if self.resampled
            else None,
        )

    def figures(self, method: str, role: Role, *, with_roc: bool) -> Figures:
        scores = self.accounts.scores[method]
        positive, benign = scores[self.positives], scores[self.benign]
        auroc = metrics.auroc(
            positive, benign, positive_weights=self.weights, negative_weights=self.benign_weights
        )
        tpr = self.tpr(method, ONE_PERCENT)
        threshold = self.threshold(method)
        over = scores > threshold if threshold is not None else None
        harvest = self.accounts.harvest
        return Figures(
            method=method,
            role=role,
            size=self.size,
            auroc=_maybe(auroc),
            auroc_interval=_interval(
                metrics.auroc_replicates(
                    positive, benign, self.draws, self.benign_draws * self.benign_weights
                )
            )
            if auroc is not None and self.resampled
            else None,
            tpr_1pct=_maybe(tpr),
            tpr_1pct_interval=_interval(self.tpr_replicates(method))
            if tpr is not None and self.resampled
            else None,
            tpr_01pct=_maybe(self.tpr(method, ONE_PERMILLE)),
            threshold_1pct=None if threshold is None else float(f"{threshold:.6g}"),
            fpr_by_kind=self._rows(self.accounts.kind, self.benign, over, even=False),
            flagged_apart=self._rows(
                self.accounts.kind, np.isin(self.accounts.kind, APART_KINDS), over, even=False
            ),
            fpr_by_language=self._rows(self.accounts.language, self.benign, over, even=False),
            tpr_by_rung=tuple(
                sorted(
                    self._rows(self.accounts.rung, harvest, over, even=True),
                    key=lambda row: ladder_order(row.name),
                )
            ),
            tpr_by_ordinary_percent=self._by_ordinary_share(over),
            tpr_by_corpus=tuple(
                sorted(
                    self._rows(self.corpus, self.positives, over, even=False),
                    key=lambda row: (row.share, row.name),
                )
            ),
            campaigns=self._campaigns(over),
            roc=tuple(
                (rate, _rounded(found))
                for rate, found in metrics.roc_points(
                    positive, benign, rates=ROC_RATES, positive_weights=self.weights
                )
            )
            if with_roc
            else (),
        )

    def _rows(
        self,
        groups: NDArray[np.str_],
        chosen: NDArray[np.bool_],
        over: NDArray[np.bool_] | None,
        *,
        even: bool,
    ) -> tuple[Row, ...]:
        if over is None:
            return ()
        mine, corpus = groups[chosen], self.corpus[chosen]
        return tuple(
            Row(
                name=each.name,
                accounts=each.accounts,
                corpora=_distinct(corpus[mine == each.name]),
                share=_rounded(each.share),
            )
            for each in metrics.shares_by(mine, over[chosen], corpus=corpus if even else None)
        )

    def _by_ordinary_share(self, over: NDArray[np.bool_] | None) -> tuple[Row, ...]:
        share = self.accounts.ordinary_share
        known = np.isfinite(share)
        percent = np.full(share.size, "", dtype="<U3")
        percent[known] = np.rint(100 * share[known]).astype(np.int64).astype(np.str_)
        rows = self._rows(percent, known, over, even=True)
        return tuple(sorted(rows, key=lambda row: int(row.name)))

    def _campaigns(self, over: NDArray[np.bool_] | None) -> tuple[CampaignRow, ...]:
        if over is None:
            return ()
        rows = []
        split = self.accounts.campaign >= 0
        fpr = float(over[self.benign].mean())
        for rung in sorted(np.unique(self.accounts.rung[split]).tolist(), key=ladder_order):
            mine = split & (self.accounts.rung == rung)
            shares = metrics.campaign_shares(self.accounts.campaign[mine], over[mine], fpr=fpr)
            if shares is not None:
                rows.append(
                    CampaignRow(
                        rung=rung,
                        campaigns=shares.campaigns,
                        accounts=shares.accounts,
                        one=_rounded(shares.one),
                        half=_rounded(shares.half),
                        one_by_chance=_rounded(shares.one_by_chance),
                    )
                )
        return tuple(rows)


def _growth(scored: ScoredAccounts, sized: Sequence[_AtSize], method: str) -> DetectionDelay:
    over = np.zeros(scored.accounts, dtype=np.bool_)
    judged = np.zeros(scored.accounts, dtype=np.bool_)
    for part in sized:
        threshold = part.threshold(method)
        if threshold is not None:
            mine = scored.prompts == part.size
            judged |= mine
            over |= mine & (scored.scores[method] > threshold)
    harvests, innocent = (
        metrics.prompts_until_detection(scored.trajectory[mine], scored.prompts[mine], over[mine])
        for mine in (judged & scored.pure, judged & scored.benign)
    )
    return DetectionDelay(
        method=method,
        trajectories=harvests.trajectories,
        median=harvests.median,
        never=_maybe(harvests.never),
        found_by=_found_by(harvests),
        innocent_found_by=_found_by(innocent),
    )


def _found_by(detection: metrics.Detection) -> tuple[FoundBy, ...]:
    return tuple(
        FoundBy(size=size, trajectories=count, share=_rounded(share))
        for size, count, share in detection.found_by
    )


def _archetypes(scored: ScoredAccounts) -> tuple[Called, ...]:
    return tuple(
        Called(
            kind=kind,
            accounts=accounts,
            own=_rounded(shares.get(ARCHETYPE_OF[kind], 0.0)) if kind in APART_KINDS else None,
            shares={name: _rounded(share) for name, share in shares.items()},
        )
        for kind, (accounts, shares) in metrics.archetype_shares(scored.kind, scored.archetype).items()
    )


def _distinct(values: NDArray[np.str_]) -> int:
    return int(np.unique(values).size)


def _rounded(value: float) -> float:
    # First to 12, so that a half in the seventh decimal doesn't hang on the order of a sum; adding 0 turns
    # -0.0 into 0.0.
    return round(round(float(value), 12), 6) + 0.0


def _maybe(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _interval(replicates: Floats) -> Interval:
    low, high = metrics.percentile_interval(replicates)
    return Interval(low=_rounded(low), high=_rounded(high))


def shown(name: str) -> str:
    r"""`name` with everything that can't be seen, or would steer a terminal, as ``\x..``, ``\u....``."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def number(value: float | None, digits: int = 2) -> str:
    """A share or AUROC with fixed digits; 'n/a' for ``None``."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def size_name(size: int) -> str:
    """A size in few letters: 50, 1k, 2.5k."""
    return f"{size / 1000:g}k" if size >= 1000 else str(size)


def caption(results: Results) -> str:
    """Accounts and corpora behind the headline, and what the intervals and 'n/a' mean, in one line."""
    mine = next((each for each in results.sizes if each.size == results.headline_size), None)
    if mine is None:
        return f"No size has both harvests and innocent accounts. Figures are {REPLAYED}."
    return (
        f"{mine.harvests:,} harvests of {mine.harvest_corpora:,} corpora against {mine.benign:,} innocent "
        f"accounts of {mine.benign_corpora:,}, corpus-out over {results.settings.folds:,} folds. Intervals: "
        f"95%, {results.replicates:,} resamplings of corpora. n/a: too few innocent accounts to tell "
        "(100 for 1%, 1,000 for 0.1%), or no harvests."
    )


def headline_title(results: Results) -> str:
    """The title of the headline table."""
    size = "" if results.headline_size is None else f", at {results.headline_size:,} prompts an account"
    return f"{results.claim}{size}"


def other_sizes(results: Results) -> list[int]:
    """Sizes beside the headline's that have both harvests and innocent accounts, ascending."""
    return [
        each.size
        for each in results.sizes
        if each.harvests and each.benign and each.size != results.headline_size
    ]


def figures_of(results: Results, method: str, size: int) -> Figures | None:
    """The figures of one method at one size, ``None`` where there are none."""
    return next((each for each in results.figures if (each.method, each.size) == (method, size)), None)


def tpr_text(results: Results, method: str, size: int) -> str:
    """TPR at 1% FPR as text."""
    figures = figures_of(results, method, size)
    return number(None if figures is None else figures.tpr_1pct)


def table(results: Results) -> Table:
    """The headline for a terminal, one row a method.

    Returns
    -------
    rich.table.Table
        AUROC and TPR at 1% FPR with intervals and TPR at 0.1% at the headline's size, and TPR at 1% FPR
        at the other sizes; without rows where there is no headline.
    """
    drawn = Table(
        title=headline_title(results),
        title_justify="left",
        caption=caption(results),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    drawn.add_column("method", overflow="fold", min_width=16)
    for name in ("AUROC", "TPR@1%", "TPR@\n0.1%"):
        drawn.add_column(name, justify="right", no_wrap=True)
    sizes = other_sizes(results)
    for size in sizes:
        drawn.add_column(f"@1%\n{size_name(size)}", justify="right", no_wrap=True)
    for each in results.headline():
        drawn.add_row(
            Text(shown(each.method), style="bold" if each.role == "detector" else ""),
            _stacked(number(each.auroc, 3), each.auroc_interval, 3),
            _stacked(number(each.tpr_1pct), each.tpr_1pct_interval, 2),
            number(each.tpr_01pct),
            *[tpr_text(results, each.method, size) for size in sizes],
        )
    return drawn


def _stacked(text: str, interval: Interval | None, digits: int) -> Text:
    """The figure, and on the next line its interval, so that a row fits into 80 columns."""
    stacked = Text(text)
    if interval is not None:
        stacked.append(f"\n{interval.low:.{digits}f}–{interval.high:.{digits}f}", style="dim")
    return stacked


def interval_text(interval: Interval | None, digits: int = 2) -> str:
    """An interval as '[low, high]'; '' for ``None``."""
    return "" if interval is None else f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
