"""Which files a day counted, by content, so that a file delivered twice is counted once.

A day has a record with all its files, and for each content a marker whose name holds the content's hash, the
day and the run. Whether a file was counted is asked of its markers, so that the cost of a day is the same
however many days there were before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from coverage_lab.errors import OutputError, TrafficError
from coverage_lab.state.errors import table_errors
from coverage_lab.state.table import StateTable
from coverage_lab.traffic import Source

#: A name with an underscore in front is no data: a vacuum leaves it alone.
_FOLDER = "_days"
_BY_CONTENT = "_files"


@dataclass(frozen=True)
class CountedFile:
    """An input file: its name in the input, the SHA-256 of its bytes in hex, its size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class DayRecord:
    """What a run counted for a day.

    It and its markers are written beside the table before the day is committed, under the day's and the run's
    name, and count only where the table says that this run is the day's.
    """

    day: date
    run: str
    prompts: int
    files: tuple[CountedFile, ...]


def counted_file(source: Source) -> CountedFile:
    """Hash a file of traffic, a piece at a time.

    Raises
    ------
    TrafficError
        The file can't be read.
    """
    try:
        with source.path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            return CountedFile(source.name, digest, opened.tell())
    except OSError as error:
        raise TrafficError(f"input file {source.name}: can't be read ({error.strerror or error})") from error


def drop_repeated_files(
    sources: Sequence[Source], files: Sequence[CountedFile]
) -> tuple[list[Source], list[CountedFile], dict[str, str]]:
    """Leave out files whose content an earlier one of the same input has.

    Returns
    -------
    sources, files
        The first of each content, by name.
    repeated
        Name of each file that is left out -> name of the one that has its content.
    """
    first: dict[str, str] = {}
    repeated: dict[str, str] = {}
    for file in files:
        if first.setdefault(file.sha256, file.name) != file.name:
            repeated[file.name] = first[file.sha256]
    kept = [(source, file) for source, file in zip(sources, files, strict=True) if file.name not in repeated]
    return [source for source, _ in kept], [file for _, file in kept], repeated


def check_not_counted(table: StateTable, day: date, files: Sequence[CountedFile]) -> None:
    """Refuse files that another day has counted.

    Raises
    ------
    TrafficError
        In one line, with the first such file and the day that has it.
    """
    days = {other: run for other, run in table.days().items() if other != day}
    counted = _counted(table, days, files)
    again = [file for file in files if file.sha256 in counted]
    if again:
        other = counted[again[0].sha256]
        theirs = read_record(table, other, days[other]).files
        name = next((file.name for file in theirs if file.sha256 == again[0].sha256), "(not in its record)")
        more = f" (and {len(again) - 1} more)" if len(again) > 1 else ""
        raise TrafficError(
            f"input file {again[0].name}{more}: its content was counted on {other} as {name}; "
            "take it out, or count it again with --allow-repeated-files"
        )


def write_record(table: StateTable, record: DayRecord) -> None:
    """Write a day's record and its markers, replacing those of the same day and run."""
    _put(table, record)
    with table_errors(table.url):
        table.store.put_texts("counted", _markers(record))


def is_written(table: StateTable, record: DayRecord) -> bool:
    """Whether a day's record and all its markers are there."""
    markers = _markers(record)
    with table_errors(table.url):
        found = table.store.paths_in([marker.rsplit("/", 1)[0] for marker in markers])
        return table.store.has(_path(record.day, record.run)) and all(
            marker in there for marker, there in zip(markers, found, strict=True)
        )


def read_record(table: StateTable, day: date, run: str) -> DayRecord:
    """Read a day's record.

    Raises
    ------
    OutputError
        It is gone or damaged.
    """
    path = _path(day, run)
    try:
        with table_errors(table.url, passed=FileNotFoundError):
            raw = json.loads(table.store.text(path))
            files = tuple(CountedFile(**file) for file in raw["files"])
            return DayRecord(date.fromisoformat(raw["day"]), raw["run"], raw["prompts"], files)
    except (FileNotFoundError, KeyError, TypeError) as error:
        raise OutputError(
            f"state {table.url}: {path} is gone or damaged, so nobody knows which files {day} counted; "
            f"take the day out with `coverage-lab state rollback` and run it again"
        ) from error


def delete_record(table: StateTable, day: date, run: str) -> None:
    """Delete a day's record and its markers; none is no error."""
    try:
        markers = _markers(read_record(table, day, run))
    except OutputError:  # gone or damaged: a marker without its day counts for nothing
        markers = []
    with table_errors(table.url):
        table.store.delete_all([*markers, _path(day, run)])


def sweep_records(table: StateTable) -> None:
    """Delete what is of runs that are no day's: of days replaced, and of runs that never committed."""
    days = table.days()
    kept = {_path(day, run) for day, run in days.items()}
    with table_errors(table.url):
        stale = [path for path in table.store.paths(_FOLDER) if path not in kept]
        markers = table.store.paths(_BY_CONTENT, recursive=True)
        stale += [path for path in markers if (of := _of_marker(path)) and days.get(of[0]) != of[1]]
        table.store.delete_all(stale)


def blank_names(table: StateTable, text: str) -> None:
    """Take out of all records the names of files that hold `text`; their hashes stay."""
    for day, run in table.days().items():
        record = read_record(table, day, run)
        files = tuple(
            CountedFile("(name removed)", file.sha256, file.bytes) if text in file.name else file
            for file in record.files
        )
        if files != record.files:
            _put(table, DayRecord(day, run, record.prompts, files))


def _put(table: StateTable, record: DayRecord) -> None:
    text = json.dumps(asdict(record) | {"day": record.day.isoformat()}, indent=1, ensure_ascii=False)
    with table_errors(table.url):
        table.store.put_text(text, _path(record.day, record.run))


def _counted(table: StateTable, days: Mapping[date, str], files: Sequence[CountedFile]) -> dict[str, date]:
    """Give the day of those contents of `files` that one has counted, from their markers."""
    with table_errors(table.url):
        found = table.store.paths_in([f"{_BY_CONTENT}/{file.sha256}" for file in files])
    return {
        file.sha256: marked[0]
        for file, paths in zip(files, found, strict=True)
        for path in paths
        if (marked := _of_marker(path)) is not None and days.get(marked[0]) == marked[1]
    }


def _markers(record: DayRecord) -> list[str]:
    contents = dict.fromkeys(file.sha256 for file in record.files)
    return [f"{_BY_CONTENT}/{sha256}/{record.day.isoformat()}-{record.run}" for sha256 in contents]


def _of_marker(path: str) -> tuple[date, str] | None:
    """Day and run of a marker; None for a file that somebody else put there."""
    day, _, run = path.rsplit("/", 1)[-1].rpartition("-")
    try:
        return date.fromisoformat(day), run
    except ValueError:
        return None


def _path(day: date, run: str) -> str:
    return f"{_FOLDER}/{day.isoformat()}-{run}.json"
