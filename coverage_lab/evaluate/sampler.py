"""PromptPool → accounts whose truth is known: seven benign kinds, and harvests more and less disguised.

An account is a list of rows of the pool, in the order of its time. Nothing here looks at vectors, so the
accounts are the same for every encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.feature_extraction.text import HashingVectorizer
from threadpoolctl import threadpool_limits

from coverage_lab.errors import ConfigError
from coverage_lab.evaluate.prompt_pool import PromptPool

Rows = NDArray[np.int64]

#: Rungs of a harvest that one account makes alone, without ordinary traffic in it.
PURE = ("in_order", "shuffled", "deduplicated", "paced", "trace_template")
#: Per cent of ordinary traffic that a harvest is mixed with.
MIXED = {"mixed_50": 50, "mixed_75": 75, "mixed_90": 90}
#: How many accounts a harvest is split over, and how.
SPLIT_PARTS = (5, 20, 100)
SPLIT_WAYS = ("random", "chunk", "topic")
SPLIT = tuple(f"split_{parts}_{way}" for parts in SPLIT_PARTS for way in SPLIT_WAYS)

#: Fewer prompts than this can't be judged; smaller corpora are passed over where others are there.
LEAST = 50
#: Chance that a product's next prompt belongs to another of its purposes.
_SWITCH = 0.15
#: Clients of every kind send up to this share of prompts twice: time-outs do not ask what a client is for.
_RETRIES = 0.05
#: A paced harvest takes stretches of its pool, one a day, from all over.
_DAYS = 20


@dataclass(frozen=True, eq=False)
class SampledAccount:
    """One account that was drawn from the corpora.

    Attributes
    ----------
    kind : str
        One of `scored_accounts.KINDS`.
    rung : str
        Of harvests; "" of benign accounts.
    corpora : tuple of str
        The first is the one that the account counts for.
    rows : int64 (n,)
        Prompts in the order of time.
    campaign : int
        Accounts of one split harvest share a number, from 1 in each `AccountSampler`; −1 of the others.
    end_users : tuple of (str or None), or None
        Who spoke, of multi-tenant accounts that say so.
    """

    kind: str
    rung: str
    corpora: tuple[str, ...]
    rows: Rows
    campaign: int = -1
    end_users: tuple[str | None, ...] | None = None


#: From the most prompts that there are to the prompts of the next account.
Size = Callable[[np.random.Generator, int], int]


class AccountSampler:
    """Draws accounts from the corpora of one fold, or of all."""

    def __init__(self, pool: PromptPool, *, fold: int | None, size: Size, seed: int) -> None:
        """Take the corpora of `fold` (None = of all) and the size of accounts."""
        self._bank = pool
        self._size = size
        self._rng = np.random.default_rng(seed if fold is None else (seed, fold))
        names = {kind: pool.names(kind, fold) for kind in "ABCDE"}
        here = {name for group in names.values() for name in group}
        self._sources: dict[str, list[tuple[str, Rows]]] = {
            "task": [(name, pool.corpora[name]) for name in names["D"]],
            "multi_tenant": [(name, pool.corpora[name]) for name in names["E"]],
            "evaluation_run": [(name, pool.corpora[name]) for name in names["B"]],
            "red_team": [(name, pool.corpora[name]) for name in names["C"]],
            "harvest": [(name, pool.corpora[name]) for name in names["A"]],
            "payload": [(name, rows) for name, rows in pool.payload if name in here],
            "trace_template": [(name, rows) for name, rows in pool.trace if name in here],
            "person": [(name, rows) for name, rows in pool.people if name in here],
        }
        self._turn: dict[str, int] = {}
        self._campaigns = 0

    def can(self, kind: str, rung: str = "") -> bool:
        """Tell whether the corpora that such an account needs are here.

        A product needs two purposes, a harvest that is split so many prompts that each part can be judged.
        """
        if rung in SPLIT:
            return bool(self._long("harvest", LEAST * _parts(rung)))
        if kind == "product":
            return len(self._long("task", LEAST) or self._sources["task"]) >= 2
        if rung == "trace_template":
            return bool(self._sources["trace_template"])
        needed = ("harvest", "task") if rung in MIXED else (kind,)
        return all(self._sources[source] for source in needed)

    def draw(self, kind: str, rung: str = "") -> list[SampledAccount]:
        """Draw one account; a split harvest comes whole, as all of its accounts.

        Parameters
        ----------
        kind : str
            One of `scored_accounts.KINDS`.
        rung : str
            Of a harvest: one of `PURE`, `MIXED` or `SPLIT`.

        Raises
        ------
        ConfigError
            The corpora that it needs are not here.
        """
        if not self.can(kind, rung):
            raise ConfigError(f"corpora: none to make an account of kind {kind} {rung}".rstrip())
        if rung in SPLIT:
            return self._split(rung)
        if rung in MIXED:
            return [self._mixed(rung)]
        if kind == "multi_tenant":
            return [self._multi_tenant()]
        if kind == "harvest":
            account = self._pure(rung)
        elif kind == "product":
            account = self._product()
        else:
            name, rows = self._next(kind)
            in_order = {"person": 1.0, "evaluation_run": 1.0, "task": 0.3}.get(kind, 0.5)
            wanted = self._size(self._rng, len(rows))
            account = SampledAccount(
                kind, "", (name,), self._taken(rows, wanted, in_order=self._rng.random() < in_order)
            )
        return [account if kind == "person" else replace(account, rows=self._retried(account.rows))]

    def _next(self, source: str, *, least: int = LEAST) -> tuple[str, Rows]:
        """Take the corpora in turn from a random first one, so that few accounts reach all of them."""
        among = self._long(source, least) or self._sources[source]
        position = self._turn.get(source, int(self._rng.integers(len(among))))
        self._turn[source] = position + 1
        return among[position % len(among)]

    def _long(self, source: str, least: int) -> list[tuple[str, Rows]]:
        return [item for item in self._sources[source] if len(item[1]) >= least]

    def _taken(self, rows: Rows, size: int, *, in_order: bool) -> Rows:
        size = min(size, len(rows))
        if in_order:
            start = int(self._rng.integers(len(rows) - size + 1))
            return rows[start : start + size]
        return rows[self._rng.permutation(len(rows))[:size]]

    def _retried(self, rows: Rows) -> Rows:
        return rows[self._sent(len(rows))]

    def _sent(self, size: int) -> NDArray[np.int64]:
        """Places of the prompts that are sent: some are sent again in the place of the next one."""
        again = self._rng.random(size) < self._rng.uniform(0, _RETRIES)
        again[:1] = False
        places: NDArray[np.int64] = np.maximum.accumulate(np.where(again, 0, np.arange(size)))
        return places

    def _product(self) -> SampledAccount:
        """Two to six purposes, each taken up again and again for a while."""
        purposes = dict(self._next("task") for _ in range(int(self._rng.integers(2, 7))))
        streams = [self._rng.permutation(rows) for rows in purposes.values()]
        weights = self._rng.dirichlet(np.ones(len(streams)))
        size = self._size(self._rng, sum(map(len, streams)))
        taken = np.zeros(len(streams), dtype=int)
        current = int(self._rng.choice(len(streams), p=weights))
        rows: list[np.int64] = []
        while len(rows) < size:
            spent = taken >= [len(stream) for stream in streams]
            if spent[current] or self._rng.random() < _SWITCH:
                left = np.where(spent, 0, weights + 1e-9)
                current = int(self._rng.choice(len(streams), p=left / left.sum()))
            rows.append(streams[current][taken[current]])
            taken[current] += 1
        names = list(purposes)
        # It counts for the purpose that it has most of.
        used = [names[i] for i in np.argsort(-taken, kind="stable") if taken[i]]
        return SampledAccount("product", "", tuple(used), np.array(rows, dtype=np.int64))

    def _multi_tenant(self) -> SampledAccount:
        """One to three chat services behind one account; half of them say who spoke."""
        services = dict(self._next("multi_tenant") for _ in range(int(self._rng.integers(1, 4))))
        pool = np.concatenate(list(services.values()))
        rows = self._taken(pool, self._size(self._rng, len(pool)), in_order=False)
        end_users = None
        if self._rng.random() < 0.5:
            speakers = self._rng.zipf(1.6, len(rows)) % max(20, len(rows) // 8)
            end_users = tuple(f"user-{speaker}" for speaker in speakers)
        sent = self._sent(len(rows))
        if end_users is not None:
            end_users = tuple(end_users[place] for place in sent)
        return SampledAccount("multi_tenant", "", tuple(services), rows[sent], end_users=end_users)

    def _pure(self, rung: str) -> SampledAccount:
        name, rows = self._next("trace_template" if rung == "trace_template" else "harvest")
        if rung == "deduplicated":
            for _ in self._sources["harvest"]:
                kept = rows[self._first_openings(rows)]
                if len(kept) >= LEAST:
                    break
                name, rows = self._next("harvest")
            rows = kept
        wanted = self._size(self._rng, len(rows))
        if rung == "paced":
            days = np.array_split(self._taken(rows, wanted, in_order=True), _DAYS)
            taken = np.concatenate([days[day] for day in self._rng.permutation(_DAYS)])
        else:
            taken = self._taken(rows, wanted, in_order=rung == "in_order")
        return SampledAccount("harvest", rung, (name,), taken)

    def _first_openings(self, rows: Rows) -> NDArray[np.bool_]:
        """Mark prompts whose first five words no earlier one has: what a harvester's filter leaves."""
        seen: set[str] = set()
        kept = np.zeros(len(rows), dtype=bool)
        for position, row in enumerate(rows):
            opening = " ".join(self._bank.texts[row][:200].lower().split()[:5])
            kept[position] = opening not in seen
            seen.add(opening)
        return kept

    def _mixed(self, rung: str) -> SampledAccount:
        """Mix a harvest at random into the ordinary traffic of one purpose; each repeats its own prompts."""
        share = MIXED[rung] / 100
        name, pool = self._next("harvest")
        cover_name, cover = self._next("task")
        most = min(len(pool) / (1 - share), len(cover) / share)
        size = self._size(self._rng, int(most))
        ordinary = round(size * share)
        rows = np.empty(size, dtype=np.int64)
        harvested = np.zeros(size, dtype=bool)
        harvested[self._rng.permutation(size)[: size - ordinary]] = True
        rows[harvested] = self._retried(self._taken(pool, size - ordinary, in_order=False))
        rows[~harvested] = self._retried(self._taken(cover, ordinary, in_order=False))
        return SampledAccount("harvest", rung, (name, cover_name), rows)

    def _split(self, rung: str) -> list[SampledAccount]:
        """Deal one harvest to many accounts: at random, in chunks of the file, or topic by topic."""
        parts, way = _parts(rung), rung.split("_")[2]
        name, rows = self._next("harvest", least=LEAST * parts)
        each = self._size(self._rng, len(rows) // parts)
        rows = self._taken(rows, each * parts, in_order=True)
        if way == "random":
            share = self._rng.permutation(np.arange(len(rows)) % parts)
        elif way == "chunk":
            share = np.arange(len(rows)) * parts // len(rows)
        else:
            share = self._topics(rows, parts)
        self._campaigns += 1
        return [
            replace(
                SampledAccount("harvest", rung, (name,), self._retried(rows[share == part])),
                campaign=self._campaigns,
            )
            for part in range(parts)
            if (share == part).any()
        ]

    def _topics(self, rows: Rows, parts: int) -> NDArray[np.int64]:
        """Cluster prompts by their words; the harvester, too, has only the text to go by."""
        words = HashingVectorizer(n_features=2048, norm="l2").fit_transform(
            [self._bank.texts[row][:400] for row in rows]
        )
        model = MiniBatchKMeans(parts, random_state=int(self._rng.integers(2**31)), n_init=1, max_iter=30)
        with threadpool_limits(1):  # over so few rows, threads do little but wait for one another
            return np.asarray(model.fit_predict(words), dtype=np.int64)


def _parts(rung: str) -> int:
    """Accounts that a rung of `SPLIT` deals a harvest to."""
    return int(rung.split("_")[1])
