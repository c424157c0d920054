"""Text to unit vectors: static and multilingual, or a transformer; exact-duplicate reuse."""

from coverage_lab.encoders.choose import load_encoder, resolve_name, resolve_precision
from coverage_lab.encoders.encoder import DeviceEncoder, Encoder, stays_on_device
from coverage_lab.encoders.reuse import distinct_texts, encode_distinct, encode_unique

__all__ = [
    "DeviceEncoder",
    "Encoder",
    "distinct_texts",
    "encode_distinct",
    "encode_unique",
    "load_encoder",
    "resolve_name",
    "resolve_precision",
    "stays_on_device",
]
