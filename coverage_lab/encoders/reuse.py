"""Identical prompts are encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.encoder import Encoder
from coverage_lab.progress import Progress, silent

#: On a CPU small enough that a slow encoder reports every few seconds, on a GPU large enough to keep it busy.
_CHUNK = {"cpu": 2_048, "cuda": 65_536}


def distinct_texts(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct texts in order of first appearance, and which of them each text is, ``(n,)``."""
    position: dict[str, int] = {}
    inverse = np.fromiter(
        (position.setdefault(text, len(position)) for text in texts), dtype=np.int64, count=len(texts)
    )
    return list(position), inverse


def encode_unique(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    progress: Progress = silent,
    stage: str = "encode",
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Encode each distinct text once.

    Parameters
    ----------
    encoder
        Any encoder.
    texts
        Prompts, ``n`` of them, compared to the letter.
    progress
        Told ``(stage, distinct texts encoded, distinct texts in all)`` after each chunk.
    stage
        Name given to `progress`.

    Returns
    -------
    vectors : (u, d) float32
        Unit rows of the distinct texts, in order of first appearance.
    inverse : (n,) int64
        Row of `vectors` that belongs to each text: ``vectors[inverse]`` are the vectors of `texts`.
        Without texts, arrays of shapes ``(0, d)`` and ``(0,)``.
    """
    distinct, inverse = distinct_texts(texts)
    return encode_distinct(encoder, distinct, progress=progress, stage=stage), inverse


def encode_distinct(
    encoder: Encoder, texts: Sequence[str], *, progress: Progress = silent, stage: str = "encode"
) -> NDArray[np.float32]:
    """Encode texts that are known to be distinct, chunk by chunk; parameters as of `encode_unique`."""
    vectors = np.empty((len(texts), encoder.dim), dtype=np.float32)
    size = _CHUNK[encoder.device]
    for start in range(0, len(texts), size):
        chunk = texts[start : start + size]
        vectors[start : start + len(chunk)] = encoder.encode(chunk)
        progress(stage, start + len(chunk), len(texts))
    return vectors
