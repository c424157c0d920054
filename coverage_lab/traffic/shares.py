"""Sources cut into shares of about the same size, for readers that work side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from coverage_lab.errors import TrafficError
from coverage_lab.traffic.sources import Source, size_of
from coverage_lab.untrusted.text import first_line, shown

#: Hive key of input folders that each hold whole accounts, `bucket=17`.
BUCKET_KEY = "bucket"


@dataclass(frozen=True)
class Piece:
    """A source, or some neighbouring row groups of a Parquet source.

    Attributes
    ----------
    position : int
        Of the source among all sources of the input.
    groups : (start, stop) or None
        Row groups; None is the whole source.
    """

    position: int
    source: Source
    groups: tuple[int, int] | None = None


def whole_pieces(sources: Sequence[Source]) -> list[Piece]:
    """Each source as one piece."""
    return [Piece(position, source) for position, source in enumerate(sources)]


def cut_shares(sources: Sequence[Source], share_bytes: int) -> list[tuple[Piece, ...]]:
    """Deal sources out in their order, so that shares one after the other are the input.

    Parameters
    ----------
    share_bytes : int
        File bytes at which a share is full. A larger Parquet file is cut between row groups; other
        formats can't be cut, so a share may be larger.

    Returns
    -------
    list of tuple of Piece
        At least one piece a share; no shares for no sources.

    Raises
    ------
    TrafficError
        A file is gone or damaged.
    """
    shares: list[tuple[Piece, ...]] = []
    held: list[Piece] = []
    held_bytes = 0.0
    for position, source in enumerate(sources):
        for piece, size in _cut(position, source, share_bytes):
            if held and held_bytes + size > share_bytes:
                shares.append(tuple(held))
                held, held_bytes = [], 0.0
            held.append(piece)
            held_bytes += size
    if held:
        shares.append(tuple(held))
    return shares


def ready_buckets(sources: Sequence[Source]) -> list[tuple[Piece, ...]] | None:
    """Pieces of each `bucket=…` folder, by its value; None unless every source lies in one.

    Folders of the same value (`day=1/bucket=7`, `day=2/bucket=7`) are one bucket.
    """
    found: dict[str, list[Piece]] = {}
    for piece in whole_pieces(sources):
        value = dict(piece.source.partitions).get(BUCKET_KEY)
        if value is None:
            return None
        found.setdefault(value, []).append(piece)
    return [tuple(found[value]) for value in sorted(found, key=lambda value: (len(value), value))]


def _cut(position: int, source: Source, most: int) -> Iterator[tuple[Piece, float]]:
    size = size_of(source)
    if size <= most or source.format != "parquet":
        yield Piece(position, source), size
        return
    try:
        metadata = pq.read_metadata(source.path)
        rows = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise TrafficError(f"input file {shown(source.name)}: can't be read ({first_line(error)})") from error
    if not rows:
        yield Piece(position, source), size
        return
    per_row = size / max(sum(rows), 1)
    start, held = 0, 0
    for at, count in enumerate(rows):
        if at > start and (held + count) * per_row > most:
            yield Piece(position, source, (start, at)), held * per_row
            start, held = at, 0
        held += count
    yield Piece(position, source, (start, len(rows))), held * per_row
