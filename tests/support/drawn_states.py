"""Account states with vectors that are drawn, not encoded: as many accounts, as alike, as a test wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coverage_lab.accounts import OPENINGS, STRUCTURE, AccountStates, Distinct, HostVectors, states_of

DIM = 16


def drawn_states(
    directions: Sequence[NDArray[np.float64]],
    prompts: Sequence[int],
    *,
    rng: np.random.Generator,
    digests: Sequence[NDArray[np.uint64]] | None = None,
    spread: float = 1.0,
) -> AccountStates:
    """One account a direction, its prompts scattered about it; openings are the vector's signs."""
    rows = [
        direction + spread * rng.standard_normal((count, DIM)) / np.sqrt(DIM)
        for direction, count in zip(directions, prompts, strict=True)
    ]
    vectors = np.concatenate(rows).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    total = len(vectors)
    hashed = (
        np.concatenate(digests) if digests is not None else rng.integers(0, 2**63, total).astype(np.uint64)
    )
    openings = np.zeros((total, OPENINGS), np.float32)
    openings[:, :DIM] = vectors
    distinct = Distinct(
        vectors=HostVectors(vectors),
        digests=hashed,
        characters=np.full(total, 40),
        cells=np.column_stack(
            [np.zeros(total), np.argmax(vectors, axis=1), np.argmax(vectors, axis=1)]
        ).astype(np.int32),
        structure=np.zeros((total, len(STRUCTURE)), np.float32),
        openings=csr_matrix(openings),
    )
    offsets = np.concatenate([[0], np.cumsum(prompts)]).astype(np.int64)
    return states_of(
        tuple(f"account-{i:05d}" for i in range(len(prompts))),
        offsets,
        np.concatenate([np.arange(count) for count in prompts]).astype(np.int64),
        np.arange(total),
        distinct,
    )
