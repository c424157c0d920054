"""Time and memory of proposing and testing groups among very many accounts.

    scripts/bench campaigns-scale --accounts 2000 --accounts 10000

Sketches are drawn, not encoded: every account has a topic of some hundreds, ground of its own, and the luck
of few prompts; a campaign of 20 accounts for every 5,000 accounts shares one source. `found` is the share of
campaigns of which one group that is linked has at least 16 accounts and no more than one other. Judging what
is linked as one account is not in it: that costs as much as judging so many accounts.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import typer

from benchmarks.options import OutOption, SeedOption
from benchmarks.rows import Row, write
from coverage_lab.campaigns.link import LinkTest
from coverage_lab.campaigns.propose import propose_groups
from coverage_lab.campaigns.sketch import OPENING_COLUMNS, Half, Sketches
from coverage_lab.config import CampaignsConfig
from coverage_lab.detect.fdr import adjusted_p

#: Length of the vectors, prompts of an account in each half, accounts of a campaign, and accounts for each.
DIM, PROMPTS, SPLIT, EVERY = 512, 50, 20, 5_000
_TOPICS = 400
_AT_ONCE = 20_000


def drawn_sketches(accounts: int, rng: np.random.Generator) -> tuple[Sketches, list[set[int]]]:
    """Sketches of so many accounts, and the campaigns among them."""
    widths = {"content": DIM, "openings": OPENING_COLUMNS}
    halves = [{kind: np.empty((accounts, width), np.float32) for kind, width in widths.items()} for _ in "12"]
    campaigns = max(1, accounts // EVERY)
    source = np.arange(accounts)
    members = rng.permutation(accounts)[: campaigns * SPLIT].reshape(campaigns, SPLIT)
    source[members] = members[:, :1]
    topic = rng.integers(0, _TOPICS, accounts)[source]
    for kind, width in widths.items():
        topics = rng.standard_normal((_TOPICS, width), np.float32) / np.sqrt(width)
        for start in range(0, accounts, _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            own = np.stack(
                [np.random.default_rng(int(i)).standard_normal(width, np.float32) for i in source[here]]
            )
            mean = 0.4 * topics[topic[here]] + 0.4 * own / np.sqrt(width)
            for half in halves:
                luck = rng.standard_normal(mean.shape, np.float32) * np.float32(
                    0.8 / np.sqrt(width * PROMPTS)
                )
                half[kind][here] = PROMPTS * (mean + luck)
    count = np.full(accounts, PROMPTS, np.int64)
    one, other = (Half(count, half["content"], half["openings"]) for half in halves)
    names = tuple(f"{i:08d}" for i in range(accounts))
    return Sketches(names, one, other), [set(row.tolist()) for row in members]


def scale_rows(accounts: list[int], seed: int) -> Iterator[Row]:
    """Yield a row for each number of accounts, the smallest first."""
    config = CampaignsConfig()
    first: float | None = None
    for count in sorted(accounts):
        sketches, campaigns = drawn_sketches(count, np.random.default_rng(seed))
        start, began = time.process_time(), time.perf_counter()
        among = sketches.comparable()
        proposed = propose_groups(sketches.first, among, least=config.min_accounts, most=config.max_accounts)
        halfway = time.process_time()
        test = LinkTest(sketches.second, among)
        q = adjusted_p(np.array([test.test(group).p_value for group in proposed]))
        spent = time.process_time() - start
        linked = [set(g.tolist()) for g, value in zip(proposed, q, strict=True) if value <= config.link_q]
        held = [sum(len(g & c) >= 16 and len(g - c) <= 1 for g in linked) for c in campaigns]
        first = first or spent / count
        yield {
            "op": "campaigns",
            "case": f"{count} accounts",
            "baseline": "the smallest number of accounts",
            "accounts": count,
            "cpu_seconds_propose": round(halfway - start, 1),
            "cpu_seconds": round(spent, 1),
            "seconds": round(time.perf_counter() - began, 1),
            "times_baseline_per_account": round(spent / count / first, 2),
            "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2),
            "proposed": len(proposed),
            "linked": len(linked),
            "found": sum(h > 0 for h in held) / len(campaigns),
        }


def benchmark(
    accounts: Annotated[
        list[int] | None, typer.Option("--accounts", min=1000, help="Accounts; may be given more than once.")
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Propose and test groups among drawn sketches."""
    write("campaigns-scale", scale_rows(accounts or [2_000, 10_000], seed), out=out)
