"""The main job from Python, for notebooks."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    kind = shown(type(traffic).__name__, 60)
    if isinstance(traffic, bytes | bytearray) or hasattr(traffic, "read"):
        raise TrafficError(f"traffic: expected a path, a table or mappings, got {kind}; give the file's path")
    if isinstance(traffic, Mapping) and not hasattr(traffic, "__arrow_c_stream__"):
        columns = dict(traffic)
        return _table_as_input(lambda: pa.table(columns).to_reader(), kind, folder)
    if isinstance(traffic, pa.dataset.Dataset):
        traffic = traffic.scanner()
    elif hasattr(traffic, "collect") and not hasattr(traffic, "__arrow_c_stream__"):  # a lazy Polars frame
        traffic = traffic.collect()
    if isinstance(traffic, pa.dataset.Scanner):
        return _table_as_input(traffic.to_reader, kind, folder)
    if hasattr(traffic, "__arrow_c_stream__"):
        return _table_as_input(lambda: pa.RecordBatchReader.from_stream(traffic), kind, folder)
    if isinstance(traffic, Iterable):
        return _records_as_input(traffic, folder)
    raise TrafficError(f"traffic: expected a path, paths, a frame, an Arrow table or mappings, got {kind}")


def _table_as_input(read: Callable[[], pa.RecordBatchReader], kind: str, folder: Path) -> Path:
    """Write what Arrow makes of a table; what it says of one that it can't take may hold values, so only the
    column is told.
    """
    try:
        return _as_file(read(), folder)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        told = next((str(one) for one in reversed(error.args) if "column" in str(one).lower()), "")
        raise TrafficError(
            f"traffic: Arrow can't take this {kind} as a table"
            f"{f' ({shown(told, 120)})' if told else ''}; give columns of one type each and of one name, or "
            "mappings, a row each"
        ) from error


def _records_as_input(traffic: Iterable[object], folder: Path) -> Path | Sequence[str | Path]:
    values = iter(traffic)
    first = next(values, None)
    if isinstance(first, str | Path):
        rest = list(values)
        paths = [one for one in (first, *rest) if isinstance(one, str | Path)]
        if len(paths) == 1 + len(rest):
            return paths
    elif isinstance(first, pa.RecordBatch):
        batches = itertools.chain([first], values)
        return _table_as_input(
            lambda: pa.RecordBatchReader.from_batches(first.schema, batches), "list of batches", folder
        )
    elif isinstance(first, Mapping):
        plain = folder / "records.jsonl"
        with plain.open("wb") as file:
            for record in itertools.chain([first], values):
                file.write(_line(record))
        return _named_by_content(plain)
    raise TrafficError(
        "traffic: expected paths only or mappings only, got "
        f"{'nothing' if first is None else shown(type(first).__name__, 60)}"
    )


def _line(record: object) -> bytes:
    """A record as a line of JSON, also with what only Python's own writer takes: half surrogate pairs, long
    numbers.
    """
    try:
        return orjson.dumps(record, default=_plain, option=orjson.OPT_NON_STR_KEYS) + b"\n"
    except TypeError:
        pass
    try:
        return json.dumps(record, default=_plain).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise TrafficError(
            "traffic: a mapping can't be written as JSON; give it text as keys and no value that holds itself"
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


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
