"""What a file's bytes are, so that a wrong suffix costs nothing."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
from pathlib import Path
from typing import IO, Final, Literal, cast

import pyarrow as pa

Container = Literal["parquet", "jsonl", "arrow", "csv", "log"]

#: Bytes of a file's beginning by which it is recognised.
HEAD_BYTES: Final = 2**16
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_BZIP2: Final = b"BZh"
_XZ: Final = (b"\xfd7zXZ\x00", b"\x5d\x00\x00")
_OF_ARROW: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
_PARQUET: Final = (b"PAR1", b"PARE")
_ARROW: Final = (b"ARROW1", b"\xff\xff\xff\xff")
_UNPACK: Final = "unpack it"
_CONVERT: Final = "convert it to Parquet or JSON lines"
_PACK_AGAIN: Final = "unpack it, or compress it with gzip or zstd"
#: What is never traffic: how it begins, what it is, and what to do.
_OTHERS: Final = (
    (b"%PDF-", "a PDF", _CONVERT),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save it as CSV"),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!\x1a", "a RAR archive", _UNPACK),
    (b"\x1f\x9d", "compressed with compress", _PACK_AGAIN),
    (b"\xff\x06\x00\x00sNaPpY", "compressed with Snappy", _PACK_AGAIN),
    (b"\x78\x01", "compressed with zlib", _PACK_AGAIN),
    (b"\x78\x9c", "compressed with zlib", _PACK_AGAIN),
    (b"\x78\xda", "compressed with zlib", _PACK_AGAIN),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"FEA1\0", "a Feather file of version 1", "write it as version 2, which is Arrow"),
    (b"SEQ\x06", "a Hadoop sequence file", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"SQLite format 3", "an SQLite database", "export the table as Parquet or CSV"),
    (b"\x80\x04", "a Python pickle", "write it as Parquet"),
    (b"\x80\x05", "a Python pickle", "write it as Parquet"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with git lfs pull"),
    (b"<?xml", "XML", _CONVERT),
    (b"<!DOCTYPE", "a web page", "check that the download was allowed"),
    (b"<html", "a web page", "check that the download was allowed"),
    (b"\x89PNG", "an image", _CONVERT),
    (b"\xff\xd8\xff", "an image", _CONVERT),
)
_ORC: Final = re.compile(rb"ORC[^\x20-\x7e]")
_OBJECTS: Final = re.compile(rb"(?:\xef\xbb\xbf)?[\s\x1e\0]*(?:\[\s*)?\{")
#: Bytes by which text is told from Brotli, and the signs that text does not have.
_TEXT_BYTES: Final = 2**12
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1d\x1f\x7f]")
_DUCKDB: Final = (8, b"DUCK")
_TAR: Final = (257, b"ustar")


def open_content(path: Path) -> IO[bytes]:
    """Open a file's content, decompressed: gzip, zstd, lz4, bzip2, xz by its bytes, Brotli by its suffix
    where its bytes are no text.
    """
    with path.open("rb") as file:
        start = file.read(_TEXT_BYTES)
    magic = start[:8]
    if magic.startswith(_GZIP):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if magic.startswith(_BZIP2):
        return cast("IO[bytes]", bz2.open(path, "rb"))
    if magic.startswith(_XZ):
        return cast("IO[bytes]", lzma.open(path, "rb"))
    packed = next((name for mark, name in _OF_ARROW.items() if magic.startswith(mark)), None)
    if packed is None and path.suffix.lower() == ".br" and not _is_text(start):  # Brotli has no mark
        packed = "brotli"
    if packed is not None:
        return cast("IO[bytes]", io.BufferedReader(pa.input_stream(str(path), compression=packed), 2**20))
    return path.open("rb")


def _is_text(start: bytes) -> bool:
    """Whether bytes, which may end within a sign, are UTF-8 without control signs but those of lines."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return _CONTROL.search(start) is None


def refusal_of(head: bytes) -> str | None:
    """What bytes are that can't be traffic, and what to do about it; None for all others."""
    text = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    for start, kind, remedy in _OTHERS:
        if head.startswith(start) or (start.startswith(b"<") and text[:9].lower().startswith(start.lower())):
            return f"is {kind}; {remedy}"
    if _ORC.match(head):
        return f"is an ORC file; {_CONVERT}"
    if head.startswith((*_PARQUET, _ARROW[0])):
        return f"is a columnar file that is compressed as a whole; {_UNPACK}"
    if head.startswith((_GZIP, *_OF_ARROW)):
        return f"is compressed twice; {_UNPACK} once"
    for (place, mark), kind, remedy in (
        (_DUCKDB, "a DuckDB database", "export the table as Parquet or CSV"),
        (_TAR, "a TAR archive", _UNPACK),
    ):
        # Text may have the mark at that place too, but no NUL around it.
        if head.startswith(mark, place) and b"\0" in head[: place + 16]:
            return f"is {kind}; {remedy}"
    code = _wide_code(head)
    return f"is {code}, expected UTF-8; convert it, for instance with iconv" if code else None


def _wide_code(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by its mark, else by the zeros that it puts between ASCII signs."""
    for code, marks in (
        ("UTF-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff")),
        ("UTF-16", (b"\xff\xfe", b"\xfe\xff")),
    ):
        if head.startswith(marks):
            return code
    start = head[:4]
    if len(head) < 8 or not start.strip(b"\0"):
        return None
    zeros = tuple(sign == 0 for sign in start)
    if zeros in ((False, True, True, True), (True, True, True, False)):
        return "UTF-32"
    return "UTF-16" if zeros in ((False, True, False, True), (True, False, True, False)) else None


def columnar(magic: bytes) -> Container | None:
    """Which kind of columnar file begins like this."""
    if magic.startswith(_PARQUET):
        return "parquet"
    return "arrow" if magic.startswith(_ARROW) else None


def holds_objects(head: bytes) -> bool:
    """Whether text begins with an object of JSON, or with a list of them."""
    return _OBJECTS.match(head) is not None
