"""Arithmetic with a plain reference beside each fast path; see `kernels/README.md`."""
