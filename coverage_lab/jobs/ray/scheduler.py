"""Jobs on Ray actors: each actor does one job at a time, and the job of a lost actor is done by another.

Ray restarts actors and retries their tasks by itself (`max_restarts`, `max_task_retries`), but a task stays
with its actor: where the actor's node is gone and there is no place for it elsewhere, all retries are spent
on that actor within seconds (Ray 2.60), though another one is idle. `ray.util.ActorPool` goes on to use an
actor that died. Neither tells which job failed, nor that nothing has a place on the cluster. So actors are
started, watched and replaced here.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from coverage_lab.errors import CoverageLabError, OutputError

#: Seconds without news after which the caller is told that the work still goes on.
BEAT_S = 5.0


@dataclass(frozen=True)
class Job:
    """One piece of work that may be done twice without harm.

    Attributes
    ----------
    name : str
        What errors call it.
    arguments : tuple
        What the actor's `do` is given; small, since it goes through the object store.
    """

    name: str
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Failure:
    """Why a job was given up.

    Attributes
    ----------
    error : CoverageLabError or None
        What the job itself raised; None when its actors were lost.
    lost : str
        How the last of its actors was lost.
    """

    error: CoverageLabError | None
    lost: str = ""


def run_jobs(
    jobs: Sequence[Job],
    start_actor: Callable[[], Any],
    *,
    actors: int,
    retries: int,
    start_timeout_s: float,
    done: Callable[[Any], None],
    beat: Callable[[], None],
) -> dict[str, Failure]:
    """Do jobs on actors until each is done or given up.

    A job is done anew by another actor when its actor or node was lost, or ran out of memory. What a job
    itself raises is final. Neither stops the other jobs, but for an `OutputError`: what can't be written for
    one job can't be written for others, so jobs under way are finished and no more are begun.

    Parameters
    ----------
    start_actor : () -> actor handle
        The actor has the methods `ready()`, which loads what it needs, and `do(*arguments)`.
    actors : int
        Most actors at once, and so most jobs under way.
    retries : int
        How often a job is done anew because its actor was lost.
    start_timeout_s : float
        Seconds that jobs may wait while no actor has a place on the cluster. An actor that loads its model,
        however long it takes, has a place.
    done : (result of `do`) -> None
        Called as each job is done.
    beat : () -> None
        Called every few seconds without news.

    Returns
    -------
    dict
        Name of each job that was given up -> why. Empty when all are done.

    Raises
    ------
    CoverageLabError
        An actor could not load what it needs, actors were lost each time while they loaded, or none had a
        place on the cluster for `start_timeout_s`.
    """
    work = _Work(jobs, start_actor, actors=actors, retries=retries, done=done)
    last_news = time.monotonic()
    try:
        while work.left:
            work.hand_out()
            work.start_actors()
            news = work.news(timeout_s=min(BEAT_S, start_timeout_s))
            if news or work.has_a_place:
                last_news = time.monotonic()
            elif time.monotonic() - last_news >= start_timeout_s:
                raise CoverageLabError(work.without_a_place(start_timeout_s))
            if not news:
                beat()
            for answer in news:
                work.take(answer)
    finally:
        work.end_actors()
    return work.failures


class _Work:
    """Jobs and actors of one call of `run_jobs`.

    An actor is *loading* from its start until its `ready` answers, then *idle* or *at work*. What Ray will
    answer is known by its object reference.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        start_actor: Callable[[], Any],
        *,
        actors: int,
        retries: int,
        done: Callable[[Any], None],
    ) -> None:
        self.failures: dict[str, Failure] = {}
        self._waiting = deque(jobs)
        self._start_actor = start_actor
        self._most_actors = actors
        self._retries = retries
        self._done = done
        self._times_lost: Counter[str] = Counter()
        self._lost_while_loading = 0
        self._idle: list[Any] = []
        self._at_work: dict[Any, tuple[Any, Job]] = {}
        self._loading: dict[Any, Any] = {}
        self._without_a_process: set[Any] = set()

    @property
    def left(self) -> bool:
        """Whether a job is still to do or under way."""
        return bool(self._waiting or self._at_work)

    @property
    def has_a_place(self) -> bool:
        """Whether at least one actor has a process on some node."""
        return bool(self._idle or self._at_work) or len(self._without_a_process) < len(self._loading)

    def hand_out(self) -> None:
        """Give waiting jobs to idle actors."""
        while self._waiting and self._idle:
            actor, job = self._idle.pop(), self._waiting.popleft()
            self._at_work[actor.do.remote(*job.arguments)] = (actor, job)

    def start_actors(self) -> None:
        """Start an actor for each waiting job that none is on its way to, up to the most at once."""
        while len(self._loading) < len(self._waiting) and len(self._all_actors()) < self._most_actors:
            actor = self._start_actor()
            # Ray's own method of every actor, which answers as soon as the actor has a process.
            self._without_a_process.add(actor.__ray_ready__.remote())
            self._loading[actor.ready.remote()] = actor

    def news(self, *, timeout_s: float) -> list[Any]:
        """Wait for the next answer; empty where none came in time."""
        import ray

        awaited = [*self._at_work, *self._loading, *self._without_a_process]
        answers: list[Any] = ray.wait(awaited, num_returns=1, timeout=timeout_s)[0]
        return answers

    def take(self, answer: Any) -> None:
        """Act on an answer: an actor has a process, has loaded, or has done its job; or it was lost."""
        import ray
        from ray.exceptions import RayError

        if answer in self._without_a_process:
            self._without_a_process.remove(answer)
            with suppress(RayError):  # Of an actor that was lost; its `ready` says so too.
                ray.get(answer)
        elif answer in self._loading:
            self._loaded(self._loading.pop(answer), answer)
        else:
            self._worked(*self._at_work.pop(answer), answer)

    def end_actors(self) -> None:
        """End all actors, whatever they do."""
        for actor in self._all_actors():
            _end(actor)

    def without_a_place(self, start_timeout_s: float) -> str:
        """Say in one line that jobs waited too long for a place on the cluster."""
        others = len(self._waiting) - 1
        more = f" and {others:,} more" if others else ""
        return (
            f"--ray: no worker found a place on the cluster for {start_timeout_s:g} s, "
            f"{self._waiting[0].name}{more} still to do: its nodes are gone or taken by others. Run the same "
            "command again once they are back, what is finished is kept; or raise job.ray.start_timeout_s"
        )

    def _all_actors(self) -> list[Any]:
        return [*self._idle, *self._loading.values(), *(actor for actor, _ in self._at_work.values())]

    def _loaded(self, actor: Any, answer: Any) -> None:
        import ray
        from ray.exceptions import RayError

        try:
            ray.get(answer)
        except RayError as error:
            own = _own_error(error)
            if own is not None:
                _end(actor)
                raise own from None
            self._lost_loading(actor, error)
        else:
            self._lost_while_loading = 0
            self._idle.append(actor)

    def _lost_loading(self, actor: Any, error: Exception) -> None:
        """Count an actor that was lost before it could work; too many in a row end the run."""
        _end(actor)
        self._lost_while_loading += 1
        if self._lost_while_loading > self._retries and not self._idle and not self._at_work:
            raise CoverageLabError(
                f"--ray: workers are lost while they load the model ({_how_lost(error)}); "
                "give each more memory or lower job.ray.actors"
            ) from None

    def _worked(self, actor: Any, job: Job, answer: Any) -> None:
        import ray
        from ray.exceptions import RayError

        try:
            result = ray.get(answer)
        except RayError as error:
            own = _own_error(error)
            if own is None:
                self._lost_at_work(actor, job, error)
            else:
                self._idle.append(actor)
                self._give_up(job, own)
        else:
            self._idle.append(actor)
            self._done(result)

    def _lost_at_work(self, actor: Any, job: Job, error: Exception) -> None:
        """Have another actor do the job, unless its actors were lost too often."""
        _end(actor)
        self._times_lost[job.name] += 1
        if self._times_lost[job.name] > self._retries:
            self.failures[job.name] = Failure(None, _how_lost(error))
        else:
            self._waiting.append(job)

    def _give_up(self, job: Job, error: CoverageLabError) -> None:
        self.failures[job.name] = Failure(error)
        if isinstance(error, OutputError):
            self._waiting.clear()


