"""One bucket of accounts: the idempotent unit of work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from coverage_lab.detect import Judge, judge_prompts
from coverage_lab.jobs.output import disk_errors, synced
from coverage_lab.jobs.reading import Bucket
from coverage_lab.progress import Progress, silent


def work_bucket(
    bucket: Bucket,
    part: Path,
    judge: Judge,
    *,
    source_names: Sequence[str],
    threads: int,
    progress: Progress = silent,
) -> None:
    """Judge the accounts of one bucket and write their tables to the folder `part`.

    The folder appears whole or not at all, so that one that exists is done. The same bucket gives
    the same bytes wherever it is worked on with the same number of threads.
    """
    if part.exists():  # an actor that was lost after its work was done is asked again
        return
    with threadpool_limits(limits=threads):
        prompts, quarantined = bucket.read(source_names)
        judged = judge_prompts(prompts, judge, progress=progress)
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
            temporary.replace(part)
        except OSError:
            if not part.exists():  # else an actor that was taken for lost did it all the same
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet the one way that all our tables are written."""
    pq.write_table(table, path, compression="zstd")
    synced(path)
