"""What the last run said of its accounts, read from its tables: standings, flags, campaigns."""

from __future__ import annotations

import logging
import re
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coverage_lab.errors import CoverageLabError, OutputError
from coverage_lab.files.manifest import MANIFEST, read_manifest
from coverage_lab.schema import BEHAVIOUR_COLUMNS, MEASURE_COLUMNS
from coverage_lab.service.answer import SHORT_COLUMNS
from coverage_lab.service.refusal import RefusalError

_log = logging.getLogger(__name__)

#: Flags of one answer, at most, and where nothing is said.
MOST_FLAGS: Final = 1_000
USUAL_FLAGS: Final = 100
_LOOK_SECONDS: Final = 1.0
#: How a cursor is spelt: a run's id, and how many of its flags are behind.
CURSOR: Final = "^([0-9a-f]{1,64}):([0-9]{1,12})$"


class Told(msgspec.Struct, frozen=True):
    """An answer's body, and the accounts that it tells of."""

    body: bytes
    accounts: list[str]


class RunTables:
    """The tables of one finished run. Its files stay open: what replaces them later changes no answer.

    Parameters
    ----------
    folder : Path
        Output of `coverage-lab run`.

    Raises
    ------
    OutputError
        There is no finished run, or it is being replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.stamp = stamp_of(folder)
        if self.stamp is None:
            raise OutputError(
                f"results {folder}: no finished run there; give the OUTPUT folder of `coverage-lab run`"
            )
        manifest = read_manifest(folder / MANIFEST)
        try:
            self._accounts, self._flags = (
                pq.ParquetFile(folder / f"{name}.parquet") for name in ("accounts", "flags")
            )
            self._campaigns, self._members = (
                pq.read_table(folder / f"{name}.parquet") for name in ("campaigns", "members")
            )
            self._short = self._accounts.read(columns=list(SHORT_COLUMNS)).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise OutputError(
                f"results {folder}: its tables can't be read ({type(error).__name__})"
            ) from error
        # A run removes its manifest before its first table, and writes it after the last.
        if stamp_of(folder) != self.stamp:
            raise OutputError(
                f"results {folder}: is being replaced by another run; try again when it is done"
            )
        self._turn = threading.Lock()
        self._run = {
            "run_id": manifest.run_id,
            "created": manifest.created,
            "day": None if manifest.state is None else manifest.state.day,
            "config_id": manifest.config_id,
        }
        self._run_id = manifest.run_id

    @property
    def run_id(self) -> str:
        """Of the run."""
        return self._run_id

    def account(self, account_id: str) -> Told:
        """Tell the standing of one account.

        Raises
        ------
        RefusalError
            404: the run judged no such account.
        """
        ids = self._short["account_id"]
        at = bisect_left(range(len(ids)), account_id, key=lambda place: ids[place].as_py())
        if at == len(ids) or ids[at].as_py() != account_id:
            raise RefusalError(404, "unknown_account", "the last run judged no account of this id")
        row = self._rows(self._accounts, at, at + 1)[0]
        standing = {
            **{name: row[name] for name in row if name not in (*MEASURE_COLUMNS, *BEHAVIOUR_COLUMNS)},
            "measures": {name: row[name] for name in MEASURE_COLUMNS},
            "behaviour": {name: row[name] for name in BEHAVIOUR_COLUMNS},
        }
        return self._told({"account": standing}, [account_id])

    def lookup(self, account_ids: Sequence[str]) -> Told:
        """Tell in short of many accounts, in the order of the table; each once."""
        wanted = pa.array(account_ids, pa.large_string())
        rows = self._short.filter(pc.is_in(self._short["account_id"], value_set=wanted))
        known = set(rows["account_id"].to_pylist())
        unknown = [name for name in dict.fromkeys(account_ids) if name not in known]
        return self._told(
            {"accounts": rows.to_pylist(), "unknown": unknown}, list(dict.fromkeys(account_ids))
        )

    def flags(self, since: str | None, limit: int) -> Told:
        """Tell flags after a cursor, and the cursor after them; from the first without one of this run.

        Raises
        ------
        RefusalError
            422: it is no cursor.
        """
        found = re.fullmatch(CURSOR.strip("^$"), since or "")
        if since is not None and found is None:
            raise RefusalError(422, "invalid_request", "since: expected the cursor of an earlier answer")
        first = int(found[2]) if found is not None and found[1] == self._run_id else 0
        total = self._flags.metadata.num_rows
        first = min(first, total)
        last = min(first + limit, total)
        rows = self._rows(self._flags, first, last)
        told = {"flags": rows, "cursor": f"{self._run_id}:{last}", "left": total - last}
        return self._told(told, [row["account_id"] for row in rows])

    def campaigns(self) -> Told:
        """Tell of all campaigns, without their members."""
        return self._told({"campaigns": self._campaigns.to_pylist()}, [])

    def campaign(self, name: str) -> Told:
        """Tell of one campaign with its members.

        Raises
        ------
        RefusalError
            404: the run found no such campaign.
        """
        rows = self._campaigns.filter(pc.equal(self._campaigns["campaign"], name)).to_pylist()
        if not rows:
            raise RefusalError(404, "unknown_campaign", "the last run found no campaign of this name")
        members = self._members.filter(pc.equal(self._members["campaign"], name)).to_pylist()
        return self._told({"campaign": rows[0], "members": members}, [row["account_id"] for row in members])

    def _told(self, answer: Mapping[str, object], accounts: list[str]) -> Told:
        # What is no number is null there.
        return Told(msgspec.json.encode({"run": self._run, **answer}), accounts)

    def _rows(self, file: pq.ParquetFile, first: int, last: int) -> list[dict[str, Any]]:
        """Some rows; no more than their row groups is read."""
        found: list[dict[str, Any]] = []
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if start < last and first < stop:
                with self._turn:  # a reader is for one thread at a time
                    rows = file.read_row_group(group)
                low = max(first - start, 0)
                found += rows.slice(low, min(last, stop) - start - low).to_pylist()
            start = stop
        return found


class Standings:
    """The tables of the run that is in a folder now: looked for once a second.

    Parameters
    ----------
    folder : Path
        Output of `coverage-lab run`, or a link to it. While another run is writing there, and where what it
        left can't be read, the tables of before are told of.

    Raises
    ------
    OutputError
        As `RunTables`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables = RunTables(folder)
        self._tried = self._tables.stamp
        self._looked = time.monotonic()
        self._turn = threading.Lock()

    def tables(self) -> RunTables:
        """Give the newest tables that can be read."""
        with self._turn:
            now = time.monotonic()
            if now - self._looked >= _LOOK_SECONDS:
                self._looked = now
                self._look()
            return self._tables

    def _look(self) -> None:
        stamp = stamp_of(self._folder)
        if stamp is None or stamp == self._tried:
            return
        try:
            self._tables = RunTables(self._folder)
            _log.info("results were read anew: run %s", self._tables.run_id[:12])
        except CoverageLabError as error:
            _log.error("%s; the results of before stay", error)
        self._tried = stamp


def stamp_of(folder: Path) -> tuple[int, ...] | None:
    """What changes with the manifest in a folder; None where there is none."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
