"""Account state: what is kept of an account's prompts, and everything that is computed from it."""

from coverage_lab.accounts.measure import Measures, cells_table, curves_table, measure
from coverage_lab.accounts.state import AccountStates, merge
from coverage_lab.accounts.trace import trace_prompts

__all__ = [
    "AccountStates",
    "Measures",
    "cells_table",
    "curves_table",
    "measure",
    "merge",
    "trace_prompts",
]
