"""Text to unit vectors: the packaged MiniLM, a static model distilled from it, exact-duplicate reuse."""

from coverage_lab.encoders.choose import load_encoder, resolve_name
from coverage_lab.encoders.protocol import Encoder
from coverage_lab.encoders.reuse import encode_unique

__all__ = ["Encoder", "encode_unique", "load_encoder", "resolve_name"]
