"""The static encoder: a multilingual sentence encoder with every token taken alone; NumPy and SciPy only."""

from coverage_lab.encoders.static.encoder import StaticEncoder, load_static

__all__ = ["StaticEncoder", "load_static"]
