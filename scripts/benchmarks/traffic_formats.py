"""Reading every format of traffic, beside DuckDB and Polars on the same file in the same run.

    scripts/bench traffic-formats --prompts 100000

`coverage-lab` reads, checks and tables every row; the others only parse the same columns. A row is written
only if all prompts came out as they went in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from benchmarks.options import OutOption, RepeatsOption, SeedOption
from benchmarks.rows import Row, Target, against, write
from coverage_lab.config import TrafficConfig
from coverage_lab.traffic import check_sources, find_sources, read_traffic

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
#: Share of DuckDB's rate that flat rows are to reach, and rows a CPU second that nested ones are to.
HALF_OF_DUCKDB = Target("share_of_duckdb", 0.5)
NESTED = Target("rows_per_cpu_s", 100_000)
WORDS = [
    a + b + c
    for a in ("ra", "mi", "do", "fe", "su")
    for b in ("lo", "ni", "ta", "ge")
    for c in ("", "r", "sk")
]
SYSTEM = "You are a patient helper. Answer briefly and in plain words."
Record = dict[str, Any]
Wrap = Callable[[Record], Record]


def flat_rows(prompts: int, seed: int) -> list[Record]:
    """Return rows of as many prompts of a few to some hundred words."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.lognormal(3.2, 0.9, prompts).astype(int) + 2, 400)
    words = rng.choice(WORDS, int(lengths.sum()))
    ends = np.cumsum(lengths)
    return [
        {
            "account_id": f"acct-{at % 997}",
            "timestamp": (NOON + timedelta(milliseconds=at)).isoformat(),
            "prompt": " ".join(words[end - length : end]),
            "request_id": f"req-{at:09}",
            "tokens_in": int(length),
            "tokens_out": at % 300,
        }
        for at, (length, end) in enumerate(zip(lengths.tolist(), ends.tolist(), strict=True))
    ]


def messages(row: Record) -> list[Record]:
    """Return a row's prompt as a chat with a system prompt."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["prompt"]}]


#: What a log makes of a row, by `traffic.format`.
NESTING: dict[str, Wrap] = {
    "openai-chat": lambda row: {
        "created": row["timestamp"],
        "request": {"model": "m", "user": row["account_id"], "messages": messages(row)},
        "response": {"id": row["request_id"], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    },
    "anthropic-messages": lambda row: {
        "timestamp": row["timestamp"],
        "request": {
            "model": "m",
            "max_tokens": 9,
            "system": SYSTEM,
            "metadata": {"user_id": row["account_id"]},
            "messages": messages(row)[1:],
        },
    },
    "litellm": lambda row: {
        "api_key": row["account_id"],
        "call_type": "acompletion",
        "startTime": row["timestamp"],
        "request_id": row["request_id"],
        "messages": json.dumps(messages(row)),
    },
    "langfuse": lambda row: {
        "id": row["request_id"],
        "traceId": "t",
        "type": "GENERATION",
        "startTime": row["timestamp"],
        "userId": row["account_id"],
        "input": messages(row),
    },
    "otel-genai": lambda row: {
        "name": "chat m",
        "startTimeUnixNano": str(int(datetime.fromisoformat(row["timestamp"]).timestamp() * 1e9)),
        "attributes": [
            {"key": "user.id", "value": {"stringValue": row["account_id"]}},
            {"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps(messages(row))}},
        ],
    },
}


def files(rows: list[Record], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each format's name and its file."""
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "flat.parquet")
    yield "parquet", folder / "flat.parquet"
    for name, wrap in {"jsonl": lambda row: row, **NESTING}.items():
        path = folder / f"{name}.jsonl"
        with path.open("w", encoding="utf-8") as opened:
            opened.writelines(json.dumps(wrap(row)) + "\n" for row in rows)
        yield name, path


def read_by_us(path: Path) -> pa.Table:
    """Read, check and table every row."""
    config = TrafficConfig()
    sources = check_sources(find_sources(path), config).sources
    batches = read_traffic(sources, config, as_of=NOON + timedelta(days=9))
    return pa.concat_tables([batch.good for batch in batches])


def read_by_duckdb(path: Path) -> object:
    """Parse the file's columns into Arrow, on one thread."""
    with duckdb.connect(config={"threads": 1}) as connection:
        reader = connection.read_parquet if path.suffix == ".parquet" else connection.read_json
        return reader(str(path)).to_arrow_table()


def read_by_polars(path: Path) -> object:
    """Parse the file's columns."""
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)


def cpu_seconds(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median CPU seconds of each call, in turn; the first of each is not counted."""
    spent = np.zeros((repeats + 1, len(calls)))
    for repeat in range(repeats + 1):
        for at, call in enumerate(calls):
            start = time.process_time()
            call()
            spent[repeat, at] = time.process_time() - start
    return [float(value) for value in np.median(spent[1:], axis=0)]


def format_rows(prompts: int, repeats: int, seed: int) -> Iterator[Row]:
    """Yield a row for each format.

    Raises
    ------
    SystemExit
        A prompt did not come out as it went in.
    """
    rows = flat_rows(prompts, seed)
    asked = [row["prompt"] for row in rows]
    with TemporaryDirectory() as folder:
        for name, path in files(rows, Path(folder)):
            if read_by_us(path)["prompt"].to_pylist() != asked:
                raise SystemExit(f"traffic-formats, {name}: expected every prompt to come out, got others")
            ways: tuple[Callable[[Path], object], ...] = (read_by_us, read_by_duckdb, read_by_polars)
            ours, duck, polars = cpu_seconds([partial(way, path) for way in ways], repeats)
            made: Row = {
                "op": "read_traffic",
                "case": name,
                "baseline": "DuckDB read_json or read_parquet on one thread",
                "rows": prompts,
                "bytes": path.stat().st_size,
                "repeats": repeats,
                "cpu_s": round(ours, 6),
                "rows_per_cpu_s": round(prompts / ours),
                "mb_per_cpu_s": round(path.stat().st_size / ours / 1e6, 1),
                "duckdb_cpu_s": round(duck, 6),
                "duckdb_mb_per_cpu_s": round(path.stat().st_size / duck / 1e6, 1),
                "polars_cpu_s": round(polars, 6),
                "polars_mb_per_cpu_s": round(path.stat().st_size / polars / 1e6, 1),
                "share_of_duckdb": float(f"{duck / ours:.4g}"),
            }
            yield made | against(HALF_OF_DUCKDB if name in ("jsonl", "parquet") else NESTED, made)


def benchmark(
    prompts: Annotated[int, typer.Option("--prompts", min=100, help="Prompts of each file.")] = 200_000,
    repeats: RepeatsOption = 3,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the reading of every format."""
    write("traffic-formats", format_rows(prompts, repeats, seed), out=out)
