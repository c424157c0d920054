"""Which files a day counted, by content, so that a file delivered twice is counted once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date

from coverage_lab.errors import OutputError, TrafficError
from coverage_lab.jobs.state import StateTable, table_errors
from coverage_lab.traffic import Source

#: A name with an underscore in front is no data: a vacuum leaves it alone.
_FOLDER = "_days"


@dataclass(frozen=True)
class CountedFile:
    """An input file: its name in the input, the SHA-256 of its bytes in hex, its size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class DayRecord:
    """What a run counted for a day.

    It is written beside the table before the day is committed, under the day's and the run's name, and counts
    only where the table says that this run is the day's.
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


def without_repeats(
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
    counted = {
        file.sha256: (other, file.name)
        for other, run in table.days().items()
        if other != day
        for file in read_record(table, other, run).files
    }
    again = [file for file in files if file.sha256 in counted]
    if again:
        other, name = counted[again[0].sha256]
        more = f" (and {len(again) - 1} more)" if len(again) > 1 else ""
        raise TrafficError(
            f"input file {again[0].name}{more}: its content was counted on {other} as {name}; "
            "take it out, or count it again with --allow-repeated-files"
        )


def write_record(table: StateTable, record: DayRecord) -> None:
    """Write a day's record, replacing one of the same day and run."""
    text = json.dumps(asdict(record) | {"day": record.day.isoformat()}, indent=1, ensure_ascii=False)
    with table_errors(table.url):
        table.store.put_text(text, _path(record.day, record.run))


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
    """Delete a day's record; none is no error."""
    with table_errors(table.url):
        table.store.delete(_path(day, run))


def sweep_records(table: StateTable) -> None:
    """Delete the records of runs that are no day's: of days replaced, and of runs that never committed."""
    kept = {_path(day, run) for day, run in table.days().items()}
    with table_errors(table.url):
        for path in table.store.paths(_FOLDER):
            if path not in kept:
                table.store.delete(path)


def blank_names(table: StateTable, text: str) -> None:
    """Take out of all records the names of files that hold `text`; their hashes stay."""
    for day, run in table.days().items():
        record = read_record(table, day, run)
        files = tuple(
            CountedFile("(name removed)", file.sha256, file.bytes) if text in file.name else file
            for file in record.files
        )
        if files != record.files:
            write_record(table, DayRecord(day, run, record.prompts, files))


def _path(day: date, run: str) -> str:
    return f"{_FOLDER}/{day.isoformat()}-{run}.json"
