"""The state table: account states of every day, in Delta Lake, on a folder or an object store.

A row is one account's state of one day alone (`coverage_lab.schema.STATES`). States merge, so what an account
is judged by is the merge of its rows of the last days, and every change touches whole days in one commit.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow as pa

from coverage_lab.errors import ConfigError, MissingExtraError, OutputError
from coverage_lab.schema import STATE_PARTITIONS, STATES, STATES_VERSION
from coverage_lab.state.errors import table_errors
from coverage_lab.state.store import StateStore, delta_place, storage_options
from coverage_lab.untrusted.text import shown

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction, RemoveAction

_PROPERTY = "coverage_lab."
_VERSION = f"{_PROPERTY}schema_version"
#: So many commits are read one by one on opening, at most: Delta Lake sums up those before in a checkpoint.
#: Its own number is 100, and every bucket's opening of a table on an object store would ask for them all.
_CHECKPOINT = {"delta.checkpointInterval": "10"}
#: So often is a commit tried again when others were faster, each time on what they left.
_TRIES = 50
_OUR_FILE = re.compile(r"(?:^|/)bucket-(\d{5})-of-(\d{5})-[0-9a-f]{16}\.parquet$")


@dataclass(frozen=True)
class Binding:
    """What all states of a table were made with; states of others can't be merged with them."""

    encoder_id: str
    atlas_id: str


