"""The main job: traffic in, tables and a page out; started again, it goes on from where it stopped."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

import coverage_lab
from coverage_lab.atlas import Atlas
from coverage_lab.config import RunConfig
from coverage_lab.detect import Judge, Scorecard
from coverage_lab.detect.load import load_judge, resolve_config, threads_of
from coverage_lab.encoders import Encoder
from coverage_lab.errors import ConfigError, CoverageLabError
from coverage_lab.files.atomic import disk_errors
from coverage_lab.files.manifest import (
    AtlasUsed,
    CalibrationUsed,
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
from coverage_lab.jobs.combine import discoveries, gather
from coverage_lab.jobs.ingest import Reading, SpreadBucket, check_accounts_apart, read_input, rows_of_ready
from coverage_lab.jobs.ray.bucket_stage import work_on_ray
from coverage_lab.jobs.ray.cluster import ray_cluster
from coverage_lab.platforms import check_platform, peak_memory_mb
from coverage_lab.progress import Checkpoint, Progress, silent, unwatched
from coverage_lab.report import write_report
from coverage_lab.schema import SCHEMA_VERSION, VERDICTS
from coverage_lab.state.day import DayRun, StateDay, prompts_of
from coverage_lab.traffic import Source, check_sources, find_sources

_LIBRARIES = (
    "numpy",
    "pyarrow",
    "faiss-cpu",
    "faiss-gpu",
    "torch",
    "sentence-transformers",
    "model2vec",
    "tokenizers",
    "nanotoken",
    "ray",
    "deltalake",
)


def run_job(
    traffic: str | Path,
    output: Path,
    config: RunConfig,
    *,
    ray: bool = False,
    overwrite: bool = False,
    state: StateDay | None = None,
    progress: Progress = silent,
    checkpoint: Checkpoint = unwatched,
) -> Manifest:
    """Run the main job.

    Parameters
    ----------
    traffic : str or Path
        File, folder or glob (`coverage_lab.traffic.find_sources`).
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
        Told each step before it is taken: "read", "work", "gather" and those of `jobs.combine.gather`, with
        `state` "commit" and those of `DayRun.commit`, then "report" and "finish".

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
    sources = find_sources(traffic)
    check_sources(sources, config.traffic)
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
            names = [source.name for source in sources]
            checkpoint("work")
            with clock.stage("encode_and_judge"):
                parts, devices = _work(
                    folder, config, judge, read, names, threads=threads, ray=ray, progress=progress
                )
        checkpoint("gather")
        with clock.stage("gather"), disk_errors(output):
            check_accounts_apart(parts, read.buckets, sources)
            gather(folder, parts, judge.config, checkpoint=checkpoint)
            rows_in = rows_of_ready(parts) if read.rows_in is None else read.rows_in
            own = None if day is None else prompts_of(parts)
            outcome = _outcome(output, rows_in, read, judge, own_prompts=own)
        state_used = None
        if day is not None:
            checkpoint("commit")
            with clock.stage("commit"):
                placed = all(isinstance(bucket, SpreadBucket) for bucket in read.buckets)
                state_used = day.commit(parts, placed=placed, checkpoint=checkpoint)
        manifest = _manifest(
            key,
            str(traffic),
            config,
            judge,
            outcome,
            clock,
            threads=threads,
            ray=ray,
            devices=devices,
            state=state_used,
        )
        checkpoint("report")
        with clock.stage("report"), disk_errors(output):
            _report(folder, manifest)
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
        self.seconds[name] = round(time.perf_counter() - start, 3)


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
        work_bucket(bucket, part, judge, source_names=names, threads=threads, progress=progress)
        done += 1
        progress("buckets", done, len(parts))
    return parts, {judge.device}


@dataclass(frozen=True)
class _Outcome:
    """What came out of a run, for its manifest."""

    counts: Counts
    verdicts: dict[str, int]
    discoveries: Discoveries | None
    escalated: Escalated | None


def _outcome(output: Path, rows_in: int, read: Reading, judge: Judge, *, own_prompts: int | None) -> _Outcome:
    """Count what came out, and check that nothing was lost or counted twice.

    `own_prompts` counts the prompts of the run's own day where accounts are judged by the days before too;
    None where they are judged by this run alone.
    """
    accounts = pq.read_table(output / "accounts.parquet", columns=["prompts", "q_value"])
    reasons = _tally(output / "quarantine.parquet", "reason")
    verdicts = _tally(output / "accounts.parquet", "verdict")
    used = own_prompts
    if used is None:
        used = pc.sum(accounts["prompts"]).as_py() or 0
    quarantined = sum(reasons.values())
    if rows_in != used + quarantined:
        raise CoverageLabError(
            f"counts do not add up: {rows_in} rows in, {used} used + {quarantined} quarantined; "
            "this is a bug, the tables can't be trusted"
        )
    return _Outcome(
        counts=Counts(
            rows_in=rows_in,
            rows_used=used,
            rows_quarantined=quarantined,
            quarantine_reasons=dict(sorted(reasons.items())),
            accounts=accounts.num_rows,
            buckets=len(read.buckets),
            as_of=read.as_of,
        ),
        verdicts={verdict: verdicts[verdict] for verdict in VERDICTS},
        discoveries=discoveries(accounts, judge.stages[-1].scorecard, over_time=own_prompts is not None),
        escalated=_escalated(output / "accounts.parquet", judge),
    )


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
    state: StateUsed | None,
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
        timings=dict(clock.seconds),
        peak_memory_mb=peak_memory_mb(),
        execution=Execution(ray=ray, threads=threads, machine=platform.machine()),
        versions=_versions(),
        state=state,
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


def _report(folder: OutputFolder, manifest: Manifest) -> None:
    output = folder.path
    with folder.whole_file(REPORT) as target:
        write_report(
            target,
            run=manifest,
            accounts=output / "accounts.parquet",
            curves=output / "curves.parquet",
            cells=output / "cells.parquet",
            flags=output / "flags.parquet",
            max_accounts=manifest.config.report.max_accounts,
        )
