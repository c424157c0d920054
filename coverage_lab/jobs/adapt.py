"""Traffic → a scorecard that is fitted to it: features of own accounts beside the shipped harvests'."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from coverage_lab.accounts import measure, trace_prompts
from coverage_lab.config import RunConfig
from coverage_lab.detect.features import Features, features_of, join
from coverage_lab.detect.fitting.adapt import CUTS, Adapted, Separation, adapt_scorecard, separations
from coverage_lab.detect.fitting.shipped import shipped_accounts
from coverage_lab.detect.judge import Judge
from coverage_lab.detect.load import load_judge, resolve_config, threads_of
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.errors import ConfigError, OutputError, TrafficError
from coverage_lab.files.atomic import disk_errors
from coverage_lab.files.output_folder import OutputFolder
from coverage_lab.jobs.ingest import read_input
from coverage_lab.jobs.recalibrate import CALIBRATION, CONTAMINATION, labels_of
from coverage_lab.progress import Progress, silent
from coverage_lab.traffic import check_sources, find_sources, without_repeats

#: Own accounts that are learnt from at most; more change little and take longer.
MOST = 5000
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
    traffic: str | Path | Sequence[str | Path],
    out: Path,
    config: RunConfig,
    *,
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
    traffic : str, Path or sequence of them
        As for a run. Accounts of fewer than `detect.min_prompts` prompts are left out; of the others `MOST`
        are taken, by a hash of their ids.
    out : Path
        Must not exist.
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
        The config has an encoder or an atlas for which no accounts ship, the labels can't be used, or there
        are too few accounts.
    OutputError
        `out` exists or can't be written.
    TrafficError
        No row can be used.
    """
    if labels is not None and contamination is not None:
        raise ConfigError("--contamination: is for traffic without --labels; give one of the two")
    if out.exists():
        raise OutputError(f"--out {out}: exists already; give a new folder")
    config = resolve_config(config)
    if config.atlas.path is not None or config.encoder.name != "static":
        raise ConfigError(
            'adapt: expected the encoder "static" and the atlas that ships (harvests of others are known by '
            f"that atlas only), got encoder {config.encoder.name!r}"
            f"{'' if config.atlas.path is None else ' and an own atlas'}"
        )
    threads = threads_of(config)
    judge = load_judge(config, threads=threads, progress=progress)
    if judge.scorecard is None:
        raise ConfigError("detect.scorecard: none fits the atlas; leave it out to start from the shipped one")
    shipped = shipped_accounts("static", judge.scorecard)
    ids, own, quarantined, skipped = _own_features(traffic, config, judge, threads=threads, progress=progress)
    label = None if labels is None else labels_of(labels, ids)[0]
    share = CONTAMINATION if contamination is None else contamination
    with threadpool_limits(limits=threads):
        found = adapt_scorecard(own, shipped, judge.scorecard, label=label, contamination=share, seed=seed)
        before, after = separations(found, shipped, progress=progress)
    # What was said of another calibration would be wrong of this one.
    card = {name: value for name, value in judge.scorecard.card.items() if not name.startswith(CALIBRATION)}
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
    done = AdaptedTraffic(found, before, after, quarantined, skipped)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            (unfinished / SUMMARY).write_text(
                json.dumps(_summary(done, judge.scorecard), indent=2) + "\n", encoding="utf-8"
            )
            (unfinished / SCORECARD).write_text(scorecard.model_dump_json() + "\n", encoding="utf-8")
            unfinished.chmod(0o755)
            unfinished.rename(out)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return done


def _summary(done: AdaptedTraffic, card: Scorecard) -> dict[str, object]:
    """What changed, as plain values."""
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
        "how": "shipped harvests against own accounts, each scored by weights that saw neither it nor, of "
        "harvests, any of its family; caught_at_c: share of harvests above all but the share c of own "
        "accounts",
    }


def _own_features(
    traffic: str | Path | Sequence[str | Path],
    config: RunConfig,
    judge: Judge,
    *,
    threads: int,
    progress: Progress,
) -> tuple[list[str], Features, int, dict[str, str]]:
    """Ids and features of own accounts that are large enough, and what of the traffic was not used."""
    checked = without_repeats(check_sources(find_sources(traffic), config.traffic), config.traffic)
    sources = list(checked.sources)
    names = [source.name for source in sources]
    ids: list[str] = []
    parts: list[Features] = []
    quarantined = 0
    with tempfile.TemporaryDirectory(prefix="coverage-lab-") as scratch:
        folder = OutputFolder(Path(scratch) / "work", "adapt")
        try:
            read = read_input(sources, config, folder, readers=None, progress=progress)
            quarantined += pq.read_metadata(folder.work / "quarantine.parquet").num_rows
            for done, bucket in enumerate(read.buckets):
                progress("buckets", done, len(read.buckets))
                prompts, refused = bucket.read(names)
                quarantined += refused.num_rows
                with threadpool_limits(limits=threads):
                    found, features = _bucket_features(prompts, config, judge)
                ids += found
                parts.append(features)
                if sum(map(len, parts)) > 2 * MOST:
                    ids, features = _kept(ids, join(parts))
                    parts = [features]
        finally:
            folder.release()
    if not ids:
        raise TrafficError(
            f"INPUT: no account has {config.detect.min_prompts} usable prompts (detect.min_prompts); "
            "give more traffic, and see what `coverage-lab check` says of it"
        )
    ids, features = _kept(ids, join(parts))
    return ids, features, quarantined, dict(checked.skipped)


def _bucket_features(prompts: pa.Table, config: RunConfig, judge: Judge) -> tuple[list[str], Features]:
    states = trace_prompts(prompts, judge.encoder, judge.atlas)
    large = np.flatnonzero(states.prompts >= config.detect.min_prompts)
    features = features_of(states, measure(states, judge.atlas).values, middle_cells=judge.atlas.sizes[1])
    return [states.account_ids[row] for row in large.tolist()], features.at(large)


def _kept(ids: list[str], features: Features) -> tuple[list[str], Features]:
    """At most `MOST` accounts: those whose ids have the least hashes, so that input order changes nothing."""
    order = sorted(range(len(ids)), key=lambda row: hashlib.sha256(ids[row].encode()).digest())[:MOST]
    rows: NDArray[np.int64] = np.array(order, dtype=np.int64)
    return [ids[row] for row in order], features.at(rows)
