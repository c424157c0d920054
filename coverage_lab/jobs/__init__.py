"""The daily job: the same steps on one machine or on a Ray cluster."""

from coverage_lab.jobs.analysis import Analysis, analyze
from coverage_lab.jobs.run import run_job
from coverage_lab.jobs.state_day import StateDay

__all__ = ["Analysis", "StateDay", "analyze", "run_job"]