@dataclass(frozen=True)
class StateFile:
    """One file of a state table: accounts of one day whose `bucket_of(…, buckets)` is `bucket`."""

    path: str
    size: int
    rows: int
    day: date
    run: str

    @property
    def bucket(self) -> tuple[int, int]:
        """Which bucket of how many the file's accounts are; the only one where another tool rewrote it.

        A file that we put there is named by its bucket, which spares reading the others. Compaction, z-order
        and other tools' writers name files their own way: such a file may hold any account of its day.
        """
        found = _OUR_FILE.search(self.path)
        return (0, 1) if found is None else (int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Change:
    """Files to take out of the table and to put in, in one commit."""

    removed: Sequence[StateFile]
    added: Sequence[StateFile]


class StateTable:
    """A state table as it was at one version.

    Parameters
    ----------
    url : str
        A local folder, or an address that Delta Lake knows (`s3://…`, `gs://…`, `abfss://…`). Its keys come
        from the environment.
    version : int, optional
        The newest when not given.

    Raises
    ------
    OutputError
        There is no table, it is not ours, it is damaged, or of another schema version.
    """

    def __init__(self, url: str, *, version: int | None = None) -> None:
        self.url = url
        self.store = StateStore(url)
        self._table = _opened(url, version)
        self.properties = _ours(url, self._table)
        _check_schema(url, self._table, self.schema_version)

    @property
    def version(self) -> int:
        """Version of the Delta table: one more with every commit."""
        return self._table.version()

    @property
    def schema_version(self) -> int:
        """Version of the schema that the states are in."""
        return int(self.properties["schema_version"])

    @property
    def binding(self) -> Binding:
        """What the states were made with."""
        return Binding(self.properties["encoder_id"], self.properties["atlas_id"])

    def files(self) -> list[StateFile]:
        """List the files, by path."""
        with table_errors(self.url):
            found = pa.table(self._table.get_add_actions(flatten=True))
        columns = ("path", "size_bytes", "num_records", "partition.day", "partition.run")
        rows = zip(*(found[name].to_pylist() for name in columns), strict=True) if found.num_rows else ()
        return sorted((StateFile(*row) for row in rows), key=lambda file: file.path)

    def days(self) -> dict[date, str]:
        """Give the run of every day in the table, by day.

        Raises
        ------
        OutputError
            A day has two: someone else wrote into the table.
        """
        days: dict[date, str] = {}
        for file in self.files():
            if days.setdefault(file.day, file.run) != file.run:
                raise OutputError(f"state {self.url}: {file.day} is in it twice; the table can't be trusted")
        return dict(sorted(days.items()))

    def put(self, local: Path, *, day: date, run: str, bucket: tuple[int, int], rows: int) -> StateFile:
        """Copy a file to the table's storage; it counts for nothing until it is committed.

        Its name holds a hash of its bytes, so that doing it again after a kill writes the same file.
        """
        with local.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        name = f"bucket-{bucket[0]:05d}-of-{bucket[1]:05d}-{digest[:16]}.parquet"
        path = f"day={day.isoformat()}/run={run}/{name}"
        with table_errors(self.url):
            self.store.put(local, path)
        return StateFile(path, local.stat().st_size, rows, day, run)

    def commit(
        self, change: Callable[[StateTable], Change | None], *, told: Mapping[str, str | int | None]
    ) -> bool:
        """Change the table in one commit, or not at all.

        Parameters
        ----------
        change
            Called with the newest table; None when there is nothing to do. It is called again when someone
            else was faster, so that what it decides holds for the table that the change lands on.
        told
            For the table's history: never an account's id, which could not be taken out again.

        Returns
        -------
        bool
            Whether there was something to do.

        Raises
        ------
        OutputError
            The table can't be written.
        """
        from deltalake import CommitProperties
        from deltalake.exceptions import CommitFailedError

        # Delta Lake's own retries would let two runs append the same day.
        properties = CommitProperties(
            custom_metadata={"coverage_lab": json.dumps(told)}, max_commit_retries=0
        )
        for _ in range(_TRIES):
            newest = StateTable(self.url)
            wanted = change(newest)
            if wanted is None:
                return False
            try:
                with table_errors(self.url, passed=CommitFailedError):
                    newest._table.create_write_transaction(
                        _actions(wanted),
                        mode="append",
                        schema=newest._table.schema(),
                        partition_by=STATE_PARTITIONS.names,
                        commit_properties=properties,
                    )
            except CommitFailedError:
                continue
            return True
        raise OutputError(f"state {self.url}: {_TRIES} commits in a row lost to others; run it again later")

    def vacuum(self) -> int:
        """Delete the bytes of all files that the newest version does not hold; returns how many files.

        A run that is about to commit loses what it has written so far, and older versions can't be read.
        """
        table = _opened(self.url, None)
        with table_errors(self.url):
            return len(
                table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
            )

    def set_schema_version(self, version: int) -> None:
        """Say that the table is of this version, and have its log summed up often."""
        with table_errors(self.url):
            _opened(self.url, None).alter.set_table_properties(
                {_VERSION: str(version)} | _CHECKPOINT, raise_if_not_exists=False
            )


def open_or_create(url: str, binding: Binding) -> StateTable:
    """Open the state table at `url`, or make an empty one bound to an encoder and an atlas.

    Raises
    ------
    OutputError
        As `StateTable`; the table belongs to another encoder or atlas; the folder holds something else.
    MissingExtraError
        Delta Lake is not installed.
    """
    require_deltalake()
    if "://" not in url:
        _check_folder(Path(url))
    if not _exists(url):
        _create(url, binding)
    table = StateTable(url)
    check_binding(table, binding)
    return table


def check_binding(table: StateTable, binding: Binding) -> None:
    """Refuse a table that belongs to another encoder or atlas.

    Raises
    ------
    OutputError
        In one line, with both ids.
    """
    for name in ("encoder_id", "atlas_id"):
        have, wanted = getattr(table.binding, name), getattr(binding, name)
        if have != wanted:
            raise OutputError(
                f"state {table.url}: made with {name.replace('_', ' ')} {have[:12]}, this run's is "
                f"{wanted[:12]}; states of different maps can't be merged: give another --state"
            )


def state_url(state: str | Path) -> str:
    """Settle where a state table is: an address as it stands, a folder (`file://` too) as an absolute path.

    Raises
    ------
    ConfigError
        It is empty or a name that is not UTF-8, or an address with a name, a password or a query: those
        would end up in logs.
    """
    text = str(state)
    if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ConfigError(f"--state: expected a name in UTF-8, got '{shown(text)}'; give another folder")
    if "://" not in text:
        if not text:
            raise ConfigError("--state: expected a folder or an address, got nothing")
        return str(Path(text).resolve())
    if text.startswith("file://"):
        return str(Path(url2pathname(text.removeprefix("file://").removeprefix("localhost"))).resolve())
    parts = urlsplit(text)
    if parts.password or parts.query or (parts.username and parts.scheme not in ("abfs", "abfss")):
        raise ConfigError(
            "--state: an address must not hold a password or a query; give keys through the environment"
        )
    return text


def require_deltalake() -> None:
    """Raise `MissingExtraError` where Delta Lake is not installed."""
    try:
        import deltalake  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("deltalake", "state", "--state") from error


def _opened(url: str, version: int | None) -> DeltaTable:
    require_deltalake()
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        with table_errors(url, passed=TableNotFoundError):
            return DeltaTable(delta_place(url), version=version, storage_options=storage_options(url))
    except TableNotFoundError as error:
        raise OutputError(
            f"state {url}: no state table there; `coverage-lab run … --state` makes it"
        ) from error


def _exists(url: str) -> bool:
    from deltalake import DeltaTable

    with table_errors(url):
        return DeltaTable.is_deltatable(delta_place(url), storage_options(url))


def _ours(url: str, table: DeltaTable) -> dict[str, str]:
    with table_errors(url):
        configuration = table.metadata().configuration
    properties = {
        key.removeprefix(_PROPERTY): str(value)
        for key, value in configuration.items()
        if key.startswith(_PROPERTY)
    }
    known = {"schema_version", "encoder_id", "atlas_id"} <= properties.keys()
    if not known or not properties["schema_version"].isdecimal():
        raise OutputError(f"state {url}: a Delta table, but not one of account states; nothing was changed")
    return properties


def _check_schema(url: str, table: DeltaTable, found: int) -> None:
    from deltalake import Schema

    if found > STATES_VERSION:
        raise OutputError(
            f"state {url}: schema version {found}, this version of coverage_lab knows {STATES_VERSION}; "
            "update coverage_lab"
        )
    if found < STATES_VERSION:
        raise OutputError(
            f"state {url}: schema version {found}, expected {STATES_VERSION}; it can't be brought up, as its "
            "prompts are gone: start a new table at another place, and keep this one for the older version"
        )
    wanted = Schema.from_arrow(pa.schema([*STATE_PARTITIONS, *STATES]))
    columns = [
        {field.name: str(field.type) for field in schema.fields} for schema in (wanted, table.schema())
    ]
    if columns[0] != columns[1]:
        names = sorted(set(columns[0].items()) ^ set(columns[1].items()))
        raise OutputError(f"state {url}: column {names[0][0]!r} is not as expected; nothing was changed")


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"state {folder}: is a file, expected a folder")
    # Looked at once: another run may be making the table right now.
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if names and "_delta_log" not in names:
        raise OutputError(
            f"state {folder}: holds files but no state table ({names[0]!r}); give an empty folder"
        )


