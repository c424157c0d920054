"""A folder of prompt corpora → accounts: a day of traffic whose prompts nobody on this project wrote.

Corpora are Parquet files `<kind>_<name>.parquet` with a column `prompt` and, where the source has it,
`user`. Kinds: A harvest, B benchmark, C red-team research, D task use, E people
talking to chatbots.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coverage_lab.errors import TrafficError
from coverage_lab.evaluate.simulate import SimulatedDay
from coverage_lab.progress import Progress, silent

KINDS = "ABCDE"

#: Share of each kind among the accounts of a day; harvests are rare in life, these are for measuring.
DAY_MIX: Mapping[str, float] = {
    "task": 0.24,
    "payload": 0.08,
    "product": 0.20,
    "person": 0.14,
    "multi_tenant": 0.07,
    "evaluation_run": 0.08,
    "red_team": 0.04,
    "harvest": 0.08,
    "mixed_harvest": 0.04,
    "split_harvest": 0.03,
}
BENIGN = ("task", "payload", "product", "person", "multi_tenant", "evaluation_run", "red_team")

SPLIT_OVER = 10

#: Constant instructions that a product puts around its users' content.
_WRAPPERS = (
    "Classify the text below as positive, negative or neutral. Answer with one word.\n\n{}",
    "Translate the following text into English. Keep names as they are.\n---\n{}\n---",
    "You are a support triage system. Return JSON with the keys intent and urgency.\nMessage: {}",
    "Summarise in one sentence for our weekly digest:\n\n{}",
    "Extract all dates, amounts and names as a list. Text: {}",
    'Does the text follow our community rules? Answer yes or no and quote the rule.\n\n"""{}"""',
)


@dataclass(frozen=True, eq=False)
class Corpus:
    """One corpus, in file order."""

    name: str
    kind: str
    prompts: tuple[str, ...]
    people: tuple[str | None, ...]  # who spoke, as far as the source says


@dataclass(frozen=True, eq=False)
class PlannedAccount:
    """One account of the day: what it sends, in order."""

    account_id: str
    kind: str
    corpora: tuple[str, ...]
    group: str | None
    prompts: tuple[str, ...]
    end_users: tuple[str | None, ...]


def load_corpora(folder: Path) -> list[Corpus]:
    """Read every `<kind>_<name>.parquet` of a folder.

    Raises
    ------
    TrafficError
        The folder has none, or one lacks the column `prompt`.
    """
    files = sorted(file for file in folder.glob("*.parquet") if file.name[:2] in {f"{k}_" for k in KINDS})
    if not files:
        raise TrafficError(f"corpora {folder}: no file named <kind>_<name>.parquet with kind one of {KINDS}")
    return [_corpus(file) for file in files]


def _corpus(file: Path) -> Corpus:
    table = pq.read_table(file)
    if "prompt" not in table.column_names:
        raise TrafficError(f"corpus {file.name}: no column 'prompt'")
    prompts = table["prompt"].to_pylist()
    people: list[str | None] = [None] * len(prompts)
    if "user" in table.column_names:
        people = table["user"].cast(pa.string()).to_pylist()
    kept = [(text, who) for text, who in zip(prompts, people, strict=True) if text and text.strip()]
    return Corpus(
        name=file.stem,
        kind=file.name[0],
        prompts=tuple(text for text, _ in kept),
        people=tuple(who for _, who in kept),
    )


def plan_accounts(
    corpora: Sequence[Corpus],
    *,
    accounts: int,
    seed: int,
    mix: Mapping[str, float] = DAY_MIX,
    prefix: str = "acct",
    progress: Progress = silent,
) -> list[PlannedAccount]:
    """Build accounts out of corpora.

    Parameters
    ----------
    accounts : int
        About how many; a split harvest always comes whole, as ten accounts.
    mix : mapping of kind → share
        Kinds whose corpora are not there are left out.

    Returns
    -------
    list of PlannedAccount
        Sizes are lognormal around 350 prompts (60 to 3,000), as far as a corpus reaches.
    """
    rng = np.random.default_rng(seed)
    builder = _Builder(corpora, rng)
    kinds = [kind for kind in mix if builder.can(kind)]
    wanted = {kind: max(1, round(accounts * mix[kind] / sum(mix[k] for k in kinds))) for kind in kinds}
    planned: list[PlannedAccount] = []
    for kind in kinds:
        made = 0
        while made < wanted[kind]:
            batch = builder.build(kind)
            for corpora_used, group, prompts, end_users in batch:
                planned.append(
                    PlannedAccount(
                        account_id=f"{prefix}-{len(planned):05d}",
                        kind=kind,
                        corpora=corpora_used,
                        group=group,
                        prompts=tuple(prompts),
                        end_users=tuple(end_users),
                    )
                )
            made += len(batch)
            progress("plan accounts", len(planned), accounts)
    return planned


_Built = tuple[tuple[str, ...], str | None, list[str], list[str | None]]


class _Builder:
    """Draws accounts of each kind from the corpora."""

    def __init__(self, corpora: Sequence[Corpus], rng: np.random.Generator) -> None:
        self._rng = rng
        self._by_kind = {kind: [c for c in corpora if c.kind == kind] for kind in KINDS}
        self._people = _people(corpora)
        self._groups = 0
        self._make: dict[str, Callable[[], list[_Built]]] = {
            "task": self._task,
            "payload": self._payload,
            "product": self._product,
            "person": self._person,
            "multi_tenant": self._multi_tenant,
            "evaluation_run": self._evaluation_run,
            "red_team": self._red_team,
            "harvest": self._harvest,
            "mixed_harvest": self._mixed_harvest,
            "split_harvest": self._split_harvest,
        }
        self._needs = dict(zip(self._make, ("D", "D", "D", "", "E", "B", "C", "A", "AD", "A"), strict=True))

    def can(self, kind: str) -> bool:
        if kind == "person":
            return bool(self._people)
        return all(self._by_kind[needed] for needed in self._needs[kind])

    def build(self, kind: str) -> list[_Built]:
        """Draw one account (a split harvest: ten). Clients of every kind send some prompts twice."""
        return [
            (used, group, prompts if kind == "person" else self._with_retries(prompts), end_users)
            for used, group, prompts, end_users in self._make[kind]()
        ]

    def _size(self, most: int) -> int:
        wanted = float(np.exp(self._rng.normal(np.log(350), 0.8)))
        return int(min(np.clip(wanted, 60, 3000), most))

    def _pick(self, kind: str, *, least: int = 60) -> Corpus:
        fit = [c for c in self._by_kind[kind] if len(c.prompts) >= least] or self._by_kind[kind]
        return fit[int(self._rng.integers(len(fit)))]

    def _rows(self, corpus: Corpus, size: int, *, in_order: bool) -> NDArray[np.int64]:
        total = len(corpus.prompts)
        size = min(size, total)
        if in_order:
            start = int(self._rng.integers(total - size + 1))
            return np.arange(start, start + size)
        return self._rng.permutation(total)[:size]

    def _from(self, corpus: Corpus, *, in_order: bool, size: int | None = None) -> list[str]:
        size = self._size(len(corpus.prompts)) if size is None else size
        return [corpus.prompts[i] for i in self._rows(corpus, size, in_order=in_order)]

    def _task(self) -> list[_Built]:
        corpus = self._pick("D")
        # Customers' questions arrive mixed; a batch job sends a file in its order.
        prompts = self._from(corpus, in_order=bool(self._rng.random() < 0.3))
        return [((corpus.name,), None, prompts, [None] * len(prompts))]

    def _payload(self) -> list[_Built]:
        corpus = self._pick("D")
        wrapper = _WRAPPERS[int(self._rng.integers(len(_WRAPPERS)))]
        prompts = [wrapper.format(text) for text in self._from(corpus, in_order=self._rng.random() < 0.5)]
        return [((corpus.name,), None, prompts, [None] * len(prompts))]

    def _product(self) -> list[_Built]:
        purposes = [self._pick("D") for _ in range(int(self._rng.integers(2, 7)))]
        size = self._size(3000)
        streams = [self._from(c, in_order=False, size=size) for c in purposes]
        weights = self._rng.dirichlet(np.ones(len(streams)))
        prompts: list[str] = []
        current = 0
        taken = [0] * len(streams)
        while len(prompts) < size:
            if self._rng.random() < 0.15 or taken[current] >= len(streams[current]):
                current = int(self._rng.choice(len(streams), p=weights))
            if taken[current] < len(streams[current]):
                prompts.append(streams[current][taken[current]])
                taken[current] += 1
            elif sum(taken) >= sum(map(len, streams)):
                break
        used = tuple(dict.fromkeys(c.name for c in purposes))
        return [(used, None, prompts, [None] * len(prompts))]

    def _with_retries(self, prompts: list[str]) -> list[str]:
        """Send some prompts again in the place of the next one: time-outs do not ask what a client is for."""
        again = self._rng.random(len(prompts)) < self._rng.uniform(0, 0.05)
        return [prompts[i - 1] if i and again[i] else text for i, text in enumerate(prompts)]

    def _person(self) -> list[_Built]:
        name, prompts = self._people[int(self._rng.integers(len(self._people)))]
        size = self._size(len(prompts))
        start = int(self._rng.integers(len(prompts) - size + 1))
        return [((name,), None, list(prompts[start : start + size]), [None] * size)]

    def _multi_tenant(self) -> list[_Built]:
        tenants = [self._pick("E") for _ in range(int(self._rng.integers(1, 4)))]
        size = self._size(3000)
        pool = [text for corpus in tenants for text in self._from(corpus, in_order=False, size=size)]
        prompts = [pool[i] for i in self._rng.permutation(len(pool))[:size]]
        named = self._rng.random() < 0.5
        users = self._rng.zipf(1.6, len(prompts)) % max(20, size // 8)
        end_users = [f"user-{u}" if named else None for u in users]
        return [(tuple(dict.fromkeys(c.name for c in tenants)), None, prompts, list(end_users))]

    def _evaluation_run(self) -> list[_Built]:
        corpus = self._pick("B")
        prompts = self._from(corpus, in_order=True)
        return [((corpus.name,), None, prompts, [None] * len(prompts))]

    def _red_team(self) -> list[_Built]:
        corpus = self._pick("C")
        prompts = self._from(corpus, in_order=bool(self._rng.random() < 0.5))
        return [((corpus.name,), None, prompts, [None] * len(prompts))]

    def _harvest(self) -> list[_Built]:
        corpus = self._pick("A")
        prompts = self._from(corpus, in_order=bool(self._rng.random() < 0.5))
        return [((corpus.name,), None, prompts, [None] * len(prompts))]

    def _mixed_harvest(self) -> list[_Built]:
        bank, cover = self._pick("A"), self._pick("D")
        size = self._size(2 * min(len(bank.prompts), len(cover.prompts)))
        half = [self._from(c, in_order=False, size=size // 2) for c in (bank, cover)]
        both = half[0] + half[1]
        prompts = [both[i] for i in self._rng.permutation(len(both))]
        return [((bank.name, cover.name), None, prompts, [None] * len(prompts))]

    def _split_harvest(self) -> list[_Built]:
        corpus = self._pick("A", least=60 * SPLIT_OVER)
        self._groups += 1
        total = min(len(corpus.prompts), SPLIT_OVER * self._size(1200))
        rows = self._rows(corpus, total, in_order=True)
        share = self._rng.permutation(np.arange(len(rows)) % SPLIT_OVER)
        group = f"campaign-{self._groups}"
        return [
            ((corpus.name,), group, prompts, [None] * len(prompts))
            for prompts in ([corpus.prompts[i] for i in rows[share == part]] for part in range(SPLIT_OVER))
        ]


def _people(corpora: Sequence[Corpus]) -> list[tuple[str, tuple[str, ...]]]:
    """Whole persons with at least 60 prompts, from task corpora that name their users."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for corpus in corpora:
        if corpus.kind != "D":
            continue
        spoken: dict[str, list[str]] = {}
        for text, who in zip(corpus.prompts, corpus.people, strict=True):
            if who is not None:
                spoken.setdefault(who, []).append(text)
        found += [(corpus.name, tuple(texts)) for _, texts in sorted(spoken.items()) if len(texts) >= 60]
    return found


