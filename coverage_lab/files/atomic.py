"""Files that are whole or not there: written aside, synced, renamed; and what a disk's errors mean."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from coverage_lab.config import one_line
from coverage_lab.errors import OutputError

T = TypeVar("T")

#: What the name of a file ends with while it is written beside its place.
PARTIAL = ".partial"


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object that a run wrote."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: can't be read as a run's JSON ({error})") from error
    if not isinstance(value, dict):
        raise OutputError(f"{path}: expected a JSON object")
    return value


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object so that the file is either whole or not there."""
    with whole_file(path, temporary=path.with_suffix(".part")) as temporary:
        temporary.write_text(as_json(value), encoding="utf-8")


def read_value(path: Path, kind: type[T]) -> T:
    """Read a dataclass or model that `write_value` wrote."""
    raw = read_json(path)
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        raise OutputError(f"{path}: not what a run of this version writes: {one_line(error)}") from error


def write_value(path: Path, value: object) -> None:
    """Write a dataclass or model as a JSON object so that the file is either whole or not there."""
    write_json(path, TypeAdapter(type(value)).dump_python(value, mode="json"))


def as_json(value: Mapping[str, object]) -> str:
    """Text of a JSON object as all our files hold it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def whole_file(path: Path, *, temporary: Path | None = None) -> Iterator[Path]:
    """Give `temporary` to write to (`path` with `PARTIAL` behind it when not given).

    On success it is synced and renamed to `path`; on an error it is removed and `path` stays as it was.
    """
    if temporary is None:
        temporary = path.with_name(path.name + PARTIAL)
    try:
        yield temporary
        synced(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside `path` to write to, renamed to `path` on success and removed on an error.

    Folders above are made; `path` must not exist. A disk's errors are told as by `disk_errors`.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield unfinished
            unfinished.chmod(0o755)
            unfinished.rename(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def synced(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with path.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a read-only one or a missing permission into one clear line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        if full:
            raise OutputError(
                f"output {path}: the disk is full; free some space and run the same command again "
                "to go on from where it stopped"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise OutputError(f"output {path}: can't be written ({error.strerror})") from error
        raise
