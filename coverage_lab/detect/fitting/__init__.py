"""Accounts whose truth is known → a scorecard."""

from coverage_lab.detect.fitting.accounts import (
    ARCHETYPE_OF,
    ORDINARY,
    GrowingAccounts,
    TrainingAccounts,
    even_weights,
    side_weights,
)
from coverage_lab.detect.fitting.scorecard import fit_scorecard

__all__ = [
    "ARCHETYPE_OF",
    "ORDINARY",
    "GrowingAccounts",
    "TrainingAccounts",
    "even_weights",
    "fit_scorecard",
    "side_weights",
]
