"""Which files an input names."""

from __future__ import annotations

import glob
import lzma
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from coverage_lab.errors import TrafficError
from coverage_lab.traffic.addresses import fetched, is_address
from coverage_lab.traffic.content import (
    HEAD_BYTES,
    Container,
    columnar,
    holds_objects,
    open_content,
    refusal_of,
)
from coverage_lab.traffic.table_folders import delta_files, refuse_iceberg
from coverage_lab.untrusted.text import first_line, shown

_PLAIN: Final[dict[str, Container]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".jsonlines": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".log": "log",
}
_COMPRESSIONS: Final = ("", ".gz", ".zst", ".bz2", ".xz", ".lz4", ".br")

SUFFIXES: Final[dict[str, Container]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    **{plain + packed: kind for packed in _COMPRESSIONS for plain, kind in _PLAIN.items()},
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}


@dataclass(frozen=True)
class Source:
    """One file of traffic.

    Attributes
    ----------
    name : str
        Path relative to the input, with `/`.
    format : str
        What kind of file it is.
    partitions : tuple
        The hive-style `key=value` folders of the path as it was given, outermost first, values URL-decoded.
    shape : str
        What one row is: a name of `coverage_lab.traffic.formats.FORMATS`, `table`, or `messages`, a table
        whose prompt column holds messages. `check_sources` finds it out.
    named : int
        How often the input names this path; it is read once.
    """

    path: Path
    name: str
    format: Container
    partitions: tuple[tuple[str, str], ...] = ()
    shape: str = "table"
    named: int = 1


def find_sources(input: str | Path | Sequence[str | Path]) -> list[Source]:
    """List the files of an input, sorted by name; of several inputs, one after the other.

    Parameters
    ----------
    input
        One file, a folder (searched in full, links followed) or a glob (`**` for any depth), also as a
        `file://` address. A path that exists is taken as it is, even if it holds glob characters. In folders,
        names that start with `.` or `_` (`_SUCCESS`, `_metadata`) are left out, except hive folders
        (`_key=value`), and so are folders of results. A Delta Lake folder is read by its log.

    Returns
    -------
    list of Source
        At least one; formats go by suffix, upper or lower case (`SUFFIXES`), until `check_sources` looks
        into the files.

    Raises
    ------
    TrafficError
        Nothing is found, a file has another suffix (nothing is left out silently), something is not a
        regular file, a folder can't be listed or is reached twice through links, an Iceberg table.
    MissingExtraError
        A Delta Lake folder, and deltalake is not installed.
    """
    if not isinstance(input, str | Path):
        each = [find_sources(one) for one in input]
        if not each:
            raise TrafficError("input: expected at least one path, got none")
        return _apart([source for found in each for source in found])
    text = os.fspath(input)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    elif is_address(text):
        text = str(fetched(text))
    given = Path(text)
    if text == "-":
        raise TrafficError("input -: standard input can't be read twice; save it to a file, and give that")
    try:
        if not text or "\0" in text:
            raise TrafficError(f"input '{shown(text)}': expected a path or a glob")
        if given.is_dir():
            found = list(_walk(given, given))
        elif os.path.lexists(given):
            found = [(given, given.name)]
        else:
            found = list(_expand(text))
    except OSError as error:
        raise TrafficError(f"input {shown(text)}: can't be listed ({error.strerror or error})") from error
    if not found:
        raise TrafficError(f"input {shown(text)}: no traffic found (expected files with {_suffix_list()})")
    return sorted((_source(path, name) for path, name in found), key=lambda source: source.name)


def _apart(sources: list[Source]) -> list[Source]:
    """Each file once; those of several inputs that have the same name get the names of their paths."""
    named = Counter(sources)
    times = Counter(source.name for source in named)
    return [
        replace(source, name=source.path.as_posix() if times[source.name] > 1 else source.name, named=often)
        for source, often in named.items()
    ]


def partition_value(value: str) -> str | None:
    """Value of a hive partition; hive's own name for null is None."""
    return None if value == "__HIVE_DEFAULT_PARTITION__" else value


