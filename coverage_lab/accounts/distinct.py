"""What tracing works out once of each distinct prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts.prompt_features import openings, structure
from coverage_lab.accounts.prompt_vectors import Vectors
from coverage_lab.atlas import Atlas

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class Distinct:
    """Distinct prompts without their text, U of them.

    Attributes
    ----------
    vectors : Vectors
        Unit rows.
    digests : uint64 (U,)
        64-bit BLAKE2b of the text.
    characters : int64 (U,)
        Length of the text.
    cells : int32 (U, levels)
        On one atlas; `dataclasses.replace(distinct, cells=...)` moves the prompts to another.
    structure : float32 (U, t)
        `coverage_lab.accounts.prompt_features.structure`.
    openings : csr_matrix of float32 (U, 1024)
        `coverage_lab.accounts.prompt_features.openings`.
    """

    vectors: Vectors
    digests: NDArray[np.uint64]
    characters: NDArray[np.int64]
    cells: NDArray[np.int32]
    structure: NDArray[np.float32]
    openings: csr_matrix


def distinct_prompts(texts: Sequence[str], vectors: Vectors, atlas: Atlas) -> Distinct:
    """Work out what states need of each distinct prompt.

    Parameters
    ----------
    texts : sequence of str (U,)
    vectors : Vectors (U, d)
        Unit rows of `texts`, by the encoder of `atlas`; kept, not copied.

    Raises
    ------
    ValueError
        As many vectors as texts were expected.
    """
    if len(texts) != len(vectors):
        raise ValueError(f"vectors: expected {len(texts)} rows, one per text, got {len(vectors)}")
    return Distinct(
        vectors=vectors,
        digests=digests_of(texts),
        characters=np.fromiter(map(len, texts), np.int64, len(texts)),
        cells=vectors.cells(atlas),
        structure=structure(texts),
        openings=openings(texts),
    )


def digests_of(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return the 64-bit BLAKE2b of each text, shape ``(n,)``."""
    raw = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)