def _create(url: str, binding: Binding) -> None:
    from deltalake import CommitProperties, DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        with table_errors(url, passed=DeltaError):
            DeltaTable.create(
                delta_place(url, "_delta_log"),
                pa.schema([*STATE_PARTITIONS, *STATES]),
                partition_by=STATE_PARTITIONS.names,
                storage_options=storage_options(url),
                configuration=_CHECKPOINT
                | {
                    _VERSION: str(STATES_VERSION),
                    f"{_PROPERTY}encoder_id": binding.encoder_id,
                    f"{_PROPERTY}atlas_id": binding.atlas_id,
                },
                raise_if_key_not_exists=False,
                # With retries the second of two that make it at once would bind it anew.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
    except DeltaError as error:
        if not _exists(url):  # else another run's first day was faster
            with table_errors(url):
                raise error


def _actions(change: Change) -> list[AddAction | RemoveAction]:
    from deltalake.transaction import AddAction, RemoveAction

    now = int(time.time() * 1000)

    def parts(file: StateFile) -> dict[str, str | None]:
        return {"day": file.day.isoformat(), "run": file.run}

    removed = [RemoveAction(file.path, True, now, file.size, parts(file)) for file in change.removed]
    # Only the number of rows: the smallest and largest account_id, which the log would keep after a file is
    # deleted, stay in the file.
    added = [
        AddAction(file.path, file.size, parts(file), now, True, json.dumps({"numRecords": file.rows}))
        for file in change.added
    ]
    return [*removed, *added]