def day_of_corpora(
    folder: Path, *, accounts: int, seed: int, date: datetime.date, progress: Progress = silent
) -> SimulatedDay:
    """Build a day of traffic from a folder of corpora; its truth also names each account's corpora."""
    planned = plan_accounts(load_corpora(folder), accounts=accounts, seed=seed, progress=progress)
    return traffic_of(planned, date=date, seed=seed)


def traffic_of(planned: Sequence[PlannedAccount], *, date: datetime.date, seed: int) -> SimulatedDay:
    """Give planned accounts their times; traffic is sorted by time, ready for `coverage-lab run`."""
    rng = np.random.default_rng(seed)
    midnight = int(datetime.datetime.combine(date, datetime.time(), datetime.UTC).timestamp() * 1e6)
    ids: list[str] = []
    prompts: list[str] = []
    users: list[str | None] = []
    times = []
    for account in planned:
        size = len(account.prompts)
        ids += [account.account_id] * size
        prompts += account.prompts
        users += account.end_users
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
            "account_id": [a.account_id for a in planned],
            "kind": [a.kind for a in planned],
            "group": pa.array([a.group for a in planned], pa.string()),
            "corpora": [list(a.corpora) for a in planned],
        }
    )
    return SimulatedDay(traffic=table.take(pa.array(np.argsort(stamps, kind="stable"))), truth=truth)
