"""The main job from Python, for notebooks."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from coverage_lab.config import RunConfig, load_config
from coverage_lab.errors import TrafficError
from coverage_lab.files.manifest import Manifest
from coverage_lab.jobs.run import run_job
from coverage_lab.progress import Progress, silent
from coverage_lab.state.day import StateDay
from coverage_lab.untrusted.text import shown


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
    traffic: object,
    *,
    format: str | None = None,
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
    traffic : path, paths, table or records
        File, folder, glob or address, or a list of them; a pandas or Polars frame (lazy too), an Arrow table,
        reader or dataset, a DuckDB relation, or whatever else has the Arrow PyCapsule interface; or an
        iterable of mappings. Tables have at least `account_id`, `timestamp` and `prompt`, or are a log in one
        of the formats.
    format : str, optional
        `traffic.format`, for instance "openai-chat"; recognised by the first rows when not given.
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
    if format is not None:
        settings = settings.with_format(format)
    with tempfile.TemporaryDirectory(prefix="coverage-lab-") as scratch:
        source = _as_input(traffic, Path(scratch))
        folder = Path(output) if output is not None else Path(scratch) / "results"
        run = run_job(source, folder, settings, ray=ray, overwrite=overwrite, state=state, progress=progress)
        return load_analysis(folder, run)


def _as_input(traffic: object, folder: Path) -> str | Path | Sequence[str | Path]:
    """Return a path as it is; write anything else to a file, a batch at a time.

    Raises
    ------
    TrafficError
        It is nothing that traffic can come as.
    """
    if isinstance(traffic, str | Path):
        return traffic
    if isinstance(traffic, pa.dataset.Dataset):
        traffic = traffic.scanner().to_reader()
    elif hasattr(traffic, "collect") and not hasattr(traffic, "__arrow_c_stream__"):  # a lazy Polars frame
        traffic = traffic.collect()
    if hasattr(traffic, "__arrow_c_stream__"):
        return _as_file(pa.RecordBatchReader.from_stream(traffic), folder)
    if isinstance(traffic, Iterable):
        return _records_as_input(traffic, folder)
    raise TrafficError(
        "traffic: expected a path, paths, a frame, an Arrow table or mappings, got "
        f"{shown(type(traffic).__name__, 60)}"
    )


def _records_as_input(traffic: Iterable[object], folder: Path) -> Path | Sequence[str | Path]:
    values = iter(traffic)
    first = next(values, None)
    if isinstance(first, str | Path):
        rest = list(values)
        paths = [one for one in (first, *rest) if isinstance(one, str | Path)]
        if len(paths) == 1 + len(rest):
            return paths
    elif isinstance(first, Mapping):
        plain = folder / "records.jsonl"
        with plain.open("wb") as file:
            for record in itertools.chain([first], values):
                file.write(orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n")
        return _named_by_content(plain)
    raise TrafficError(
        "traffic: expected paths only or mappings only, got "
        f"{'nothing' if first is None else shown(type(first).__name__, 60)}"
    )


def _as_file(reader: pa.RecordBatchReader, folder: Path) -> Path:
    plain = folder / "table.arrow"
    with pa.OSFile(str(plain), "wb") as file, pa.ipc.new_file(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    return _named_by_content(plain)


def _named_by_content(plain: Path) -> Path:
    """Name a file so that the same content is the same input: a run knows its files by name and time."""
    with plain.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    path = plain.rename(plain.with_stem(f"{plain.stem}-{digest[:16]}"))
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
