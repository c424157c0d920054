"""Prompts → account states: encode, assign to cells, compare with earlier prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.accounts.state import AccountStates, Members, members, repeats
from coverage_lab.atlas import Atlas
from coverage_lab.encoders import Encoder, encode_unique
from coverage_lab.measures import novelty as causal_novelty
from coverage_lab.progress import Progress, silent


def trace_prompts(
    prompts: pa.Table, encoder: Encoder, atlas: Atlas, *, progress: Progress = silent
) -> AccountStates:
    """Trace every account of a table of prompts; whole accounts, in any order.

    Parameters
    ----------
    prompts : Table
        Schema `coverage_lab.schema.TRAFFIC`.
    encoder, atlas
        The atlas must be the encoder's own (`coverage_lab.atlas.check_encoder`).

    Returns
    -------
    AccountStates
        The vectors and the text are gone when this returns.
    """
    if prompts.num_rows == 0:
        return AccountStates.empty(encoder.dim)
    prompts = prompts.combine_chunks()
    accounts = pc.dictionary_encode(prompts["account_id"]).combine_chunks()
    names = accounts.dictionary.to_pylist()
    by_name = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[by_name] = np.arange(len(names))
    account = rank[accounts.indices.to_numpy(zero_copy_only=False)]

    texts = prompts["prompt"].to_pylist()
    vectors, which = encode_unique(encoder, texts, progress=progress)
    digests = _hashed(texts)
    timestamps = prompts["timestamp"].cast(pa.int64()).to_numpy()

    order = np.lexsort((digests, timestamps, account))
    account, which, digests = account[order], which[order], digests[order]
    offsets = np.searchsorted(account, np.arange(len(names) + 1)).astype(np.int64)
    cells_of_unique = atlas.assign(vectors)
    ordered = vectors[which]
    novelty, _ = causal_novelty(ordered, offsets)
    sums = np.add.reduceat(ordered, offsets[:-1], axis=0, dtype=np.float64)
    # A repeat to the letter has novelty 0 exactly, not what rounding makes of 1 − x·x.
    novelty = np.where(repeats(account, digests), np.float32(0), novelty)
    return AccountStates(
        account_ids=tuple(names[i] for i in by_name),
        offsets=offsets,
        timestamps=timestamps[order],
        digests=digests,
        cells=cells_of_unique[which],
        novelty=novelty,
        vector_sums=sums,
        end_users=_members(prompts["end_user"], order, account),
        sessions=_members(prompts["session"], order, account),
    )


def _members(column: pa.ChunkedArray, order: NDArray[np.int64], account: NDArray[np.int64]) -> Members:
    """Pair accounts with their hashed names; rows without a name are left out."""
    present = pc.is_valid(column).to_numpy()[order]
    taken = column.take(pa.array(order[present]))
    encoded = pc.dictionary_encode(taken).combine_chunks()
    hashed = _hashed(encoded.dictionary.to_pylist())
    return members(account[present], hashed[encoded.indices.to_numpy(zero_copy_only=False)])


def _hashed(texts: Sequence[str]) -> NDArray[np.uint64]:
    raw = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64)
