"""Prompts → account states: part, encode, assign to cells, compare with earlier prompts, sum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coverage_lab.accounts.distinct import Distinct, digests_of, distinct_prompts
from coverage_lab.accounts.prompt_features import OPENINGS
from coverage_lab.accounts.prompt_vectors import BLOCK, HostVectors, Vectors
from coverage_lab.accounts.state import TOKENS, AccountStates, Members, in_first_half, members, repeats
from coverage_lab.accounts.templates import part_prompts
from coverage_lab.atlas import Atlas
from coverage_lab.encoders import Encoder, distinct_texts, encode_distinct, stays_on_device
from coverage_lab.measures.ragged import bounded_runs
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

    grouped = np.argsort(account, kind="stable")
    offsets = np.searchsorted(account[grouped], np.arange(len(names) + 1)).astype(np.int64)
    column = prompts["prompt"].to_pylist()
    texts = [column[i] for i in grouped.tolist()]
    parted = part_prompts(texts, offsets)
    sent, places = distinct_texts([*texts, *parted.content, *(said for said in parted.instruction if said)])
    distinct = distinct_prompts(sent, _encoded(encoder, sent, progress), atlas)
    which, content, said = np.split(places, [len(texts), 2 * len(texts)])
    instruction = np.full(len(texts), -1, np.int64)
    instruction[np.array([bool(text) for text in parted.instruction])] = said
    timestamps = prompts["timestamp"].cast(pa.int64()).to_numpy()[grouped]

    account = account[grouped]
    order = np.lexsort((distinct.digests[which], timestamps, account))
    return states_of(
        tuple(names[i] for i in by_name),
        offsets,
        timestamps[order],
        which[order],
        distinct,
        content=content[order],
        instruction=instruction[order],
        end_users=_members(prompts["end_user"], grouped[order], account),
        sessions=_members(prompts["session"], grouped[order], account),
        tokens=_tokens(prompts)[grouped[order]],
    )


def states_of(
    account_ids: tuple[str, ...],
    offsets: NDArray[np.int64],
    timestamps: NDArray[np.int64],
    which: NDArray[np.int64],
    distinct: Distinct,
    *,
    content: NDArray[np.int64] | None = None,
    instruction: NDArray[np.int64] | None = None,
    end_users: Members | None = None,
    sessions: Members | None = None,
    tokens: NDArray[np.float64] | None = None,
    novelty: NDArray[np.float32] | None = None,
) -> AccountStates:
    """Make the states of accounts whose prompts are rows of a bank of distinct prompts.

    The bank is read in place, some thousand rows at a time, so that it may be much larger than the
    accounts of one call; accounts may be cut over calls anyhow.

    Parameters
    ----------
    account_ids : tuple of str (A,)
        Sorted, unique.
    offsets : int64 (A + 1,)
        Account i sent rows ``offsets[i]:offsets[i + 1]``, at least one.
    timestamps : int64 (N,)
        Microseconds since 1970, UTC.
    which : int64 (N,)
        Row of `distinct` that each prompt is. Prompts of an account are sorted by (time, digest): what
        ``np.lexsort((distinct.digests[which], timestamps, account))`` orders.
    content : int64 (N,)
        Row of `distinct` that each prompt's content is; the prompt itself when not given.
    instruction : int64 (N,)
        Row of `distinct` that the instruction is that each prompt is wrapped in, -1 where it is in none; in
        none when not given.
    end_users, sessions : Members
        Hashed end users and sessions; nobody when not given.
    tokens : float64 (N, 2)
        Tokens in and out of each prompt, both 0 where they are not known; not known when not given.
    novelty : float32 (N,)
        As `coverage_lab.measures.novelty` gives it for the contents; computed when not given.

    Raises
    ------
    ValueError
        The arrays don't fit together, or are not sorted as said.
    """
    content = which if content is None else content
    instruction = np.full(len(which), -1, np.int64) if instruction is None else instruction
    _check(account_ids, offsets, timestamps, which, distinct, novelty)
    _check_rows(which, content=content, instruction=instruction, distinct=distinct)
    digests = distinct.digests[which]
    account = np.repeat(np.arange(len(account_ids)), np.diff(offsets))
    _check_order(account, timestamps, digests)
    size = len(account_ids)
    if novelty is None:
        novelty = distinct.vectors.novelty(content, offsets)
    structure_sums = np.empty((size, distinct.structure.shape[1]))
    structure_squares = np.empty_like(structure_sums)
    opening_sums, content_opening_sums = np.empty((size, OPENINGS)), np.empty((size, OPENINGS))
    for start, stop in bounded_runs(offsets, BLOCK):
        begin, end = offsets[start], offsets[stop]
        cuts, taken = offsets[start : stop + 1] - begin, which[begin:end]
        structure = distinct.structure[taken].astype(np.float64)
        structure_sums[start:stop] = _summed(structure, cuts)
        structure_squares[start:stop] = _summed(structure**2, cuts)
        opening_sums[start:stop] = _summed_openings(distinct, taken, cuts)
        content_opening_sums[start:stop] = _summed_openings(distinct, content[begin:end], cuts)
    first_half_content_sums, first_half_opening_sums = _summed_first_half(
        distinct, which, content, account, size
    )
    return AccountStates(
        account_ids=account_ids,
        offsets=offsets,
        timestamps=timestamps,
        digests=digests,
        cells=distinct.cells[content],
        # A repeat to the letter has novelty 0 exactly, not what rounding makes of 1 − x·x.
        novelty=np.where(repeats(account, digests), np.float32(0), novelty),
        vector_sums=distinct.vectors.sums(which, offsets),
        content_sums=distinct.vectors.sums(content, offsets),
        content_squares=distinct.vectors.squares(content, offsets),
        instruction_sums=_summed_instructions(distinct, instruction, account, size),
        wrapping_sums=_summed_wrapping(distinct, which, content, instruction, offsets),
        token_sums=np.zeros((size, len(TOKENS))) if tokens is None else _summed(tokens, offsets),
        structure_sums=structure_sums,
        structure_squares=structure_squares,
        opening_sums=opening_sums,
        content_opening_sums=content_opening_sums,
        first_half_content_sums=first_half_content_sums,
        first_half_opening_sums=first_half_opening_sums,
        end_users=Members.nobody() if end_users is None else end_users,
        sessions=Members.nobody() if sessions is None else sessions,
        templates=members(account[instruction >= 0], distinct.digests[instruction[instruction >= 0]]),
    )


def _encoded(encoder: Encoder, texts: Sequence[str], progress: Progress) -> Vectors:
    """Encode distinct texts; where the encoder runs on a GPU and can, their vectors stay there."""
    if stays_on_device(encoder):
        # Here, not above: torch is an extra.
        from coverage_lab.accounts.device_vectors import encoded_on_device

        return encoded_on_device(encoder, texts, progress=progress)
    return HostVectors(encode_distinct(encoder, texts, progress=progress))


def _summed(rows: NDArray[np.floating], cuts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.add.reduceat(rows, cuts[:-1], axis=0, dtype=np.float64)


def _summed_openings(
    distinct: Distinct, taken: NDArray[np.int64], cuts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum sparse rows per account; a sparse product would convert the whole bank to float64."""
    rows, size = distinct.openings[taken], len(cuts) - 1
    account = np.repeat(np.repeat(np.arange(size), np.diff(cuts)), np.diff(rows.indptr))
    column = account * OPENINGS + rows.indices
    sums = np.bincount(column, weights=rows.data, minlength=size * OPENINGS)
    return sums.astype(np.float64, copy=False).reshape(size, OPENINGS)


