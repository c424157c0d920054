"""Cut traffic into buckets by account, so that each is one small unit of work."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from numpy.typing import NDArray

from coverage_lab.errors import ConfigError, OutputError, TrafficError
from coverage_lab.schema import QUARANTINE, TRAFFIC
from coverage_lab.traffic.problems import is_disk_full
from coverage_lab.traffic.sources import Source, rows_of, size_of
from coverage_lab.untrusted.text import first_line, shown

BUCKET_BYTES: Final = 16 * 2**20
#: What a bucket's vectors, cells and novelties may take, whatever its file took on the disk.
BUCKET_ROWS: Final = 2**17
MIN_BUCKETS: Final = 4
MAX_BUCKETS: Final = 4096
#: Files that a process has open besides its buckets.
_OTHER_FILES: Final = 256
#: Table bytes that a writer holds back, so that buckets get few and long record batches.
_HELD_BYTES: Final = 32 * 2**20
#: Key of the number of further calls, in the metadata of a bucket's quarantine.
SAME_TURN: Final = b"same_turn"


def bucket_of(account_ids: pa.Array | pa.ChunkedArray, buckets: int) -> NDArray[np.int64]:
    """Bucket of each account: BLAKE2b (8 bytes, big-endian) of the UTF-8 id, modulo `buckets`.

    Parameters
    ----------
    account_ids
        (n,) text without nulls.
    buckets
        1 or more.

    Returns
    -------
    (n,) int64
        0 to `buckets` - 1; the same for an id on every machine, day and version.

    Raises
    ------
    ConfigError
        `buckets` is less than 1.
    TrafficError
        An id is null.
    """
    if buckets < 1:
        raise ConfigError(f"buckets: expected 1 or more, got {buckets}")
    if account_ids.null_count:
        raise TrafficError(f"account_ids: expected no nulls, got {account_ids.null_count}")
    encoded = account_ids.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    unique = np.fromiter(
        (_hash(account) % buckets for account in encoded.dictionary.to_pylist()),
        np.int64,
        len(encoded.dictionary),
    )
    result: NDArray[np.int64] = unique[encoded.indices.to_numpy()]
    return result


def account_hashes(account_ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Hash that `bucket_of` takes the remainder of."""
    return np.fromiter((_hash(account) for account in account_ids.to_pylist()), np.uint64, len(account_ids))


def _hash(account: str) -> int:
    return int.from_bytes(hashlib.blake2b(account.encode("utf-8"), digest_size=8).digest(), "big")


