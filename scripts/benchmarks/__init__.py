"""Benchmarks: `registry` names them, `rows` checks, times and writes, the others measure."""
