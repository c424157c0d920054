"""Traffic → a scorecard that is fitted to it: features of own accounts beside the shipped harvests'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from coverage_lab.config import EvaluateConfig, RunConfig
from coverage_lab.detect.fitting import TrainingAccounts, fit_scorecard
from coverage_lab.detect.fitting.adapt import CUTS, Adapted, Separation, adapt_scorecard, separations
from coverage_lab.detect.fitting.shipped import shipped_accounts, some_of_each
from coverage_lab.detect.judge import Judge
from coverage_lab.detect.load import load_judge, resolve_config, threads_of
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.evaluate.corpora import load_corpora
from coverage_lab.evaluate.corpora_accounts import corpora_accounts
from coverage_lab.evaluate.folds import clusters_of, folds_of
from coverage_lab.files.atomic import whole_folder
from coverage_lab.jobs.own_features import features_of_state, features_of_traffic
from coverage_lab.jobs.recalibrate import CALIBRATION, CONTAMINATION, labels_of
from coverage_lab.progress import Progress, silent

#: Prompts of each corpus, and of an account drawn from corpora, at most.
_ROWS = 1000
SCORECARD = "scorecard.json"
SUMMARY = "adapted.json"


@dataclass(frozen=True, eq=False)
class AdaptedTraffic:
    """What `adapt` made.

    Attributes
    ----------
    adapted : Adapted
    before, after : Separation
        How well harvests are told from own accounts by the shipped accounts alone, and with one's own.
    rows_quarantined : int
    skipped_files : dict
        Name of each file that was not read, and why.
    """

    adapted: Adapted
    before: Separation
    after: Separation
    rows_quarantined: int
    skipped_files: dict[str, str]


def adapt(
    traffic: str | Path | Sequence[str | Path] | None,
    out: Path,
    config: RunConfig,
    *,
    state: str | Path | None = None,
    corpora: Path | None = None,
    cache: Path | None = None,
    labels: Path | None = None,
    contamination: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> AdaptedTraffic:
    """Fit score and calibration to traffic and write them to the folder `out`.

    Writes ``scorecard.json``, for `detect.scorecard` in the config, and ``adapted.json``, what changed. No
    account id and no text is in them.

    Parameters
    ----------
    traffic : str, Path, sequence of them, or None
        As for a run; None where `state` is given. Accounts of fewer than `detect.min_prompts` prompts are
        left out; of the others `coverage_lab.jobs.own_features.MOST` are taken, by a hash of their ids.
    out : Path
        Must not exist.
    state : str or Path, optional
        A state table that runs keep between days, in place of traffic.
    corpora : Path, optional
        Folder of labelled corpora to take harvests from, as for `coverage-lab evaluate`; those that ship when
        not given. With it any encoder and an own atlas can be used.
    cache : Path, optional
        Folder that keeps vectors of the corpora between calls.
    labels : Path, optional
        `.csv` or `.parquet` with the columns `account_id` and `label`; accounts without one are not used.
    contamination : float, optional
        Without labels: the largest share of harvests to guard against; `CONTAMINATION` when not given.

    Returns
    -------
    AdaptedTraffic

    Raises
    ------
    ConfigError
        Traffic and state are both given or neither is, a cache without corpora, or a scorecard with them; the
        config has an encoder or an atlas for which no
        accounts ship and no corpora are given; the labels can't be used; there are too few accounts.
    OutputError
        `out` exists or can't be written.
    TrafficError
        No row can be used.
    """
    if labels is not None and contamination is not None:
        raise ConfigError("--contamination: is for traffic without --labels; give one of the two")
    if out.exists():
        raise OutputError(f"--out {out}: exists already; give a new folder")
    if (traffic is None) == (state is None):
        raise ConfigError("INPUT: give traffic or --state, one of the two")
    if corpora is None and cache is not None:
        raise ConfigError("--cache: keeps vectors of --corpora, which is not given")
    if corpora is not None and config.detect.scorecard is not None:
        raise ConfigError(
            "detect.scorecard: is not used with --corpora, from which one is made; leave it out"
        )
    config = resolve_config(config)
    ships = config.atlas.path is None and config.encoder.name == "static"
    if corpora is None and not ships:
        raise ConfigError(
            'adapt: expected the encoder "static" and the atlas that ships (harvests of others are known by '
            f"that atlas only), got encoder {config.encoder.name!r}"
            f"{'' if config.atlas.path is None else ' and an own atlas'}; with --corpora any can be used"
        )
    threads = threads_of(config)
    judge = load_judge(config, threads=threads, progress=progress)
    before, shipped = _known(judge, corpora, cache, progress)
    if state is None:
        assert traffic is not None
        own = features_of_traffic(traffic, config, judge, threads=threads, progress=progress)
    else:
        own = features_of_state(state, config, judge, threads=threads, progress=progress)
    label = None if labels is None else labels_of(labels, own.ids)[0]
    share = CONTAMINATION if contamination is None else contamination
    with threadpool_limits(limits=threads):
        found = adapt_scorecard(own.features, shipped, before, label=label, contamination=share, seed=seed)
        told = separations(found, shipped, progress=progress)
    # What was said of another calibration would be wrong of this one.
    card = {name: value for name, value in before.card.items() if not name.startswith(CALIBRATION)}
    facts: dict[str, str | float | int] = {
        "from": "a user's own traffic, "
        + ("labelled by reviewers" if labels is not None else "nobody labelled it"),
        "accounts": len(found.calibration.score),
        "left_out": found.calibration.left_out,
        "smallest_p": round(found.calibration.smallest_p, 6),
        "extrapolated_below": found.calibration.extrapolated_below,
    }
    card |= {f"{CALIBRATION}{name}": value for name, value in facts.items()}
    card |= {"adapted_to": found.own, "adapted_set_aside": found.left_out}
    scorecard = found.scorecard.model_copy(update={"card": card})
    done = AdaptedTraffic(found, *told, own.rows_quarantined, own.skipped_files)
    summary = _summary(done, before, "shipped" if corpora is None else "the corpora's")
    with whole_folder(out) as unfinished:
        (unfinished / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (unfinished / SCORECARD).write_text(scorecard.model_dump_json() + "\n", encoding="utf-8")
    return done


def _known(
    judge: Judge, corpora: Path | None, cache: Path | None, progress: Progress
) -> tuple[Scorecard, TrainingAccounts]:
    """The scorecard to start from, and the accounts that it was fitted on: those that ship, or of corpora."""
    if corpora is None:
        if judge.scorecard is None:
            raise ConfigError(
                "detect.scorecard: none fits the atlas; leave it out to start from the shipped one"
            )
        return judge.scorecard, shipped_accounts("static", judge.scorecard)
    read = load_corpora(corpora)
    options = EvaluateConfig()
    cluster = clusters_of(read)
    labelled, _ = corpora_accounts(
        read,
        judge.encoder,
        judge.atlas,
        cluster=cluster,
        fold=folds_of(read, cluster, folds=options.folds, seed=options.seed),
        rows=_ROWS,
        accounts=options.accounts,
        longest=_ROWS,
        train=options.train,
        seed=options.seed,
        cache=cache,
        progress=progress,
    )
    card: dict[str, str | float | int] = {
        "made_from": f"{len(labelled.kind):,} accounts built from {len(read)} corpora; coverage-lab adapt"
    }
    before = fit_scorecard(labelled, atlas_id=judge.atlas.id, encoder_id=judge.encoder.id, card=card)
    return before, some_of_each(labelled, seed=options.seed)


def _summary(done: AdaptedTraffic, card: Scorecard, whose: str) -> dict[str, object]:
    """What changed, as plain values; `whose` harvests they are."""
    found = done.adapted

    def told(separation: Separation) -> dict[str, float]:
        caught = {f"caught_at_{cut:g}": round(x, 4) for cut, x in zip(CUTS, separation.caught, strict=True)}
        return {"auroc": round(separation.auroc, 4), **caught}

    return {
        "scorecard_before": card.id,
        "rows_quarantined": done.rows_quarantined,
        "skipped_files": done.skipped_files,
        "own_accounts": found.own,
        "left_out": found.left_out,
        "labelled_harvests": found.labelled_harvests,
        "smallest_p": found.calibration.smallest_p,
        "extrapolated_below": found.calibration.extrapolated_below,
        "before": told(done.before),
        "after": told(done.after),
        "how": f"{whose} harvests against own accounts, each scored by weights that saw neither it nor, of "
        "harvests, any of its family; caught_at_c: share of harvests above all but the share c of own "
        "accounts",
    }
