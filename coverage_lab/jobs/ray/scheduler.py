"""Jobs dealt out to Ray actors: nobody gets a second before the first is done, and lost ones are redone."""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from coverage_lab.errors import CoverageLabError, OutputError

#: Seconds after which the one who waits is told that the work still goes on.
BEAT_S = 5.0


@dataclass(frozen=True)
class Job:
    """One idempotent piece of work.

    Attributes
    ----------
    name : str
        As it is called in an error.
    arguments : tuple
        What the actor's `do` is given; small, for it goes through the object store.
    """

    name: str
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Failure:
    """Why a job is given up.

    Attributes
    ----------
    error : CoverageLabError or None
        What the job itself raised; None when its workers were lost.
    lost : str
        How the last worker was lost.
    """

    error: CoverageLabError | None
    lost: str = ""


def deal(
    jobs: Sequence[Job],
    spawn: Callable[[], Any],
    *,
    workers: int,
    retries: int,
    start_timeout_s: float,
    done: Callable[[Any], None],
    beat: Callable[[], None],
) -> dict[str, Failure]:
    """Have actors do jobs, one at a time each, until every job is done or given up.

    A job whose actor or node was lost, or that ran out of memory, is given to another actor; its own
    error is final. Neither keeps the others from being done. An `OutputError` does: what is under way is
    finished, and no more is begun, since what can't be written for one can't be written for others.

    Parameters
    ----------
    spawn : () -> actor handle
        With methods `ready()`, which loads what it needs, and `do(*arguments)`.
    workers : int
        Most actors at once, and so most jobs under way.
    retries : int
        How often a lost job is given to another actor.
    start_timeout_s : float
        Seconds that jobs may wait while no actor is anywhere. One that loads its model, however long, is
        somewhere.
    done : (result of `do`) -> None
        Called as each job is done.
    beat : () -> None
        Called every few seconds without news.

    Returns
    -------
    dict
        Name of each job that was given up -> why.

    Raises
    ------
    CoverageLabError
        Actors can't be made ready, or none got a place on the cluster in `start_timeout_s`.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    waiting = deque(jobs)
    lost: Counter[str] = Counter()
    failures: dict[str, Failure] = {}
    idle: list[Any] = []
    busy: dict[Any, tuple[Any, Job]] = {}
    starting: dict[Any, Any] = {}
    placing: set[Any] = set()
    lost_starts = 0
    nobody_since = time.monotonic()
    try:
        while waiting or busy:
            while waiting and idle:
                actor, job = idle.pop(), waiting.popleft()
                busy[actor.do.remote(*job.arguments)] = (actor, job)
            while len(starting) < len(waiting) and len(starting) + len(idle) + len(busy) < workers:
                actor = spawn()
                # Ray's own method of every actor, which is answered as soon as the actor has a process.
                placing.add(actor.__ray_ready__.remote())
                starting[actor.ready.remote()] = actor
            wait_s = min(BEAT_S, start_timeout_s)
            news, _ = ray.wait([*busy, *starting, *placing], num_returns=1, timeout=wait_s)
            if news or busy or idle or len(placing) < len(starting):
                nobody_since = time.monotonic()
            elif time.monotonic() - nobody_since >= start_timeout_s:
                raise CoverageLabError(_never_started(waiting, start_timeout_s))
            if not news:
                beat()
            for ref in news:
                if ref in placing:
                    placing.remove(ref)
                    with suppress(RayError):  # which `ready` raises too
                        ray.get(ref)
                    continue
                if ref in starting:
                    actor = starting.pop(ref)
                    try:
                        ray.get(ref)
                    except RayError as error:
                        if isinstance(error, RayTaskError) and not _out_of_memory(error):
                            raise _own(error) from None
                        lost_starts += 1
                        _end(actor)
                        if lost_starts > retries and not idle and not busy:
                            raise CoverageLabError(
                                f"--ray: workers are lost while they load the model ({_how(error)}); "
                                "give each more memory or lower job.ray.actors"
                            ) from None
                    else:
                        lost_starts = 0
                        idle.append(actor)
                    continue
                actor, job = busy.pop(ref)
                try:
                    result = ray.get(ref)
                except RayError as error:
                    if isinstance(error, RayTaskError) and not _out_of_memory(error):
                        failure = _own(error)
                        failures[job.name] = Failure(failure)
                        idle.append(actor)
                        if isinstance(failure, OutputError):
                            waiting.clear()
                        continue
                    _end(actor)
                    lost[job.name] += 1
                    if lost[job.name] > retries:
                        failures[job.name] = Failure(None, _how(error))
                    else:
                        waiting.append(job)
                else:
                    idle.append(actor)
                    done(result)
    finally:
        for actor in (*idle, *starting.values(), *(actor for actor, _ in busy.values())):
            _end(actor)
    return failures


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


def _never_started(waiting: Sequence[Job], start_timeout_s: float) -> str:
    more = f" and {len(waiting) - 1:,} more" if len(waiting) > 1 else ""
    return (
        f"--ray: no worker found a place on the cluster for {start_timeout_s:g} s, {waiting[0].name}{more} "
        "still to do: its nodes are gone or taken by others. Run the same command again once they are back, "
        "what is finished is kept; or raise job.ray.start_timeout_s"
    )


def _own(error: Any) -> CoverageLabError:
    """Return what the job raised, without the traceback of another process."""
    if isinstance(error.cause, CoverageLabError):
        return error.cause
    return CoverageLabError(f"--ray: a worker failed: {type(error.cause).__name__}")


def _out_of_memory(error: Any) -> bool:
    return isinstance(error.cause, MemoryError)


def _how(error: Any) -> str:
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError

    if isinstance(error, RayTaskError | OutOfMemoryError):
        return "out of memory"
    return "its node was lost" if isinstance(error, NodeDiedError) else "its worker died"


def _end(actor: Any) -> None:
    import ray

    # An actor that only can't be reached may still be at work on what another is given now.
    ray.kill(actor, no_restart=True)
