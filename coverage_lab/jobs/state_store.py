"""The bytes of a state table: files written and read where the table is, folder or object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow.fs import FileSelector, FileType

from coverage_lab.errors import MissingExtraError

if TYPE_CHECKING:
    from deltalake.fs import DeltaStorageHandler

_CHUNK = 8 * 2**20


class StateStore:
    """Files below a table's address, through Delta Lake's own storage, with keys from the environment.

    Parameters
    ----------
    url : str
        As `coverage_lab.jobs.state.StateTable`. Nothing is touched before the first use.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def put(self, local: Path, path: str) -> None:
        """Copy a local file to `path`; it is there whole or not at all."""
        with local.open("rb") as source:
            self._write(path, iter(lambda: source.read(_CHUNK), b""))

    def put_text(self, text: str, path: str) -> None:
        """Write a small text file, replacing what is there."""
        self._write(path, iter([text.encode()]))

    def text(self, path: str) -> str:
        """Read a small text file.

        Raises
        ------
        FileNotFoundError
            It is not there.
        """
        if not self.has(path):
            raise FileNotFoundError(path)
        with self.opened(path) as file:
            return bytes(file.read()).decode()

    def opened(self, path: str) -> pa.NativeFile:
        """Open a file for reading at any place."""
        return self._handler().open_input_file(path)

    def has(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return bool(self._handler().get_file_info([path])[0].type == FileType.File)

    def paths(self, folder: str) -> list[str]:
        """List the files in a folder; none where there is no such folder."""
        found = self._handler().get_file_info_selector(FileSelector(folder, allow_not_found=True))
        return sorted(info.path for info in found if info.type == FileType.File)

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        if self.has(path):
            self._handler().delete_file(path)

    def _handler(self) -> DeltaStorageHandler:
        try:
            from deltalake.fs import DeltaStorageHandler
        except ImportError as error:
            raise MissingExtraError("deltalake", "state", "--state") from error
        return DeltaStorageHandler(self._url)

    def _write(self, path: str, chunks: Iterator[bytes]) -> None:
        # Arrow's wrapper hands on buffers, which Delta Lake's stream refuses: it is written to directly.
        stream: Any = self._handler()._handler.open_output_stream(path, None)
        for chunk in chunks:
            stream.write(chunk)
        stream.close()
