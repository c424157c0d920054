"""How well harvests that are split over many accounts are found as one.

    scripts/bench campaigns-found CORPORA --out campaigns.jsonl

One traffic of ordinary accounts of five kinds, evaluation runs and red teams, with harvests split over 5,
20 and 100 accounts at random, by chunk and by topic, some mixed half with ordinary traffic of each
account's own, and task customers with 5 and 20 keys. `linked` is the share of splits for which a proposed
group that is linked has at least 80% of the accounts and at most 5% of another source; `watched`, for which
that group is a campaign for watch or review too. Groups are proposed and linked by the encoder alone, which
knows no corpus. The shipped scorecard does know these corpora, so `watched` is better than it would be for
strangers: `coverage-lab evaluate` has those figures, account by account. The row `no harvest` counts groups
without any harvest in them, of all groups.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN, HDBSCAN

from benchmarks.options import CorporaArgument, OutOption, SeedOption
from benchmarks.rows import Row, write
from coverage_lab.accounts import AccountStates, trace_prompts
from coverage_lab.accounts.table import states_from_table, states_to_table
from coverage_lab.campaigns.find import find_campaigns
from coverage_lab.campaigns.link import LinkTest
from coverage_lab.campaigns.propose import propose_groups
from coverage_lab.campaigns.sketch import Sketches, sketches_of
from coverage_lab.config import CampaignsConfig, RunConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.fdr import adjusted_p
from coverage_lab.detect.load import load_judge, resolve_config
from coverage_lab.evaluate.corpora import load_corpora
from coverage_lab.evaluate.prompt_pool import build_prompt_pool
from coverage_lab.evaluate.replayed_day import traffic_of
from coverage_lab.evaluate.sampler import SPLIT_WAYS, AccountSampler, SampledAccount
from coverage_lab.schema import TRAFFIC

#: Ordinary accounts, in hundredths of them.
MIX = {
    "task": 38,
    "product": 24,
    "person": 16,
    "payload": 8,
    "multi_tenant": 7,
    "evaluation_run": 4,
    "red_team": 3,
}
#: Splits of each way, by how many accounts; and prompts of an account at most.
SPLITS = {5: 8, 20: 4, 100: 2}
MOST_PROMPTS = 200
FOUND, STRANGERS = 0.8, 0.05
#: Neighbourhoods of DBSCAN on cosine distances between mean vectors; the best is told.
RADII = (0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Named:
    """An account to be, and the split that it is of; "" = ordinary."""

    plan: SampledAccount
    split: str


def accounts_of(sampler: AccountSampler, small: AccountSampler, ordinary: int, seed: int) -> list[Named]:
    """Draw all accounts of a traffic."""
    rng = np.random.default_rng(seed)
    found = [
        Named(plan, "")
        for kind, share in MIX.items()
        for _ in range(max(1, ordinary * share // 100))
        for plan in sampler.draw(kind)
    ]
    for way in SPLIT_WAYS:
        for parts, count in SPLITS.items():
            for number in range(count):
                found += [
                    Named(plan, f"split_{parts}_{way} #{number}")
                    for plan in small.draw("harvest", f"split_{parts}_{way}")
                ]
    for parts in (5, 20):
        for number in range(SPLITS[parts]):
            for plan in small.draw("harvest", f"split_{parts}_random"):
                own = sampler.draw("task")[0]
                rows = rng.permutation(np.concatenate([plan.rows, own.rows[: len(plan.rows)]]))
                mixed = replace(plan, rows=rows, corpora=(*plan.corpora, *own.corpora))
                found.append(Named(mixed, f"split_{parts}_random_mixed_50 #{number}"))
        for number in range(SPLITS[parts]):
            whole = next(p for _ in range(99) for p in sampler.draw("task") if len(p.rows) >= 50 * parts)
            shares = np.array_split(rng.permutation(whole.rows), parts)
            found += [
                Named(replace(whole, rows=rows[:MOST_PROMPTS]), f"keys_{parts} #{number}") for rows in shares
            ]
    return found


def traced(traffic: pa.Table, judge: Judge) -> AccountStates:
    """States of a traffic's accounts."""
    columns = {
        field.name: traffic[field.name]
        if field.name in traffic.column_names
        else pa.nulls(len(traffic), field.type)
        for field in TRAFFIC
    }
    columns |= {
        "source": pa.array(np.zeros(len(traffic), np.int32)),
        "row": pa.array(np.arange(len(traffic))),
    }
    return trace_prompts(pa.table(columns, schema=TRAFFIC), judge.encoder, judge.atlas)


def is_found(groups: Sequence[set[int]], members: set[int], source: set[int]) -> bool:
    """Whether a group has enough of a split's accounts and few that are of another source."""
    return any(
        len(group & members) >= FOUND * len(members) and len(group - source) <= STRANGERS * len(group)
        for group in groups
    )


