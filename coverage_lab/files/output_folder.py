"""The output folder: whose it is, what is finished in it, and what makes it finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from coverage_lab.errors import OutputError
from coverage_lab.files.atomic import disk_errors, read_json, whole_file, write_json
from coverage_lab.files.manifest import MANIFEST, Manifest, read_manifest

REPORT = "report.html"
WORK = ".work"
TABLES = ("accounts", "curves", "cells", "flags", "campaigns", "members", "quarantine")
#: Everything that a run leaves in its folder. The manifest is written last, so that a folder with it and all
#: tables holds a finished run, and removed first.
_OWN = (MANIFEST, REPORT, *(f"{name}.parquet" for name in TABLES), WORK)


class OutputFolder:
    """One run's output folder with its work folder `.work`, which holds what a restart goes on from.

    Whatever is written first gets a name inside `.work`, so that a kill at any moment leaves nothing in
    the folder itself but whole files.

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
        The folder holds another run or foreign files, is in use, or can't be written.
    """

    def __init__(self, path: Path, key: str, *, overwrite: bool = False) -> None:
        self.path = path
        self.key = key
        self.work = path / WORK
        # Not a soft lock where the disk has no real ones: that would outlive a process that is killed.
        self._lock = FileLock(self.work / "lock", timeout=0, thread_local=False, fallback_to_soft=False)
        with disk_errors(path):
            if path.exists() and not path.is_dir():
                raise OutputError(f"output {path}: is a file, expected a folder")
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
                raise OutputError(
                    f"output {path}: can't be made ({error.strerror}); give a folder below one that is there"
                ) from error
            foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _OWN)
            if foreign:
                raise OutputError(
                    f"output {path}: holds files that are not a run's ({foreign[0]!r}); give an empty folder"
                )
            another = self._held_key() not in (None, key)
            if another and not overwrite:
                raise OutputError(
                    f"output {path}: holds another run (other input, config or version) or a damaged one; "
                    "give another folder or --overwrite"
                )
            if self.finished and not another:
                shutil.rmtree(self.work, ignore_errors=True)
                return
            self._open_work()
            if another:
                self._clear()
                self.release()  # of a file that is gone now
                self._open_work()
            write_json(self.work / "key.json", {"key": key})

    @property
    def finished(self) -> bool:
        """Whether a run has been finished here: its manifest and all its files are there."""
        return all((self.path / name).exists() for name in _OWN if name != WORK)

    def manifest(self) -> Manifest:
        """Read the finished run's `run.json`."""
        return read_manifest(self.path / MANIFEST)

    @contextmanager
    def whole_file(self, name: str) -> Iterator[Path]:
        """Give a temporary name to write to; on success it becomes the folder's file `name`."""
        with whole_file(self.path / name, temporary=self.work / f"{name}.part") as temporary:
            yield temporary

    def finish(self, manifest: Manifest) -> None:
        """Write `run.json`, which makes the run finished, and drop the work folder."""
        with disk_errors(self.path):
            with self.whole_file(MANIFEST) as temporary:
                temporary.write_text(manifest.to_json(), encoding="utf-8")
            shutil.rmtree(self.work, ignore_errors=True)

    def release(self) -> None:
        """Let other runs work here; after an error too, while somebody still holds its traceback."""
        self._lock.release()

    def _open_work(self) -> None:
        """Make the work folder, for this user only since it holds prompts, and keep a second run out.

        The system frees the lock with the process.
        """
        self.work.mkdir(mode=0o700, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputError(f"output {self.path}: another run is working in it right now") from error
        except OSError as error:
            raise OutputError(
                f"output {self.path}: can't be locked ({error.strerror}); its disk needs file locks"
            ) from error

    def _held_key(self) -> str | None:
        if (self.path / MANIFEST).exists():
            try:
                return self.manifest().run_id
            except OutputError:  # another version's, or edited, or damaged: --overwrite must help
                return "unknown"
        if (self.work / "key.json").exists():
            return str(read_json(self.work / "key.json").get("key"))
        # Tables without a manifest or a key: someone's copy, or a run of before. A work folder alone is
        # what a kill before the key was written leaves.
        return "unknown" if any(entry.name != WORK for entry in self.path.iterdir()) else None

    def _clear(self) -> None:
        for name in _OWN:
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
