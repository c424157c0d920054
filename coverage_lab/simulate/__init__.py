"""A day of sample traffic from written generators, so that the demo needs no outside data."""

from coverage_lab.simulate.sample_day import SimulatedDay, simulate_day, write_day

__all__ = ["SimulatedDay", "simulate_day", "write_day"]
