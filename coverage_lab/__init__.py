"""Prompt-coverage analysis: is this account using the model, or harvesting it?

``import coverage_lab as cl; result = cl.analyze("day.parquet")`` runs the main job from Python. The names of
`__all__` are loaded when they are first used, and so are the rooms (``cl.measures.rarefaction``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coverage_lab.atlas import Atlas, default_atlas, fit_atlas, load_atlas, save_atlas
    from coverage_lab.jobs.analysis import analyze
    from coverage_lab.jobs.banks import index_banks, match_banks
    from coverage_lab.jobs.results import Analysis, compare, explain, load
    from coverage_lab.jobs.steps import encoder, score, trace
    from coverage_lab.measures.coverage_features import CoverageFeatures
    from coverage_lab.plotting import pictures as plot

__version__ = "0.2.0"

__all__ = [
    "Analysis",
    "Atlas",
    "CoverageFeatures",
    "__version__",
    "analyze",
    "compare",
    "default_atlas",
    "encoder",
    "explain",
    "fit_atlas",
    "index_banks",
    "load",
    "load_atlas",
    "match_banks",
    "plot",
    "save_atlas",
    "score",
    "trace",
]

#: Where each public name lies.
_PLACES = {
    "Analysis": "coverage_lab.jobs.results",
    "Atlas": "coverage_lab.atlas",
    "CoverageFeatures": "coverage_lab.measures.coverage_features",
    "analyze": "coverage_lab.jobs.analysis",
    "compare": "coverage_lab.jobs.results",
    "default_atlas": "coverage_lab.atlas",
    "encoder": "coverage_lab.jobs.steps",
    "explain": "coverage_lab.jobs.results",
    "fit_atlas": "coverage_lab.atlas",
    "index_banks": "coverage_lab.jobs.banks",
    "load": "coverage_lab.jobs.results",
    "load_atlas": "coverage_lab.atlas",
    "match_banks": "coverage_lab.jobs.banks",
    "save_atlas": "coverage_lab.atlas",
    "score": "coverage_lab.jobs.steps",
    "trace": "coverage_lab.jobs.steps",
}
#: Rooms and modules that are found as attributes without an import of their own.
_ROOMS = ("atlas", "config", "encoders", "errors", "measures", "schema", "simulate")


def __getattr__(name: str) -> object:
    # Lazy, so that importing a low room (the measures, say) does not load the job and its libraries.
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name == "plot":
        return import_module("coverage_lab.plotting.pictures")
    if name in _ROOMS:
        return import_module(f"coverage_lab.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