def default_buckets(sources: Sequence[Source]) -> int:
    """Buckets for an input: one for each 16 MiB of files or 131,072 rows of Parquet, from 4 to 4,096.

    Raises
    ------
    TrafficError
        A file is gone or damaged.
    """
    total = sum(size_of(source) for source in sources)
    rows = sum(rows_of(source) or 0 for source in sources)
    return min(MAX_BUCKETS, max(MIN_BUCKETS, -(-total // BUCKET_BYTES), -(-rows // BUCKET_ROWS)))


def bucket_path(folder: Path, bucket: int) -> Path:
    """File of a bucket, for instance `bucket-00007.arrow`."""
    return folder / f"bucket-{bucket:05d}.arrow"


class BucketWriter:
    """Write tables into one Arrow file a bucket.

    Files are written under hidden temporary names; on a clean exit they are flushed to the disk and then
    get their names, all buckets, also those without rows. On an exception the temporary files are removed.
    The same tables in the same order give the same bytes.

    Parameters
    ----------
    folder
        Made when it is not there.
    buckets
        1 or more; each holds one file open.

    Raises
    ------
    ConfigError
        `buckets` is less than 1.
    OutputError
        The disk is full or the folder can't be written, from any method.
    """

    def __init__(self, folder: Path, buckets: int) -> None:
        if buckets < 1:
            raise ConfigError(f"buckets: expected 1 or more, got {buckets}")
        self._folder = Path(folder)
        self._buckets = buckets
        self._files: list[BinaryIO] = []
        self._writers: list[pa.ipc.RecordBatchFileWriter] = []
        self._held: list[pa.Table] = []
        self._held_bytes = 0

    def __enter__(self) -> Self:
        """Open the temporary files."""
        try:
            _allow_open(self._buckets)
            self._folder.mkdir(parents=True, exist_ok=True)
            for bucket in range(self._buckets):
                self._files.append(self._temporary(bucket).open("wb"))
                self._writers.append(pa.ipc.new_file(self._files[-1], TRAFFIC))
        except OSError as error:
            self._discard()
            raise self._refusal(error) from error
        return self

    def write(self, table: pa.Table) -> None:
        """Take in rows.

        Parameters
        ----------
        table
            `schema.TRAFFIC`.

        Raises
        ------
        ValueError
            Another schema.
        OutputError
            The disk is full or the folder can't be written.
        """
        if not table.schema.equals(TRAFFIC):
            raise ValueError(f"table: expected columns {TRAFFIC.names}, got {table.schema.names}")
        self._held.append(table)
        self._held_bytes += table.nbytes
        if self._held_bytes >= _HELD_BYTES:
            self._write_held()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the files, or remove them."""
        if kind is not None:
            self._discard()
            return
        try:
            self._write_held()
            for writer, file in zip(self._writers, self._files, strict=True):
                writer.close()
                file.flush()
                os.fsync(file.fileno())
                file.close()
            for bucket in range(self._buckets):
                self._temporary(bucket).replace(bucket_path(self._folder, bucket))
            _sync_folder(self._folder)
        except OSError as failure:
            self._discard()
            raise self._refusal(failure) from failure
        except BaseException:
            self._discard()
            raise

    def _write_held(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held).combine_chunks()
        self._held, self._held_bytes = [], 0
        bucket = bucket_of(table.column("account_id"), self._buckets)
        order = np.argsort(bucket, kind="stable")
        table = table.take(pa.array(order))
        edges = np.searchsorted(bucket[order], np.arange(self._buckets + 1))
        try:
            for number, writer in enumerate(self._writers):
                start, stop = int(edges[number]), int(edges[number + 1])
                if stop > start:
                    writer.write_table(table.slice(start, stop - start))
        except OSError as error:
            raise self._refusal(error) from error

    def _temporary(self, bucket: int) -> Path:
        return self._folder / f".bucket-{bucket:05d}.arrow.partial"

    def _discard(self) -> None:
        # What is removed here need not be whole, so neither need its closing succeed.
        for closable in (*self._writers, *self._files):
            try:
                closable.close()
            except (OSError, ValueError):
                continue
        for bucket in range(len(self._files)):
            self._temporary(bucket).unlink(missing_ok=True)
        self._writers, self._files, self._held = [], [], []

    def _refusal(self, error: OSError) -> OutputError:
        where = f"output folder {shown(self._folder)}"
        if is_disk_full(error):
            return OutputError(f"{where}: the disk is full; free some space and run again")
        return OutputError(f"{where}: can't be written ({error.strerror or first_line(error)})")


def _allow_open(buckets: int) -> None:
    """Raise this process' limit on open files to what the buckets take, as far as the system lets it."""
    import resource  # Unix only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = buckets + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_bucket(path: Path | Sequence[Path], source_names: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """Read a bucket in the order that accounts are worked through, without repeated requests.

    Parameters
    ----------
    path
        A complete file of `BucketWriter`, or all that hold rows of the bucket; their order plays no part.
    source_names
        Names of the sources that the `source` column counts.

    Returns
    -------
    traffic
        `schema.TRAFFIC`, sorted by (account_id, timestamp, source, row), without the further calls of an
        agent's loop: requests that go on after a user turn that an earlier request of the account asked.
        The metadata of the quarantined say how many they were, if any.
    quarantined
        `schema.QUARANTINE`: rows whose (account_id, request_id) an earlier row of that order has, as
        `duplicate_request`, in that order. A null request_id repeats nothing.

    Raises
    ------
    OutputError
        A file is missing or damaged.
    """
    paths = [path] if isinstance(path, Path) else path
    stored = [TRAFFIC.empty_table(), *(_fragment(one) for one in paths)]
    return drop_repeated_requests(pa.concat_tables(stored), source_names)


def _fragment(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
            stored = reader.read_all()
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"bucket {shown(path)}: can't be read ({first_line(error)})") from error
    if not stored.schema.equals(TRAFFIC):
        raise OutputError(
            f"bucket {shown(path)}: expected columns {TRAFFIC.names}, got {stored.schema.names}"
        )
    return stored


def drop_repeated_requests(prompts: pa.Table, source_names: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """Sort prompts by account and time, and part those that repeat an earlier request of their account.

    Parameters
    ----------
    prompts
        `schema.TRAFFIC`, whole accounts.
    source_names
        Names of the sources that the `source` column counts.

    Returns
    -------
    traffic, quarantined
        As `read_bucket`.
    """
    order = pc.sort_indices(
        prompts, sort_keys=[(name, "ascending") for name in ("account_id", "timestamp", "source", "row")]
    )
    table = prompts.take(order).combine_chunks()
    repeated = _repeats(table, "request_id")
    quarantined = QUARANTINE.empty_table()
    if repeated.any():
        quarantined = _quarantined(table.filter(pa.array(repeated)), source_names)
        table = table.filter(pa.array(~repeated))
    further = table.column("continued").fill_null(False).to_numpy() & _repeats(table, "turn")
    if further.any():
        table = table.filter(pa.array(~further))
        quarantined = quarantined.replace_schema_metadata({SAME_TURN: str(int(further.sum()))})
    return table, quarantined


def _repeats(table: pa.Table, column: str) -> NDArray[np.bool_]:
    """True for rows whose account has an earlier row with the same value in a column."""
    repeated = np.ones(table.num_rows, np.bool_)
    known = table.column(column).is_valid().to_numpy()
    repeated[~known] = False
    rows = np.flatnonzero(known)
    if rows.size:
        requests, accounts = (
            table.column(name).combine_chunks().dictionary_encode() for name in (column, "account_id")
        )
        account = accounts.indices.to_numpy().astype(np.int64)[rows]
        request = requests.indices.fill_null(0).to_numpy().astype(np.int64)[rows]
        _, first = np.unique(account * len(requests.dictionary) + request, return_index=True)
        repeated[rows[first]] = False
    return repeated


def _quarantined(rows: pa.Table, source_names: Sequence[str]) -> pa.Table:
    names = pa.array(source_names, pa.large_string()).take(rows.column("source").combine_chunks())
    count = rows.num_rows
    return pa.Table.from_arrays(
        [
            names,
            rows.column("row"),
            rows.column("account_id"),
            pa.repeat(pa.scalar("duplicate_request"), count),
            pa.repeat(pa.scalar("request_id repeats that of an earlier row of the account"), count),
        ],
        schema=QUARANTINE,
    )
