"""CPU seconds of judging the merged states of `--days` days against those of one, `static`, one thread.

    scripts/bench job-window --accounts 60

Each day is another simulated one, whose accounts take the names of the first's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from threadpoolctl import threadpool_limits

from benchmarks.options import OutOption, RepeatsOption, SeedOption
from benchmarks.rows import Row, quantiles, write
from coverage_lab.accounts import AccountStates, merge, trace_prompts
from coverage_lab.config import RunConfig
from coverage_lab.detect import judge_states
from coverage_lab.detect.load import load_judge
from coverage_lab.schema import TRAFFIC
from coverage_lab.simulate import simulate_day

DAY_US = 86_400_000_000
STATIC = RunConfig.model_validate({"encoder": {"name": "static"}, "job": {"threads": 1}})


def window_rows(accounts: int, days: int, repeats: int, seed: int) -> Iterator[Row]:
    """Yield a row for one day and one for all of them."""
    judge = load_judge(STATIC, threads=1)
    states: list[AccountStates] = []
    for day in range(days):
        traffic = as_traffic(simulate_day(seed=seed + day, accounts=accounts).traffic)
        found = trace_prompts(traffic, judge.encoder, judge.atlas)
        names = tuple(f"account {number:06d}" for number in range(len(found.account_ids)))
        states.append(replace(found, account_ids=names, timestamps=found.timestamps + day * DAY_US))
    baseline = 0.0
    for window in (1, days):
        merging, judging = [], []
        for _ in range(repeats + 1):
            start = time.process_time()
            merged = merge(states[:window])
            between = time.process_time()
            with threadpool_limits(1):
                judged = judge_states(merged, judge)
            merging.append(between - start)
            judging.append(time.process_time() - between)
        each = statistics.median(judging[1:]) / len(merged.account_ids)
        prompts = int(merged.prompts.sum())
        yield {
            "op": "judge, window",
            "case": "1 day" if window == 1 else f"{window} days merged",
            "accounts": len(merged.account_ids),
            "prompts": prompts,
            "flagged": judged.flags.num_rows,
            "repeats": repeats,
            "merge_cpu_s": statistics.median(merging[1:]),
            **{f"judge_cpu_{name}": value for name, value in quantiles(judging[1:]).items()},
            "judge_us_a_prompt": round(1e6 * each * len(merged.account_ids) / prompts, 2),
            "baseline": "1 day",
            "slowdown": round(each / (baseline := baseline or each), 2),
        }


def as_traffic(day: pa.Table) -> pa.Table:
    """Give a simulated day the columns that reading adds."""
    columns = {field.name: pa.nulls(day.num_rows, field.type) for field in TRAFFIC}
    columns |= {name: day[name] for name in day.column_names}
    columns["source"] = pa.array(np.zeros(day.num_rows, np.int32))
    columns["row"] = pa.array(np.arange(day.num_rows))
    return pa.table(columns, schema=TRAFFIC)


def benchmark(
    accounts: Annotated[int, typer.Option("--accounts", min=20, help="Of each simulated day.")] = 100,
    days: Annotated[int, typer.Option("--days", min=2, help="Days that are merged.")] = 30,
    repeats: RepeatsOption = 3,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the judging of a window."""
    write("job-window", window_rows(accounts, days, repeats, seed), out=out)
