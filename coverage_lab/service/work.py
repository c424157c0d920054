"""The queue: requests' accounts are judged in batches, small requests beside giant ones.

A batch takes accounts of as many requests as it has room for. Half of it goes to the request that has waited
the longest, so that none waits for ever; the rest to those with the least left to do.

A batch has a fixed cost, so large ones are cheaper by the prompt, and whoever comes meanwhile waits longer.
Both are had by two lanes: the main one takes as much as `_BATCH_SECONDS` judge, and while it works on more
than a small request, a second thread judges the small ones that come. Where two can't judge at once (a GPU's
index is for one thread), there is one lane with batches of `ServiceConfig.batch`: a small request waits for
the batch that is being judged and at most one more, whatever giants are queued.

Work is counted in prompts, an account as some more (`AskedAccount.cost`). Waiting times that are told to
callers come from how fast the last batches went.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from coverage_lab.config import ServiceConfig
from coverage_lab.service.refusal import RefusalError
from coverage_lab.service.request import AskedAccount
from coverage_lab.service.scoring import AccountAnswer

_log = logging.getLogger(__name__)

#: Prompts a second until a batch has been timed.
_FIRST_RATE: Final = 1_000.0
#: Weight of the newest batch in the rate.
_NEWEST: Final = 0.2
#: Part of a batch up to which a request is a small one.
_SMALL: Final = 4
#: How long the main lane of two works on a batch, and how many usual batches that are at most.
_BATCH_SECONDS: Final = 2.0
_BATCHES: Final = 8


class Scores(Protocol):
    """What the queue gives work to: `Scoring`."""

    def judge(self, accounts: Sequence[AskedAccount]) -> list[AccountAnswer]:
        """Judge accounts, each id once."""
        ...

    def response(self, answers: Sequence[AccountAnswer]) -> bytes:
        """Put a request's answers together."""
        ...

    def warm_up(self) -> None:
        """Judge something, so that the first caller does not wait."""
        ...


@dataclass(eq=False)
class Work:
    """A request in the queue.

    Attributes
    ----------
    owner : str
        Name of the key that asked; empty where none is needed.
    answered : Future
        Of the event loop: the response's body, or why there is none.
    left : int
        Prompts that are not judged yet.
    answers : dict
        Of the accounts that are, by their place.
    started : float or None
        When its first account was taken, on the clock of `time.monotonic`.
    """

    accounts: Sequence[AskedAccount]
    owner: str
    answered: asyncio.Future[bytes]
    arrived: float
    left: int
    taken: int = 0
    answers: dict[int, AccountAnswer] = field(default_factory=dict)
    started: float | None = None
    failed: bool = False