@contextmanager
def without_text() -> Iterator[None]:
    """Turn what a worker raises unforeseen into its kind and place: its words may hold a prompt."""
    try:
        yield
    except (CoverageLabError, MemoryError):
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = frame.filename.rsplit("/", 1)[-1]
        message = f"--ray: a worker failed: {type(error).__name__} in {where}:{frame.lineno}"
        raise CoverageLabError(message) from None


def _own_error(error: Any) -> CoverageLabError | None:
    """Return what an actor's method itself raised, without the traceback of another process.

    None where the actor was lost, or out of memory: it may work on another node.
    """
    from ray.exceptions import RayTaskError

    if not isinstance(error, RayTaskError) or isinstance(error.cause, MemoryError):
        return None
    if isinstance(error.cause, CoverageLabError):
        return error.cause
    return CoverageLabError(f"--ray: a worker failed: {type(error.cause).__name__}")


def _how_lost(error: Any) -> str:
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError

    if isinstance(error, RayTaskError | OutOfMemoryError):
        return "out of memory"
    return "its node was lost" if isinstance(error, NodeDiedError) else "its worker died"


def _end(actor: Any) -> None:
    import ray

    # An actor that only can't be reached may still be at work on the job that another is given now.
    ray.kill(actor, no_restart=True)
