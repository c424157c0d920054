"""Account state: what is kept of an account's prompts, and everything that is computed from it."""

from coverage_lab.accounts.behaviour import behaviour
from coverage_lab.accounts.distinct import Distinct, digests_of, distinct_prompts
from coverage_lab.accounts.measure import Measures, cells_table, curves_table, measure
from coverage_lab.accounts.prompt_features import OPENINGS, STRUCTURE
from coverage_lab.accounts.prompt_vectors import HostVectors
from coverage_lab.accounts.state import AccountStates, Members, members, merge
from coverage_lab.accounts.trace import states_of, trace_prompts

__all__ = [
    "OPENINGS",
    "STRUCTURE",
    "AccountStates",
    "Distinct",
    "HostVectors",
    "Measures",
    "Members",
    "behaviour",
    "cells_table",
    "curves_table",
    "digests_of",
    "distinct_prompts",
    "measure",
    "members",
    "merge",
    "states_of",
    "trace_prompts",
]
