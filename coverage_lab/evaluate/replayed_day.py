"""A folder of corpora → a day of traffic whose prompts nobody on this project wrote."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.corpora import load_corpora
from coverage_lab.evaluate.prompt_pool import PromptPool, build_prompt_pool
from coverage_lab.evaluate.sampler import MIXED, AccountSampler, SampledAccount
from coverage_lab.progress import Progress, silent
from coverage_lab.simulate import SimulatedDay

#: Share of each kind among the accounts of a day; harvests are rare in life, these are for measuring.
DAY_MIX: Mapping[tuple[str, str], float] = {
    ("task", ""): 0.24,
    ("payload", ""): 0.08,
    ("product", ""): 0.20,
    ("person", ""): 0.14,
    ("multi_tenant", ""): 0.07,
    ("evaluation_run", ""): 0.08,
    ("red_team", ""): 0.04,
    ("harvest", "in_order"): 0.04,
    ("harvest", "shuffled"): 0.04,
    ("harvest", "mixed_50"): 0.04,
    ("harvest", "split_5_random"): 0.03,
}

#: Prompts of a corpus that a day draws from.
_ROWS = 12_000


def _size(rng: np.random.Generator, most: int) -> int:
    """Lognormal around 350 prompts, 60 to 3,000, as far as a corpus reaches."""
    return int(min(np.clip(np.exp(rng.normal(np.log(350), 0.8)), 60, 3000), most))


def day_of_corpora(
    folder: Path, *, accounts: int, seed: int, date: datetime.date, progress: Progress = silent
) -> SimulatedDay:
    """Build a day of traffic from a folder of corpora; its truth also names each account's corpora.

    Parameters
    ----------
    accounts : int
        About how many; a split harvest always comes whole, as five accounts. Kinds whose corpora are not
        there are left out.

    Raises
    ------
    ConfigError
        `seed` is below 0.
    TrafficError
        The folder has no corpora, or one can't be read.
    """
    if seed < 0:
        raise ConfigError(f"seed: expected 0 or more, got {seed}")
    corpora = load_corpora(folder)
    pool = build_prompt_pool(
        corpora,
        rows=_ROWS,
        fold=dict.fromkeys((c.name for c in corpora), 0),
        cluster={c.name: c.name for c in corpora},
    )
    sampler = AccountSampler(pool, fold=None, size=_size, seed=seed)
    mix = {kind: share for kind, share in DAY_MIX.items() if sampler.can(*kind)}
    sampled: list[SampledAccount] = []
    for kind, share in mix.items():
        wanted = len(sampled) + max(1, round(accounts * share / sum(mix.values())))
        while len(sampled) < wanted:
            sampled += sampler.draw(*kind)
        progress("draw accounts", len(sampled), accounts)
    # Accounts are numbered in their order: it must not tell who is who.
    order = np.random.default_rng((seed, 1)).permutation(len(sampled))
    return traffic_of(pool, [sampled[i] for i in order], date=date, seed=seed)


def traffic_of(
    pool: PromptPool, sampled: Sequence[SampledAccount], *, date: datetime.date, seed: int
) -> SimulatedDay:
    """Give sampled accounts their times; traffic is sorted by time, ready for `coverage-lab run`."""
    rng = np.random.default_rng(seed)
    midnight = int(datetime.datetime.combine(date, datetime.time(), datetime.UTC).timestamp() * 1e6)
    ids: list[str] = []
    prompts: list[str] = []
    users: list[str | None] = []
    times = []
    for number, account in enumerate(sampled):
        size = len(account.rows)
        ids += [_name(number)] * size
        prompts += [pool.texts[row] for row in account.rows]
        users += account.end_users or [None] * size
        times.append(np.sort(rng.integers(0, 86_400_000_000, size)))
    stamps = midnight + np.concatenate(times)
    table = pa.table(
        {
            "account_id": pa.array(ids, pa.large_string()),
            "timestamp": pa.array(stamps, pa.timestamp("us", "UTC")),
            "prompt": pa.array(prompts, pa.large_string()),
            "end_user": pa.array(users, pa.large_string()),
        }
    )
    truth = pa.table(
        {
            "account_id": [_name(number) for number in range(len(sampled))],
            "kind": [_told(account) for account in sampled],
            "group": pa.array(
                [f"campaign-{account.campaign}" if account.campaign >= 0 else None for account in sampled],
                pa.string(),
            ),
            "corpora": [list(account.corpora) for account in sampled],
        }
    )
    return SimulatedDay(traffic=table.take(pa.array(np.argsort(stamps, kind="stable"))), truth=truth)


def _name(number: int) -> str:
    return f"acct-{number:05d}"


def _told(account: SampledAccount) -> str:
    """Kind of account in the words of the truth table."""
    if account.campaign >= 0:
        return "split_harvest"
    return "mixed_harvest" if account.rung in MIXED else account.kind
