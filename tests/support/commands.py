"""Calling the command line in this process, other Python processes, and traffic files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coverage_lab import cli

TABLES = ("accounts", "curves", "cells", "flags", "quarantine")


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    """Run `coverage-lab ARGUMENTS`; returns exit code, stdout, stderr."""
    before = sys.argv
    sys.argv = ["coverage-lab", *map(str, arguments)]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def search_path() -> str:
    """`PYTHONPATH` with which another process imports all that this one can, `support` too."""
    return os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, sys.path)])


def python(
    code: str, *arguments: object, environment: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run code in a Python process of its own, with more environment variables if told; returns its end."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"PYTHONPATH": search_path()} | dict(environment or {}),
        check=False,
    )


WORDS = tuple(
    "river contract oven matrix violin tax nurse python galaxy bread visa glacier poem router vaccine chess "  # noqa: SIM905
    "loan orchid enzyme saddle tariff sonnet kernel lantern harbour".split()
)


def some_traffic(accounts: int = 6, prompts: int = 60, *, seed: int = 0) -> pa.Table:
    """Plain traffic of our own words: `account_id`, `timestamp`, `prompt`."""
    rng = np.random.default_rng(seed)
    rows = [(f"acct-{a}", a * 1000 + i) for a in range(accounts) for i in range(prompts)]
    texts = [f"How do I explain {' and '.join(rng.choice(WORDS, 3))} to a beginner?" for _ in rows]
    start = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
    return pa.table(
        {
            "account_id": [account for account, _ in rows],
            "timestamp": pa.array(
                [start + second * 1_000_000 for _, second in rows], pa.timestamp("us", "UTC")
            ),
            "prompt": texts,
        }
    )


def write(table: pa.Table, path: Path) -> Path:
    """Write a Parquet file and return its path."""
    pq.write_table(table, path)
    return path


def tables(folder: Path) -> dict[str, bytes]:
    """The bytes of every table of a run."""
    return {name: (folder / f"{name}.parquet").read_bytes() for name in TABLES}
