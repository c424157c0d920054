"""A day of sample traffic, its truth apart."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coverage_lab.errors import ConfigError, OutputError
from coverage_lab.progress import Progress, silent
from coverage_lab.schema import TRAFFIC
from coverage_lab.simulate import kinds
from coverage_lab.simulate.kinds import SPLIT_OVER, Turn

#: One reseller, benchmark run, red team and harvest, ten accounts of the split one, and a few others.
MIN_ACCOUNTS = 20

_MAKERS: Mapping[str, Callable[[np.random.Generator], list[Turn]]] = {
    "task": kinds.task,
    "product": kinds.product,
    "person": kinds.person,
    "multi_tenant": kinds.multi_tenant,
    "evaluation_run": kinds.evaluation_run,
    "red_team": kinds.red_team,
    "harvest": kinds.harvest,
}
_ORDINARY = ("task", "product", "person")
#: One more of each of these for so many accounts.
_RARE = {"multi_tenant": 60, "evaluation_run": 80, "red_team": 80, "harvest": 80}
_SPLIT_EVERY = 200

_COLUMNS = (
    "account_id",
    "timestamp",
    "prompt",
    "request_id",
    "session",
    "end_user",
    "tokens_in",
    "tokens_out",
    "network_hash",
    "payment_hash",
    "system_prompt_hash",
)
_TRAFFIC = pa.schema([TRAFFIC.field(name) for name in _COLUMNS])
_TRUTH = pa.schema(
    [
        pa.field("account_id", pa.large_string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("group", pa.string()),
    ]
)


@dataclass(frozen=True)
class SimulatedDay:
    """A day's traffic, sorted by time, and what each account is: `kind`, and the `group` of a campaign."""

    traffic: pa.Table
    truth: pa.Table


@dataclass(frozen=True)
class _Account:
    kind: str
    group: str | None
    payment: str
    turns: list[Turn]


def _hash(rng: np.random.Generator) -> str:
    return hashlib.sha256(rng.bytes(16)).hexdigest()[:16]


def _plan(accounts: int) -> tuple[list[str], int]:
    """Kinds of the single accounts, and how many split harvests."""
    splits = max(1, accounts // _SPLIT_EVERY)
    rare = [kind for kind, every in _RARE.items() for _ in range(max(1, accounts // every))]
    ordinary = accounts - len(rare) - splits * SPLIT_OVER
    return rare + [_ORDINARY[i % len(_ORDINARY)] for i in range(ordinary)], splits


def _campaign(name: str, rng: np.random.Generator) -> list[_Account]:
    """Ten accounts that share a bank; some of them pay with the same card."""
    cards = [_hash(rng) for _ in range(SPLIT_OVER)]
    shared = cards[0]
    parts = kinds.split_harvest(rng)
    return [
        _Account("split_harvest", name, shared if i < 4 else cards[i], turns) for i, turns in enumerate(parts)
    ]


def _columns(account_id: str, account: _Account, midnight: int, rng: np.random.Generator) -> pa.Table:
    turns = sorted(account.turns, key=lambda turn: turn.second)
    count = len(turns)
    system = None if account.kind in {"harvest", "split_harvest", "person"} else _hash(rng)
    networks = [_hash(rng) for _ in range(3 if account.kind == "person" else 1 + int(rng.integers(0, 4)))]
    lengths = np.array([len(turn.prompt) for turn in turns])
    overhead = 0 if system is None else int(rng.integers(80, 900))
    values = {
        "account_id": [account_id] * count,
        "timestamp": [midnight + int(turn.second * 1_000_000) for turn in turns],
        "prompt": [turn.prompt for turn in turns],
        "request_id": [f"req-{rng.bytes(8).hex()}" for _ in turns],
        "session": [turn.session for turn in turns],
        "end_user": [turn.end_user for turn in turns],
        "tokens_in": overhead + np.ceil(lengths / 4.2).astype(np.int64),
        "tokens_out": np.clip(rng.lognormal(5.2, 0.8, count), 1, 4000).astype(np.int64),
        "network_hash": [networks[i] for i in rng.integers(0, len(networks), count)],
        "payment_hash": [account.payment] * count,
        "system_prompt_hash": [system] * count,
    }
    return pa.table([pa.array(values[field.name], field.type) for field in _TRAFFIC], schema=_TRAFFIC)


def simulate_day(
    *,
    seed: int = 0,
    accounts: int = 60,
    date: datetime.date = datetime.date(2026, 1, 15),
    progress: Progress = silent,
) -> SimulatedDay:
    """Compose a day of sample traffic from the project's own written generators.

    Parameters
    ----------
    seed
        Of every draw; the same seed, accounts and date give the same tables to the byte.
    accounts
        At least 20. One reseller, benchmark run, red team, harvest and one harvest split over ten accounts
        are always there (more of them from some eighty accounts up); the rest are customers with one
        task, products and people in equal parts.
    date
        The day, in UTC; all timestamps fall within it.
    progress
        Called per account.

    Returns
    -------
    SimulatedDay
        About 330 prompts an account, most of them in the few large accounts.

    Raises
    ------
    ConfigError
        Fewer than 20 accounts, or a negative seed.
    """
    if accounts < MIN_ACCOUNTS:
        raise ConfigError(f"accounts: expected at least {MIN_ACCOUNTS}, got {accounts}")
    if seed < 0:
        raise ConfigError(f"seed: expected 0 or more, got {seed}")
    single, splits = _plan(accounts)
    root = np.random.default_rng(seed)
    streams = iter(root.spawn(len(single) + splits + accounts))
    made: list[_Account] = []
    for kind in single:
        rng = next(streams)
        made.append(_Account(kind, None, _hash(rng), _MAKERS[kind](rng)))
        progress("simulate", len(made), accounts)
    for number in range(1, splits + 1):
        made += _campaign(f"campaign-{number}", next(streams))
        progress("simulate", len(made), accounts)

    start = datetime.datetime.combine(date, datetime.time(), tzinfo=datetime.UTC)
    midnight = (start - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(
        microseconds=1
    )
    # The ids are shuffled so that neither name nor order gives a kind away.
    ids = [f"acct-{number:05d}" for number in root.choice(100_000, size=accounts, replace=False)]
    tables = [
        _columns(name, account, midnight, next(streams)) for name, account in zip(ids, made, strict=True)
    ]
    traffic = pa.concat_tables(tables).combine_chunks()
    traffic = traffic.sort_by([("timestamp", "ascending"), ("request_id", "ascending")])
    truth = pa.table(
        [
            pa.array(ids, pa.large_string()),
            pa.array([account.kind for account in made], pa.string()),
            pa.array([account.group for account in made], pa.string()),
        ],
        schema=_TRUTH,
    )
    return SimulatedDay(traffic, truth.sort_by("account_id"))


def write_day(day: SimulatedDay, folder: Path) -> tuple[Path, Path]:
    """Write `folder`/traffic.parquet and `folder`/truth.parquet; the answer is never in the input.

    The folder is made where it is missing; files of these names in it are replaced.

    Raises
    ------
    OutputError
        The folder can't be made or written.
    """
    traffic, truth = folder / "traffic.parquet", folder / "truth.parquet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(day.traffic, traffic, compression="zstd")
        pq.write_table(day.truth, truth, compression="zstd")
    except OSError as error:
        raise OutputError(f"OUT {folder}: expected a writable folder: {error.strerror or error}") from error
    return traffic, truth
