"""Faults in the workers of a test's Ray cluster, told by a file; and a log of what each worker did.

Ray runs `install` in every worker of a driver that connects by `connect`. The file names buckets, shares or
source files and what happens to whoever works on them: it says so anew for every test, so that one cluster
serves them all.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from support.commands import search_path

#: Folder with `plan.json` and `log`, for the workers.
_FOLDER = "COVERAGE_LAB_TEST_FAULTS"


class Faults:
    """The test's side: what is to happen, and what did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan({})

    def plan(self, faults: dict[str, str]) -> None:
        """Name of a bucket, share or source -> fault (see `_strike`); what was logged is forgotten."""
        (self.folder / "plan.json").write_text(json.dumps(faults))
        (self.folder / "log").write_text("")

    def log(self) -> list[tuple[str, str]]:
        """(name, node) of each piece of work that a worker began, in order."""
        lines = (self.folder / "log").read_text().splitlines()
        return [(name, node) for name, node in (line.split() for line in lines)]

    def begun(self) -> list[str]:
        """Names of the pieces of work that were begun, each as often as it was."""
        return [name for name, _ in self.log()]


def connect(address: str, folder: Path) -> Faults:
    """Connect this process to a cluster, with faults in its workers."""
    import ray

    ray.init(
        address=address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={
            "env_vars": {_FOLDER: str(folder), "PYTHONPATH": search_path()},
            "worker_process_setup_hook": "support.ray_faults.install",
        },
    )
    return Faults(folder)


def install() -> None:
    """Have the functions that workers call look at the plan first."""
    import coverage_lab.jobs.ingest as reading
    import coverage_lab.jobs.ray.bucket_stage as bucket_stage

    bucket_stage.work_bucket = _watched(bucket_stage.work_bucket, lambda arguments: arguments[0].name)
    reading.read_share = _watched(reading.read_share, lambda arguments: arguments[1].name)
    whole = reading.read_pieces

    def read_pieces(pieces: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        def each() -> Iterator[Any]:
            for piece in pieces:
                _strike(piece.source.name)
                yield piece

        yield from whole(each(), *arguments, **options)

    reading.read_pieces = read_pieces


def _watched(function: Callable[..., Any], name_of: Callable[[tuple[Any, ...]], str]) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        import ray

        name = name_of(arguments)
        with (Path(os.environ[_FOLDER]) / "log").open("a") as log:
            log.write(f"{name} {ray.get_runtime_context().get_node_id()}\n")
        _strike(name)
        return function(*arguments, **options)

    return watched


def _strike(name: str) -> None:
    folder = Path(os.environ[_FOLDER])
    fault = json.loads((folder / "plan.json").read_text()).get(name)
    if fault is None:
        return
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "killed once":
        try:
            (folder / f"struck-{name}").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "memory limit":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + 2**26
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        np.ones(2**30)
    if fault == "bug":
        raise TypeError("the words of a prompt")
    if fault.startswith("held on "):
        import ray

        if ray.get_runtime_context().get_node_id() == fault.removeprefix("held on "):
            time.sleep(300)
