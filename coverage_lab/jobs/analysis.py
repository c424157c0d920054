"""The main job from Python, for notebooks."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from coverage_lab.config import RunConfig, load_config
from coverage_lab.files.manifest import Manifest
from coverage_lab.jobs.run import run_job
from coverage_lab.progress import Progress, silent
from coverage_lab.state.day import StateDay


@dataclass(frozen=True)
class Analysis:
    """A finished run's tables (schemas in `coverage_lab.schema`), its manifest and its page."""

    accounts: pa.Table
    curves: pa.Table
    cells: pa.Table
    flags: pa.Table
    quarantine: pa.Table
    run: Manifest
    report_html: str


def analyze(
    traffic: str | Path | pa.Table,
    *,
    output: str | Path | None = None,
    encoder: Literal["auto", "static", "minilm", "cascade"] = "auto",
    config: RunConfig | str | Path | None = None,
    ray: bool = False,
    overwrite: bool = False,
    state: StateDay | None = None,
    progress: Progress = silent,
) -> Analysis:
    """Run the main job and return its tables.

    Parameters
    ----------
    traffic : str, Path or Table
        File, folder or glob, or an Arrow table with at least `account_id`, `timestamp`, `prompt`.
    output : str or Path, optional
        Folder to keep the results in; a temporary one that is removed when not given.
    encoder : {"auto", "static", "minilm", "cascade"}
        Overrides the config's encoder unless it is "auto".
    config : RunConfig or path of a TOML file, optional
    ray, overwrite : bool
    state : StateDay, optional
        As `coverage_lab.jobs.run_job`.

    Returns
    -------
    Analysis

    Raises
    ------
    CoverageLabError
        As `coverage_lab.jobs.run_job`.

    Examples
    --------
    >>> import coverage_lab as cl
    >>> result = cl.analyze("day.parquet", encoder="static")  # doctest: +SKIP
    >>> result.accounts.sort_by([("score", "descending")]).slice(0, 10)  # doctest: +SKIP
    """
    settings = config if isinstance(config, RunConfig) else load_config(Path(config) if config else None)
    if encoder != "auto":
        settings = settings.with_encoder(encoder)
    with tempfile.TemporaryDirectory(prefix="coverage-lab-") as scratch:
        if isinstance(traffic, pa.Table):
            traffic = _as_file(traffic, Path(scratch))
        folder = Path(output) if output is not None else Path(scratch) / "results"
        run = run_job(traffic, folder, settings, ray=ray, overwrite=overwrite, state=state, progress=progress)
        return load_analysis(folder, run)


def _as_file(table: pa.Table, folder: Path) -> Path:
    """Write a table so that the same content is the same input: a run knows its files by name and time."""
    plain = folder / "table.arrow"
    feather.write_feather(table, str(plain), compression="uncompressed")
    with plain.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    path = plain.rename(folder / f"table-{digest[:16]}.arrow")
    os.utime(path, (0, 0))
    return path


def load_analysis(folder: Path, run: Manifest) -> Analysis:
    """Read a finished run's tables."""
    return Analysis(
        accounts=pq.read_table(folder / "accounts.parquet"),
        curves=pq.read_table(folder / "curves.parquet"),
        cells=pq.read_table(folder / "cells.parquet"),
        flags=pq.read_table(folder / "flags.parquet"),
        quarantine=pq.read_table(folder / "quarantine.parquet"),
        run=run,
        report_html=(folder / "report.html").read_text(encoding="utf-8"),
    )