def _source(path: Path, name: str) -> Source:
    label = os.fsencode(name).decode("utf-8", "backslashreplace")
    if not path.is_file():
        state = (
            "is not a regular file (a pipe can't be read twice: save it to a file, and give that)"
            if path.exists()
            else "is a link to nothing"
        )
        raise TrafficError(f"input file {shown(label)}: {state}")
    lower = path.name.lower()
    for suffix, kind in SUFFIXES.items():
        if lower.endswith(suffix):
            return Source(path=path, name=label, format=kind, partitions=_partitions(path))
    return Source(path=path, name=label, format=_by_content(path, label), partitions=_partitions(path))


def _by_content(path: Path, label: str) -> Container:
    """Kind of a file whose suffix tells none, such as `app.jsonl.1`."""
    where = f"input file {shown(label)}"
    try:
        with path.open("rb") as opened:
            kind = columnar(opened.read(8))
        with open_content(path) as stream:
            head = stream.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise TrafficError(f"{where}: can't be read ({first_line(error)})") from error
    if kind is not None or holds_objects(head):
        return kind or "jsonl"
    if (refusal := refusal_of(head)) is not None:
        raise TrafficError(f"{where}: can't be read ({refusal})")
    raise TrafficError(f"{where}: unknown suffix (expected {_suffix_list()})")


def _partitions(path: Path) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in path.parent.parts)
    return tuple(
        (unquote(key), unquote(value, errors="replace")) for key, equals, value in pairs if key and equals
    )


def _walk(folder: Path, base: Path) -> Iterator[tuple[Path, str]]:
    reached: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in reached:
            raise TrafficError(f"input folder {shown(place)}: reached twice through links")
        reached.add((status.st_dev, status.st_ino))
        if "_delta_log" in folders:
            folders[:] = []
            for path in delta_files(Path(place)):
                yield path, path.relative_to(base).as_posix()
            continue
        refuse_iceberg(Path(place), folders)
        if {"run.json", "accounts.parquet", "quarantine.parquet"} <= set(files) and Path(place) != folder:
            folders[:] = []  # results of an earlier run
            continue
        folders[:] = [name for name in folders if not _left_out(name)]
        for name in files:
            if not _left_out(name):
                path = Path(place, name)
                yield path, path.relative_to(base).as_posix()


def _expand(pattern: str) -> Iterator[tuple[Path, str]]:
    """Files of a glob, and of the folders that it names; each once."""
    parts = Path(pattern).parts
    magic = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    base = Path(*parts[:magic])
    wants_marked = any(part.startswith("_") for part in parts[magic:])
    found: dict[Path, str] = {}
    for match in glob.glob(pattern, recursive=True):
        path = Path(match)
        if not wants_marked and any(_left_out(part) for part in path.relative_to(base).parts):
            continue
        inside = _walk(path, base) if path.is_dir() else [(path, path.relative_to(base).as_posix())]
        found.update(inside)
    yield from found.items()


def _left_out(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _suffix_list() -> str:
    plain = ", ".join(dict.fromkeys(suffix for suffix in SUFFIXES if suffix.count(".") == 1))
    return f"{plain}; text may be compressed: {', '.join(filter(None, _COMPRESSIONS))}"


def size_of(source: Source) -> int:
    """Bytes of a source's file.

    Raises
    ------
    TrafficError
        The file is gone or can't be looked at.
    """
    try:
        return source.path.stat().st_size
    except OSError as error:
        raise TrafficError(f"input file {shown(source.name)}: can't be read ({first_line(error)})") from error


def rows_of(source: Source) -> int | None:
    """Rows of a source's file, by its footer; None for a format that has none.

    Raises
    ------
    TrafficError
        The file is gone or damaged.
    """
    if source.format != "parquet":
        return None
    try:
        rows: int = pq.read_metadata(source.path).num_rows
    except (OSError, pa.ArrowException) as error:
        raise TrafficError(f"input file {shown(source.name)}: can't be read ({first_line(error)})") from error
    return rows
