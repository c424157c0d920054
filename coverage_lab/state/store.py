"""The bytes of a state table: files written and read where the table is, folder or object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow.fs import FileSelector, FileType

from coverage_lab.errors import MissingExtraError
from coverage_lab.files.stand_in import stand_in

if TYPE_CHECKING:
    from deltalake.fs import DeltaStorageHandler

_CHUNK = 8 * 2**20
#: Requests for small files that are under way at once.
_AT_ONCE = 16
#: A request that fails is tried again, later each time, for so long: enough for a store that is busy, and a
#: store that is gone is told within the minute. Delta Lake's own bound is three minutes a request.
_RETRIES = {"max_retries": "10", "retry_timeout": "20s", "connect_timeout": "5s"}


def storage_options(url: str) -> dict[str, str] | None:
    """Give Delta Lake's options for a table's address; keys come from the environment, never from here."""
    return dict(_RETRIES) if "://" in url else None


def delta_place(url: str, *inside: str) -> str:
    """Give the name under which Delta Lake takes a table; folders `inside` are about to be written to."""
    return url if "://" in url else str(stand_in(Path(url), *inside))


class StateStore:
    """Files below a table's address, through Delta Lake's own storage, with keys from the environment.

    Parameters
    ----------
    url : str
        As `coverage_lab.state.table.StateTable`. Nothing is touched before the first use.
    sizes : mapping of str to int, optional
        Bytes of files that are known to be there, by path: an object store is not asked for them again.
    """

    def __init__(self, url: str, *, sizes: Mapping[str, int] | None = None) -> None:
        self.url = url
        self._sizes = dict(sizes or {})
        self._handlers: dict[str, DeltaStorageHandler] = {}

    def put(self, local: Path, path: str) -> None:
        """Copy a local file to `path`; it is there whole or not at all."""
        with local.open("rb") as source:
            self._write(path, iter(lambda: source.read(_CHUNK), b""))

    def put_text(self, text: str, path: str) -> None:
        """Write a small text file, replacing what is there."""
        self._write(path, iter([text.encode()]))

    def put_texts(self, text: str, paths: Iterable[str]) -> None:
        """Write the same small text to many files, several at once."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda path: self.put_text(text, path), paths))

    def text(self, path: str) -> str:
        """Read a small text file.

        Raises
        ------
        FileNotFoundError
            It is not there.
        """
        with self.opened(path) as file:
            return bytes(file.read()).decode()

    def opened(self, path: str) -> pa.NativeFile:
        """Open a file for reading at any place."""
        return self._handler.open_input_file(path)

    def has(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return bool(self._handler.get_file_info([path])[0].type == FileType.File)

    def paths(self, folder: str, *, recursive: bool = False) -> list[str]:
        """List the files in a folder; none where there is no such folder."""
        found = self._handler.get_file_info_selector(
            FileSelector(folder, allow_not_found=True, recursive=recursive)
        )
        return sorted(info.path for info in found if info.type == FileType.File)

    def paths_in(self, folders: Iterable[str]) -> list[list[str]]:
        """List the files in each of many folders, several at once."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self.paths, folders))

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        if self.has(path):
            with suppress(FileNotFoundError):  # somebody else may have been faster
                self._handler.delete_file(path)

    def delete_all(self, paths: Iterable[str]) -> None:
        """Delete many files, several at once."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.delete, paths))

    @property
    def _handler(self) -> DeltaStorageHandler:
        return self._handler_at(delta_place(self.url))

    def _handler_at(self, place: str) -> DeltaStorageHandler:
        if place not in self._handlers:
            try:
                from deltalake.fs import DeltaStorageHandler
            except ImportError as error:
                raise MissingExtraError("deltalake", "state", "--state") from error
            self._handlers[place] = DeltaStorageHandler(place, storage_options(self.url), self._sizes or None)
        return self._handlers[place]

    def _write(self, path: str, chunks: Iterator[bytes]) -> None:
        # Arrow's wrapper hands on buffers, which Delta Lake's stream refuses: it is written to directly.
        place = delta_place(self.url, path.partition("/")[0])
        stream: Any = self._handler_at(place)._handler.open_output_stream(path, None)
        for chunk in chunks:
            stream.write(chunk)
        stream.close()
