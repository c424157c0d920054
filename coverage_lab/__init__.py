"""Prompt-coverage analysis: is this account using the model, or harvesting it?

``import coverage_lab as cl; result = cl.analyze("day.parquet")`` runs the main job from Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coverage_lab.jobs.analysis import Analysis, analyze

__version__ = "0.2.0"

__all__ = ["Analysis", "__version__", "analyze"]


def __getattr__(name: str) -> object:
    # Lazy, so that importing a low room (the measures, say) does not load the job and its libraries.
    if name in ("analyze", "Analysis"):
        from coverage_lab.jobs import analysis

        return analysis.analyze if name == "analyze" else analysis.Analysis
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
