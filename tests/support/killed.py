"""Job runs that are killed at a moment, each in a process of its own.

The processes are forked from one that has imported the job and done nothing else: importing it anew for each
would take longer than the run.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from coverage_lab.config import RunConfig
from coverage_lab.jobs import run_job
from support.commands import search_path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    # What a run imports only when it comes to it, too.
    [
        "coverage_lab.encoders.static",
        "deltalake",
        "pandas",
        "scipy.sparse",
        "sklearn.linear_model",
        "support.daily_state",
    ]
)

#: What a process that was killed by SIGKILL ends with.
KILLED = -signal.SIGKILL


def end_of(target: Callable[..., None], *arguments: object, timeout: float = 120, fresh: bool = False) -> int:
    """Exit code of a process that calls a function of a module, with this process' environment.

    `fresh` starts the process from nothing: Ray settles whom it trusts when it is loaded, so one that was
    forked before a cluster was there can't join it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", search_path())
        if fresh:
            process: BaseProcess = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
        else:
            forkserver.ensure_running()
            process = _SERVER.Process(target=_called, args=(dict(os.environ), target, arguments))
        process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{target.__name__}{arguments}: still running after {timeout} s")
    assert process.exitcode is not None
    return process.exitcode


def _called(environment: dict[str, str], target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


def die(*_: object, **__: object) -> None:
    """Kill this process as the system would."""
    os.kill(os.getpid(), signal.SIGKILL)


def dies_before(step: str) -> Callable[[str], None]:
    """Give a checkpoint that kills the process before a step of the job."""

    def checkpoint(next_step: str) -> None:
        if next_step == step:
            die()

    return checkpoint


def dies_at(stage: str, least: int) -> Callable[[str, int, int | None], None]:
    """Give a progress that kills the process as soon as so much of a stage is done."""

    def progress(reported: str, done: int, total: int | None) -> None:
        if reported == stage and done >= least:
            die()

    return progress


#: Exit code of `run_until_change` when the moment came.
CHANGED = 77


def run_until_change(moment: int, day: Path, out: Path, config: RunConfig) -> None:
    """Run the job up to its k-th rename, folder made or removed: the moments at which its state changes."""
    left = moment

    def mortal(function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(CHANGED)
            return function(*arguments, **options)

        return wrapped

    Path.replace = mortal(Path.replace)  # type: ignore[method-assign]
    Path.mkdir = mortal(Path.mkdir)  # type: ignore[method-assign]
    shutil.rmtree = mortal(shutil.rmtree)  # type: ignore[assignment]
    run_job(day, out, config)
