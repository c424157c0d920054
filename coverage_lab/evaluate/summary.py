"""From scored accounts to results: every figure of a benchmark run, with its intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coverage_lab.detect.fitting import ARCHETYPE_OF, even_weights
from coverage_lab.errors import CoverageLabError
from coverage_lab.evaluate import metrics
from coverage_lab.evaluate.p_values import p_values_at
from coverage_lab.evaluate.results import (
    REPLAYED,
    Called,
    CampaignRow,
    DetectionDelay,
    Figures,
    FoundBy,
    Interval,
    Lead,
    Results,
    Role,
    Row,
    RunDescription,
    Size,
)
from coverage_lab.evaluate.scored_accounts import APART_KINDS, ScoredAccounts, disguise_order

HEADLINE_SIZE = 1_000
REPLICATES = 200
ONE_PERCENT = 0.01
ONE_PERMILLE = 0.001
#: False-positive rates of the ROC curves, 20 a decade from 0.1% up.
ROC_RATES = tuple(round(10 ** (step / 20 - 3), 6) for step in range(60))

Floats = NDArray[np.float64]


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
        p_values=tuple(p_values_at(scored, part.size) for part in sized),
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
                    key=lambda row: disguise_order(row.name),
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
        for rung in sorted(np.unique(self.accounts.rung[split]).tolist(), key=disguise_order):
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
