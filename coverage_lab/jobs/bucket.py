"""One bucket of accounts: the idempotent unit of work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from coverage_lab.accounts import trace_prompts
from coverage_lab.accounts.opening_words import OpeningWords
from coverage_lab.accounts.readable import text_facts
from coverage_lab.accounts.table import states_to_table
from coverage_lab.detect import Judge, JudgedAccounts, judge_prompts, judge_states
from coverage_lab.files.atomic import disk_errors, synced
from coverage_lab.jobs.campaigns import write_traces
from coverage_lab.jobs.ingest import UNREADABLE, Bucket
from coverage_lab.progress import Progress, silent
from coverage_lab.state.day import STATES_FILE, StatePlan, write_read
from coverage_lab.state.files import Read, write_states
from coverage_lab.state.looks import with_looks


def work_bucket(
    bucket: Bucket,
    part: Path,
    judge: Judge,
    *,
    source_names: Sequence[str],
    threads: int,
    campaigns: bool,
    progress: Progress = silent,
) -> None:
    """Judge the accounts of one bucket and write their tables to the folder `part`.

    With `campaigns` the part holds also what these are found by.

    The folder appears whole or not at all, so that one that exists is done. The same bucket gives
    the same bytes wherever it is worked on with the same number of threads.

    In the work folder of a run with state (`StatePlan`) the accounts are judged by the merge of their
    prompts with the days before, and the part holds also the day's own states, `states.parquet`.
    """
    if part.exists():  # an actor that was lost after its work was done is asked again
        return
    with threadpool_limits(limits=threads):
        prompts, quarantined = bucket.read(source_names)
        plan = StatePlan.of(part.parent.parent)
        if plan is None:
            judged, day = judge_prompts(prompts, judge, progress=progress), None
        else:
            judged, day = _judge_with_days(prompts, judge, plan, progress=progress)
    if judged.unreadable:
        metadata = {**(quarantined.schema.metadata or {}), UNREADABLE: str(judged.unreadable)}
        quarantined = quarantined.replace_schema_metadata(metadata)
    tables = {
        "accounts": judged.accounts,
        "curves": judged.curves,
        "cells": judged.cells,
        "flags": judged.flags,
        "quarantine": quarantined,
    }
    with disk_errors(part):
        temporary = Path(tempfile.mkdtemp(dir=part.parent, prefix=f".{part.name}."))
        try:
            for name, table in tables.items():
                write_table(table, temporary / f"{name}.parquet")
            if campaigns and judged.states is not None:
                write_traces(judged.states, temporary)
            if day is not None:
                write_states(day[0], temporary / STATES_FILE)
                write_read(day[1], temporary)
            temporary.replace(part)
        except OSError:
            if not part.exists():  # else an actor that was taken for lost did it all the same
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _judge_with_days(
    prompts: pa.Table, judge: Judge, plan: StatePlan, *, progress: Progress
) -> tuple[JudgedAccounts, tuple[pa.Table, Read]]:
    """Judge accounts by today and the days before; also today's own states, and what was read."""
    today = trace_prompts(prompts, judge.encoder, judge.atlas, progress=progress)
    model_id = judge.model_id
    merged = plan.merged(today, dim=judge.encoder.dim, model_id=model_id)
    judged = judge_states(
        merged.states,
        replace(judge, config_id=plan.config_id),
        watched=merged.watched,
        facts=text_facts(prompts),
        words=OpeningWords(prompts),
    )
    rows = with_looks(states_to_table(today), judged.watched, model_id=model_id)
    return judged, (rows, merged.read)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet the one way that all our tables are written."""
    pq.write_table(table, path, compression="zstd")
    synced(path)
