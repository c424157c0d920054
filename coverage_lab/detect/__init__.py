"""Measures → score, p-value, archetype, verdict and reasons."""

from coverage_lab.detect.judge import Judge, JudgedAccounts, judge_prompts, judge_states
from coverage_lab.detect.scorecard import Scorecard, default_scorecard, load_scorecard

__all__ = [
    "Judge",
    "JudgedAccounts",
    "Scorecard",
    "default_scorecard",
    "judge_prompts",
    "judge_states",
    "load_scorecard",
]