@dataclass
class _Batch:
    room: int
    places: list[tuple[Work, int]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    cost: int = 0

    @property
    def works(self) -> list[Work]:
        return list(dict.fromkeys(work for work, _ in self.places))

    @property
    def accounts(self) -> list[AskedAccount]:
        return [work.accounts[place] for work, place in self.places]

    def fill(self, work: Work, room: int) -> None:
        """Take a request's accounts until `room` is used up; one that is larger only into an empty batch."""
        while work.taken < len(work.accounts):
            account = work.accounts[work.taken]
            # Two requests may ask about one account: with other prompts, or the same. One after the other.
            if account.account_id in self.ids:
                return
            if self.places and self.cost + account.cost > room:
                return
            self.places.append((work, work.taken))
            self.ids.add(account.account_id)
            self.cost += account.cost
            work.taken += 1


class WorkQueue:
    """Requests that wait, and the threads that judge them.

    Parameters
    ----------
    scoring : Scores
        Called from one thread a lane: numerical libraries keep a pool for each thread that calls them.
    limits : ServiceConfig
    lanes : int
        1 or 2: whether small requests are judged beside a batch of the main lane.
    on_batch : callable
        Told the requests, accounts, prompts and seconds of each batch, in the thread that judged it.
    """

    def __init__(
        self,
        scoring: Scores,
        limits: ServiceConfig,
        *,
        lanes: int = 1,
        on_batch: Callable[[int, int, int, float], None] = lambda *_: None,
    ) -> None:
        self._scoring = scoring
        self._limits = limits
        self._lanes = lanes
        self._small = limits.batch // _SMALL
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._waiting: list[Work] = []  # those with accounts that no batch has taken, oldest first
        self._running: set[Work] = set()
        self._prompts = 0
        self._of_owner: dict[str, int] = {}
        self._rate = _FIRST_RATE
        self._at_work = 0  # what the main lane judges now
        self._stopping = self._closed = False
        self._ready = self._warm_up = False
        self._threads: list[threading.Thread] = []

    @property
    def ready(self) -> bool:
        """Whether the first caller would not wait for something to be loaded, and nothing is stopping."""
        return self._ready and not self._stopping

    @property
    def stopping(self) -> bool:
        """Whether new work is refused."""
        return self._stopping

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that wait or are worked on, and their prompts that are not judged yet."""
        return len({*self._waiting, *self._running}), self._prompts

    def seconds_for(self, prompts: int) -> float:
        """Time that this much work takes."""
        return prompts / self._rate

    def start(self, *, warm_up: bool = False) -> None:
        """Start the threads, if they do not run; with `warm_up`, something made up is judged first."""
        if self._threads:
            return
        self._warm_up = warm_up
        # Daemons: a stop whose grace is over must not wait for an account that takes minutes.
        self._threads = [threading.Thread(target=self._work_first, name="scoring", daemon=True)]
        if self._lanes > 1:
            self._threads.append(
                threading.Thread(target=self._work, args=(True,), name="scoring-small", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def submit(self, accounts: Sequence[AskedAccount], owner: str) -> Work:
        """Queue a request; called from the event loop.

        Raises
        ------
        RefusalError
            503: stopping, or too much is waiting. 429: too much of this owner's.
        """
        self.start()
        cost = sum(account.cost for account in accounts)
        with self._changed:
            if self._stopping:
                raise stopping()
            self._admit(cost, owner)
            work = Work(
                accounts, owner, asyncio.get_running_loop().create_future(), time.monotonic(), left=cost
            )
            self._prompts += cost
            self._of_owner[owner] = self._of_owner.get(owner, 0) + cost
            self._waiting.append(work)
            self._changed.notify_all()
        return work

    def _admit(self, cost: int, owner: str) -> None:
        limits = self._limits
        own = self._of_owner.get(owner, 0)
        share = limits.max_share * limits.max_waiting
        if owner and own and own + cost > share:
            wait = self.seconds_for(int(own + cost - share))
            raise busy(429, "quota", "this key has too many prompts waiting", wait)
        if self._prompts and self._prompts + cost > limits.max_waiting:
            wait = self.seconds_for(self._prompts + cost - limits.max_waiting)
            raise busy(503, "busy", "too many prompts are waiting", wait)
        # Half of each batch is for the least work: what is as small as that does not wait for the rest.
        ahead = min(self._prompts, 2 * self._room()) if cost <= limits.batch // 2 else self._prompts
        late = self.seconds_for(ahead + cost) - limits.answer_seconds
        if ahead and late > 0:
            raise busy(503, "busy", "it could not be answered in time", late)

    def cancel(self, work: Work) -> None:
        """Forget a request whose caller has gone or waited too long."""
        with self._changed:
            work.failed = True
            self._forget(work)

    def stop(self) -> None:
        """Refuse what is queued and what comes; what has been begun is finished."""
        with self._changed:
            self._stopping = True
            for work in [work for work in self._waiting if work.taken == 0]:
                self._fail(work, stopping())

    def abandon(self) -> None:
        """Refuse what has been begun as well, and end the thread after its batch."""
        with self._changed:
            self._stopping = self._closed = True
            for work in [*self._waiting, *self._running]:
                self._fail(work, stopping())
            self._changed.notify_all()

    def _forget(self, work: Work) -> None:
        if work in self._waiting:
            self._waiting.remove(work)
        self._running.discard(work)
        self._prompts -= work.left
        own = self._of_owner.get(work.owner, 0) - work.left
        self._of_owner[work.owner] = own
        if own <= 0:
            del self._of_owner[work.owner]
        work.left = 0

    def _fail(self, work: Work, error: Exception) -> None:
        work.failed = True
        self._forget(work)
        _tell(work, error=error)

    def _work_first(self) -> None:
        try:
            if self._warm_up:
                self._scoring.warm_up()
            self._ready = True
        except Exception as error:
            # Never its message, which may hold text: where it happened.
            _log.error("warm-up failed: %s at %s", type(error).__name__, where(error))
        self._work(small=False)

    def _work(self, small: bool) -> None:
        while (batch := self._next_batch(small)) is not None:
            started = time.monotonic()
            self._judge(batch)
            elapsed = time.monotonic() - started
            if batch.cost > self._small:  # of less, the fixed cost is what was timed
                self._rate += _NEWEST * (batch.cost / max(elapsed, 1e-6) - self._rate)
            prompts = sum(len(account.rows) for account in batch.accounts)
            self._on_batch(len(batch.works), len(batch.places), prompts, elapsed)

    def _next_batch(self, small: bool) -> _Batch | None:
        with self._changed:
            if not small:
                self._at_work = 0
            while not self._closed and not (self._small_ones() if small else self._waiting):
                self._changed.wait()
            if self._closed:
                return None
            batch = self._batch_of_small_ones() if small else self._batch_of_all()
            now = time.monotonic()
            for work in batch.works:
                work.started = work.started or now
                self._running.add(work)
            self._waiting = [work for work in self._waiting if work.taken < len(work.accounts)]
            if not small:
                self._at_work = batch.cost
                self._changed.notify_all()
            return batch

    def _small_ones(self) -> list[Work]:
        """Those that the second lane may take: small ones, while the main lane is at work on more."""
        if self._at_work <= self._small:
            return []
        return [work for work in self._waiting if work.left <= self._small]

    def _room(self) -> int:
        """Prompts that a batch of the main lane may have."""
        usual = self._limits.batch
        if self._lanes == 1:
            return usual
        return max(usual, min(_BATCHES * usual, int(self._rate * _BATCH_SECONDS)))

    def _batch_of_small_ones(self) -> _Batch:
        batch = _Batch(self._limits.batch)
        for work in self._small_ones():
            batch.fill(work, batch.room)
        return batch

    def _batch_of_all(self) -> _Batch:
        batch = _Batch(self._room())
        oldest, others = self._waiting[0], self._waiting
        if self._lanes > 1:
            # Small ones among themselves, so that none waits for a large one: the second lane has the others.
            kind = oldest.left <= self._small
            others = [work for work in others if (work.left <= self._small) == kind]
        batch.fill(oldest, batch.room if len(others) == 1 else max(1, batch.room // 2))
        for work in sorted(others, key=lambda work: work.left):
            batch.fill(work, batch.room)
        return batch

    def _judge(self, batch: _Batch) -> None:
        try:
            answers = self._scoring.judge(batch.accounts)
        except Exception as error:
            works = batch.works
            if len(works) == 1:
                _log.error("judging failed: %s at %s", type(error).__name__, where(error))
                with self._changed:
                    self._fail(works[0], internal())
                return
            # One of them is at fault: each alone, so that the others are answered.
            for work in works:
                self._judge(_Batch(batch.room, [pair for pair in batch.places if pair[0] is work]))
            return
        with self._changed:
            finished = self._hand_out(zip(batch.places, answers, strict=True))
        for work in finished:
            try:
                answers = [work.answers[place] for place in range(len(work.accounts))]
                _tell(work, body=self._scoring.response(answers))
            except Exception as error:
                _log.error("answering failed: %s at %s", type(error).__name__, where(error))
                _tell(work, error=internal())

    def _hand_out(self, answered: Iterable[tuple[tuple[Work, int], AccountAnswer]]) -> list[Work]:
        """Give answers to their requests; returns those that have all."""
        finished = []
        for (work, place), answer in answered:
            if work.failed:
                continue
            work.answers[place] = answer
            if len(work.answers) == len(work.accounts):
                self._forget(work)
                finished.append(work)
                continue
            cost = work.accounts[place].cost
            work.left -= cost
            self._prompts -= cost
            self._of_owner[work.owner] -= cost
        return finished


def _tell(work: Work, *, body: bytes = b"", error: Exception | None = None) -> None:
    """Settle a request's future, from whatever thread."""
    future = work.answered

    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
            future.exception()  # its request may have gone: nobody else looks at it
        else:
            future.set_result(body)

    loop = future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def busy(status: int, code: str, why: str, seconds: float) -> RefusalError:
    """A refusal that says when to come back."""
    wait = max(1, math.ceil(seconds))
    return RefusalError(status, code, f"{why}; try again in {wait} s", headers={"Retry-After": str(wait)})


def stopping() -> RefusalError:
    """The service is being stopped; another one may be up."""
    return busy(503, "stopping", "the service is stopping", 1)


def internal() -> RefusalError:
    """A fault of ours; details are in the log only."""
    return RefusalError(500, "internal", "the service failed on this request; its log says where")


def where(error: BaseException) -> str:
    """Module and line of each frame, outermost first: what may be logged of an error about prompts."""
    places = []
    frame = error.__traceback__
    while frame is not None:
        places.append(f"{frame.tb_frame.f_globals.get('__name__', '?')}:{frame.tb_lineno}")
        frame = frame.tb_next
    return " > ".join(places)