def found_rows(corpora: Path, ordinary: int, rows: int, seed: int) -> Iterator[Row]:
    """Yield a row for each kind of split, and one for groups without a harvest."""
    read = load_corpora(corpora)
    names = [corpus.name for corpus in read]
    pool = build_prompt_pool(
        read, rows=rows, fold=dict.fromkeys(names, 0), cluster={name: name for name in names}
    )

    def size(rng: np.random.Generator, most: int) -> int:
        return int(min(np.clip(np.exp(rng.normal(np.log(250), 0.7)), 60, 1500), most))

    sampler = AccountSampler(pool, fold=None, size=size, seed=seed)
    longer = AccountSampler(pool, fold=None, size=lambda _, most: min(most, MOST_PROMPTS), seed=seed + 1)
    drawn = accounts_of(sampler, longer, ordinary, seed)
    day = traffic_of(pool, [one.plan for one in drawn], date=datetime.date(2026, 1, 15), seed=seed)
    judge = load_judge(resolve_config(RunConfig()), threads=1)
    states = traced(day.traffic, judge)
    sketches = sketches_of(states)
    start = time.process_time()
    among = sketches.comparable()
    proposed = propose_groups(sketches.first, among, least=CampaignsConfig().min_accounts, most=5000)
    test = LinkTest(sketches.second, among)
    q = adjusted_p(np.array([test.test(group).p_value for group in proposed]))
    linked = [set(group.tolist()) for group, value in zip(proposed, q, strict=True) if value <= 0.01]
    spent = time.process_time() - start
    table = states_to_table(states)

    def states_of(ids: Sequence[str]) -> AccountStates:
        mine = pc.is_in(table["account_id"], value_set=pa.array(ids, pa.large_string()))
        return states_from_table(table.filter(mine), dim=judge.encoder.dim)

    found = find_campaigns(sketches, states_of, judge, CampaignsConfig(), config_id="")
    place = {name: i for i, name in enumerate(states.account_ids)}
    verdicts = {row["campaign"]: row["verdict"] for row in found.campaigns.to_pylist()}
    watched: dict[str, set[int]] = {}
    for row in found.members.to_pylist():
        if verdicts[row["campaign"]] in ("review", "watch"):
            watched.setdefault(row["campaign"], set()).add(place[row["account_id"]])
    methods = {"linked": linked, "watched": list(watched.values())} | clusters(sketches)
    splits: dict[str, set[int]] = {}
    for i, one in enumerate(drawn):
        if one.split:
            splits.setdefault(one.split, set()).add(i)
    of_source: dict[str, set[int]] = {}
    for i, one in enumerate(drawn):
        of_source.setdefault(one.plan.corpora[0], set()).add(i)
    harvested = {i for i, one in enumerate(drawn) if one.plan.kind == "harvest"}
    about: Row = {
        "op": "campaigns",
        "baseline": "HDBSCAN and DBSCAN on mean vectors",
        "accounts": len(drawn),
        "prompts": len(states.digests),
        "seed": seed,
    }
    for rung in dict.fromkeys(name.split(" #")[0] for name in splits):
        mine = [members for name, members in splits.items() if name.split(" #")[0] == rung]
        yield about | {
            "case": rung,
            "splits": len(mine),
            **{
                method: sum(
                    is_found(groups, members, of_source[drawn[min(members)].plan.corpora[0]])
                    for members in mine
                )
                / len(mine)
                for method, groups in methods.items()
            },
        }
    yield about | {
        "case": "no harvest",
        **{
            method: [sum(not group & harvested for group in groups), len(groups)]
            for method, groups in methods.items()
        },
        "cpu_seconds": round(spent, 1),
    }


def clusters(sketches: Sketches) -> dict[str, list[set[int]]]:
    """Groups by clustering mean vectors: what is done without sketches in halves or a link test."""
    sums = sketches.first.content + sketches.second.content
    mean = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    found = {"hdbscan": _sets(HDBSCAN(min_cluster_size=3, copy=True).fit_predict(mean))}
    for radius in RADII:
        labels = DBSCAN(eps=radius, min_samples=3, metric="cosine").fit_predict(mean)
        found[f"dbscan_{radius}"] = _sets(labels)
    return found


def _sets(labels: NDArray[np.int64]) -> list[set[int]]:
    return [set(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels) if label >= 0]


def benchmark(
    corpora: CorporaArgument,
    ordinary: Annotated[int, typer.Option("--ordinary", min=25, help="Ordinary accounts, about.")] = 400,
    rows: Annotated[int, typer.Option("--rows", min=200, help="Prompts of a corpus at most.")] = 12_000,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Split harvests among ordinary accounts and look for them."""
    write("campaigns-found", found_rows(corpora, ordinary, rows, seed), out=out)
