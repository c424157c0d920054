"""Identical prompts are encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.protocol import Encoder
from coverage_lab.progress import Progress, silent

#: Small enough that a slow encoder on a CPU reports every few seconds.
_CHUNK = 2048


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
    position: dict[str, int] = {}
    inverse = np.fromiter(
        (position.setdefault(text, len(position)) for text in texts), dtype=np.int64, count=len(texts)
    )
    distinct = list(position)
    vectors = np.empty((len(distinct), encoder.dim), dtype=np.float32)
    for start in range(0, len(distinct), _CHUNK):
        chunk = distinct[start : start + _CHUNK]
        vectors[start : start + len(chunk)] = encoder.encode(chunk)
        progress(stage, start + len(chunk), len(distinct))
    return vectors, inverse
