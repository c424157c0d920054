"""The main job from Python, for notebooks."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import orjson
import pyarrow as pa
import pyarrow.dataset

from coverage_lab.config import RunConfig, load_config
from coverage_lab.errors import TrafficError
from coverage_lab.jobs.results import Analysis, load_analysis
from coverage_lab.jobs.run import run_job
from coverage_lab.progress import Progress
from coverage_lab.progress_bars import notebook_bars
from coverage_lab.state.day import StateDay
from coverage_lab.untrusted.text import shown


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
    progress: Progress | None = None,
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
    progress : Progress, optional
        Told how far the long stages are. When not given, bars in a notebook and nothing elsewhere.

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
        with notebook_bars() if progress is None else nullcontext(progress) as told:
            run = run_job(source, folder, settings, ray=ray, overwrite=overwrite, state=state, progress=told)
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
