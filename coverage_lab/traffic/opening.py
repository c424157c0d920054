"""The beginning of sources, and what they are by it."""

from __future__ import annotations

from coverage_lab.errors import TrafficError
from coverage_lab.traffic.content import (
    BYTE_ORDER_MARK,
    HEAD_BYTES,
    Container,
    columnar,
    holds_objects,
    open_content,
    refusal_of,
)
from coverage_lab.traffic.sources import Source
from coverage_lab.untrusted.text import shown


def head_of(source: Source) -> bytes:
    """First bytes of a source's content, without a byte order mark."""
    with open_content(source.path) as stream:
        return stream.read(HEAD_BYTES).removeprefix(BYTE_ORDER_MARK)


def container_of(source: Source) -> Container:
    """Tell what a file's bytes are; its suffix decides only between kinds of plain text.

    A bracket alone makes no JSON: lines of logs and headings of CSV begin with one too.

    Raises
    ------
    TrafficError
        Text in UTF-16 or UTF-32, or a kind of file that is never traffic.
    """
    with source.path.open("rb") as file:
        magic = file.read(512)
    if (kind := columnar(magic)) is not None:
        return kind
    refusal = refusal_of(magic) if source.format in ("parquet", "arrow") else None
    if refusal is None and source.format in ("parquet", "arrow") and magic.lstrip()[:1] != b"{":
        return source.format  # damaged, which opening it says best
    head = head_of(source)
    if (refusal := refusal or refusal_of(head)) is not None:
        raise TrafficError(f"input file {shown(source.name)}: can't be read as {source.format} ({refusal})")
    return "jsonl" if holds_objects(head) or source.format in ("parquet", "arrow") else source.format