def _summed_first_half(
    distinct: Distinct,
    which: NDArray[np.int64],
    content: NDArray[np.int64],
    account: NDArray[np.int64],
    size: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum the contents' vectors and the prompts' opening words of each account's first half."""
    contents, opened = np.zeros((size, distinct.vectors.dim)), np.zeros((size, OPENINGS))
    half = np.flatnonzero(in_first_half(distinct.digests[which]))
    having, first = np.unique(account[half], return_index=True)
    cuts = np.append(first, len(half)).astype(np.int64)
    for start, stop in bounded_runs(cuts, BLOCK):
        rows, within = half[cuts[start] : cuts[stop]], cuts[start : stop + 1] - cuts[start]
        contents[having[start:stop]] = distinct.vectors.sums(content[rows], within)
        opened[having[start:stop]] = _summed_openings(distinct, which[rows], within)
    return contents, opened


def _summed_instructions(
    distinct: Distinct, instruction: NDArray[np.int64], account: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Sum the vectors of the instructions that each account's prompts are wrapped in, (A, d)."""
    sums = np.zeros((size, distinct.vectors.dim))
    wrapped = instruction >= 0
    having, first = np.unique(account[wrapped], return_index=True)
    if len(having):
        cuts = np.append(first, np.count_nonzero(wrapped)).astype(np.int64)
        sums[having] = distinct.vectors.sums(instruction[wrapped], cuts)
    return sums


def _summed_wrapping(
    distinct: Distinct,
    which: NDArray[np.int64],
    content: NDArray[np.int64],
    instruction: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Sum what `coverage_lab.accounts.state.WRAPPING` names, (A, 3)."""
    characters = distinct.characters[which]
    columns = (instruction >= 0, characters - distinct.characters[content], characters)
    return _summed(np.column_stack(columns).astype(np.float64), offsets)


def _check_rows(
    which: NDArray[np.int64],
    *,
    content: NDArray[np.int64],
    instruction: NDArray[np.int64],
    distinct: Distinct,
) -> None:
    for name, rows, lowest in (("content", content, 0), ("instruction", instruction, -1)):
        if rows.shape != which.shape:
            raise ValueError(f"{name}: expected shape {which.shape} as which, got {rows.shape}")
        if len(rows) and not lowest <= rows.min() <= rows.max() < len(distinct.digests):
            raise ValueError(f"{name}: expected rows {lowest} to {len(distinct.digests) - 1} of distinct")


def _check(
    account_ids: tuple[str, ...],
    offsets: NDArray[np.int64],
    timestamps: NDArray[np.int64],
    which: NDArray[np.int64],
    distinct: Distinct,
    novelty: NDArray[np.float32] | None,
) -> None:
    if any(one >= other for one, other in pairwise(account_ids)):
        raise ValueError("account_ids: expected sorted ids, each once")
    if offsets.shape != (len(account_ids) + 1,):
        raise ValueError(f"offsets: expected shape ({len(account_ids) + 1},), got {offsets.shape}")
    if offsets[0] != 0 or offsets[-1] != len(which) or (np.diff(offsets) < 1).any():
        raise ValueError(f"offsets: expected a rise from 0 to {len(which)} with a prompt in each account")
    for name, values in (("timestamps", timestamps), ("novelty", novelty)):
        if values is not None and values.shape != which.shape:
            raise ValueError(f"{name}: expected shape {which.shape} as which, got {values.shape}")
    if len(which) and not 0 <= which.min() <= which.max() < len(distinct.digests):
        raise ValueError(f"which: expected rows 0 to {len(distinct.digests) - 1} of distinct")


def _check_order(
    account: NDArray[np.int64], timestamps: NDArray[np.int64], digests: NDArray[np.uint64]
) -> None:
    later = timestamps[1:] > timestamps[:-1]
    tied = (timestamps[1:] == timestamps[:-1]) & (digests[1:] >= digests[:-1])
    if not ((account[1:] != account[:-1]) | later | tied).all():
        raise ValueError("timestamps: expected each account's prompts sorted by time, then by digest")


def _tokens(prompts: pa.Table) -> NDArray[np.float64]:
    """Tokens in and out of each prompt, (n, 2); both 0 where one is not known."""
    columns = [prompts[name].cast(pa.float64()).to_numpy() for name in TOKENS]
    tokens = np.column_stack(columns)
    tokens[np.isnan(tokens).any(axis=1)] = 0
    return tokens


def _members(column: pa.ChunkedArray, order: NDArray[np.int64], account: NDArray[np.int64]) -> Members:
    """Pair accounts with their hashed names; rows without a name are left out."""
    present = pc.is_valid(column).to_numpy()[order]
    taken = column.take(pa.array(order[present]))
    encoded = pc.dictionary_encode(taken).combine_chunks()
    hashed = digests_of(encoded.dictionary.to_pylist())
    return members(account[present], hashed[encoded.indices.to_numpy(zero_copy_only=False)])
