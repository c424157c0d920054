"""Bytes of files: what they are goes by their content, so that a wrong suffix costs nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, Final, cast

import pyarrow as pa

from coverage_lab.errors import TrafficError
from coverage_lab.traffic.sources import Container, Source
from coverage_lab.untrusted.text import shown

#: Bytes of a file's beginning by which it is recognised.
HEAD_BYTES: Final = 2**16
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_XZ: Final = b"\xfd7zXZ\x00"
_ARROW: Final = (b"ARROW1", b"\xff\xff\xff\xff")
_OTHERS: Final = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "an image",
}
_MARK: Final = b"\xef\xbb\xbf"


def open_content(path: Path) -> IO[bytes]:
    """Open a file's content, decompressed where its bytes are gzip, zstd, bzip2 or xz."""
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if magic.startswith(_ZSTD):
        return cast("IO[bytes]", io.BufferedReader(pa.input_stream(str(path), compression="zstd"), 2**20))
    if magic.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(path, "rb"))
    if magic.startswith(_XZ):
        return cast("IO[bytes]", lzma.open(path, "rb"))
    return path.open("rb")


def head_of(source: Source) -> bytes:
    """First bytes of a source's content, without a byte order mark."""
    with open_content(source.path) as stream:
        return stream.read(HEAD_BYTES).removeprefix(_MARK)


def container_of(source: Source) -> Container:
    """Tell what a file's bytes are; its suffix decides only between kinds of plain text.

    Raises
    ------
    TrafficError
        Text in UTF-16 or UTF-32, or a kind of file that is never traffic.
    """
    with source.path.open("rb") as file:
        magic = file.read(16)
    if magic.startswith(b"PAR1") or magic.startswith(b"PARE"):
        return "parquet"
    if magic.startswith(_ARROW):
        return "arrow"
    if source.format in ("parquet", "arrow") and magic.lstrip()[:1] != b"{":
        return source.format  # damaged, which opening it says best
    head = head_of(source)
    name = f"input file {shown(source.name)}"
    for code, bytes_of in (
        ("UTF-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff")),
        ("UTF-16", (b"\xff\xfe", b"\xfe\xff")),
    ):
        if head.startswith(bytes_of):
            raise TrafficError(f"{name}: is {code}, expected UTF-8; convert it, for instance with iconv")
    if b"\0" in head[:4] and head[:4].replace(b"\0", b"").lstrip()[:1] in (b"{", b"[", b'"'):
        raise TrafficError(f"{name}: is UTF-16, expected UTF-8; convert it, for instance with iconv")
    for start, kind in _OTHERS.items():
        if head.startswith(start):
            raise TrafficError(
                f"{name}: can't be read as {source.format} (is {kind}); convert it to JSON lines"
            )
    if head.lstrip()[:1] in (b"{", b"[", b"\x1e"):
        return "jsonl"
    return "jsonl" if source.format in ("parquet", "arrow") else source.format
