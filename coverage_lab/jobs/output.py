"""The output folder: whose it is, what is finished in it, and how files land in it whole."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from coverage_lab.errors import OutputError

#: Written last: a folder with it holds a finished run.
MANIFEST = "run.json"
WORK = ".work"
TABLES = ("accounts", "curves", "cells", "flags", "quarantine")
_OWN = {MANIFEST, WORK, "report.html", *(f"{name}.parquet" for name in TABLES)}


class OutputFolder:
    """One run's output folder with its work folder `.work`, which holds what a restart goes on from.

    Parameters
    ----------
    path : Path
        Made when missing. A folder with files that no run of ours wrote is refused.
    key : str
        Digest of everything that the tables depend on.
    overwrite : bool
        Remove what another run left (our own files only).

    Raises
    ------
    OutputError
        The folder holds another run or foreign files, or can't be written.
    """

    def __init__(self, path: Path, key: str, *, overwrite: bool = False) -> None:
        self.path = path
        self.key = key
        self.work = path / WORK
        with disk_errors(path):
            if path.exists() and not path.is_dir():
                raise OutputError(f"output {path}: is a file, expected a folder")
            path.mkdir(parents=True, exist_ok=True)
            foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _OWN)
            if foreign:
                raise OutputError(
                    f"output {path}: holds files that are not a run's ({foreign[0]!r}); give an empty folder"
                )
            held = self._held_key()
            another = held not in (None, key)
            if another and not overwrite:
                raise OutputError(
                    f"output {path}: holds another run (other input, config or version); "
                    "give another folder or --overwrite"
                )
            if self.finished and not another:
                shutil.rmtree(self.work, ignore_errors=True)
                return
            self.work.mkdir(exist_ok=True)
            self._lock()
            if another:
                self._clear()
                self.work.mkdir()
                self._lock()
            write_json(self.work / "key.json", {"key": key})

    @property
    def finished(self) -> bool:
        """Whether this very run has already been finished here."""
        return (self.path / MANIFEST).exists()

    def manifest(self) -> dict[str, object]:
        """Read the finished run's `run.json`."""
        return read_json(self.path / MANIFEST)

    def finish(self, manifest: Mapping[str, object]) -> None:
        """Write `run.json`, which makes the run finished, and drop the work folder."""
        with disk_errors(self.path):
            write_json(self.path / MANIFEST, manifest)
            shutil.rmtree(self.work, ignore_errors=True)

    def _lock(self) -> None:
        """Keep a second run out for as long as this object lives; the system frees it with the process."""
        self._lock_file = (self.work / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"output {self.path}: another run is working in it right now") from error

    def _held_key(self) -> str | None:
        for path, name in ((self.path / MANIFEST, "run_id"), (self.work / "key.json", "key")):
            if path.exists():
                return str(read_json(path).get(name))
        # Tables without a manifest or a key: someone's copy, or a run of before.
        return "unknown" if any(self.path.iterdir()) else None

    def _clear(self) -> None:
        for name in _OWN:
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)


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
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; on success it is synced and renamed to `path`."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
