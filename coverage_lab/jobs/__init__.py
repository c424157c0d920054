"""The daily job: the same steps on one machine or on a Ray cluster."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coverage_lab.jobs.analysis import analyze
    from coverage_lab.jobs.results import Analysis
    from coverage_lab.jobs.run import run_job
    from coverage_lab.state.day import StateDay

__all__ = ["Analysis", "StateDay", "analyze", "run_job"]

_MODULE = {
    "Analysis": "coverage_lab.jobs.results",
    "analyze": "coverage_lab.jobs.analysis",
    "run_job": "coverage_lab.jobs.run",
    "StateDay": "coverage_lab.state.day",
}


def __getattr__(name: str) -> object:
    # Lazy, so that a Ray worker, which is started often, does not load the report and its libraries.
    if name in _MODULE:
        return getattr(import_module(_MODULE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
