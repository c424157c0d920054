"""One day of a run with state: what it may count, what it merges with, and its one commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

import coverage_lab
from coverage_lab.accounts import AccountStates, merge
from coverage_lab.config import RunConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.trajectory import Watched
from coverage_lab.errors import OutputError
from coverage_lab.files.atomic import read_value, write_value
from coverage_lab.files.manifest import InputFile, StateRead, StateUsed, StateWindow
from coverage_lab.files.output_folder import OutputFolder
from coverage_lab.progress import Checkpoint, no_checkpoint
from coverage_lab.schema import STATES_VERSION
from coverage_lab.state.errors import table_errors
from coverage_lab.state.files import Read, read_states
from coverage_lab.state.ledger import (
    CountedFile,
    DayRecord,
    check_not_counted,
    counted_file,
    delete_record,
    drop_repeated_files,
    is_written,
    write_record,
)
from coverage_lab.state.looks import Looks
from coverage_lab.state.store import StateStore
from coverage_lab.state.table import (
    Binding,
    Change,
    StateFile,
    StateTable,
    check_binding,
    open_or_create,
    state_url,
)
from coverage_lab.traffic import Source

#: A bucket's own states of the day, in its part.
STATES_FILE = "states.parquet"
_READ_FILE = "state.json"
_PLAN = "state.json"


@dataclass(frozen=True)
class StateDay:
    """What `run --state` is told.

    Attributes
    ----------
    state : str or Path
        Folder or address of the state table; made when there is none.
    day : date
        The day that the traffic is counted for, whatever its timestamps say.
    recompute : bool
        Replace what another run counted for this day.
    allow_repeated_files : bool
        Count files whose content another day, or another file of this input, has.
    allow_other_days : bool
        Count traffic of which most is of other days.
    """

    state: str | Path
    day: date
    recompute: bool = False
    allow_repeated_files: bool = False
    allow_other_days: bool = False


@dataclass(frozen=True)
class Merged:
    """Account states merged with the days before, what was seen of them then, and what was read for it."""

    states: AccountStates
    watched: Watched
    read: Read


@dataclass(frozen=True)
class StatePlan:
    """What the buckets of a run merge with: kept in the work folder, for every worker.

    Attributes
    ----------
    url : str
        The state table.
    files : tuple of StateFile
        Of the days before that are merged with, as they were when the run began: no worker opens the table,
        whose log is of all days.
    config_id : str
        Digest of the config with its `state`, for the trace of each flag.
    """

    url: str
    files: tuple[StateFile, ...]
    config_id: str

    @staticmethod
    def of(work: Path) -> StatePlan | None:
        """Read the plan of a work folder; None for a run without state."""
        path = work / _PLAN
        if not path.exists():
            return None
        return _plan_at(path, path.stat().st_mtime_ns)

    @cached_property
    def store(self) -> StateStore:
        """Where the files are."""
        return StateStore(self.url, sizes={file.path: file.size for file in self.files})

    def write(self, work: Path) -> None:
        """Keep the plan in a work folder."""
        write_value(work / _PLAN, self)

    def merged(self, today: AccountStates, *, dim: int, model_id: str) -> Merged:
        """Merge the day's states of some accounts with theirs of the days before; others are not read.

        Looks are those of the scorecard `model_id`.
        """
        looks = Looks(model_id)
        before, read = read_states(self, self.files, today.account_ids, dim=dim, seen=looks.take)
        merged = merge([before, today])
        return Merged(merged, looks.watched(merged.account_ids), read)


@lru_cache(maxsize=1)
def _plan_at(path: Path, changed: int) -> StatePlan:
    """Read a plan once for all buckets of a worker: that of a long window has many files."""
    return read_value(path, StatePlan)


class DayRun:
    """A day that a run counts: checked before any work, committed after all of it.

    Parameters
    ----------
    wanted : StateDay
    sources : sequence of Source
    config : RunConfig
    judge : Judge

    Attributes
    ----------
    sources : list of Source
        Without files that repeat another of the input.
    run : str
        Digest of what the day's states (not its looks) depend on: files by content, encoder, atlas, how
        traffic is read and the code's version. A day in the table with the same is this very run's, and is
        not committed again unless `recompute` changes its looks.

    Raises
    ------
    OutputError
        The table can't be used, is of another encoder or atlas, or has another run's day and `recompute` is
        not given.
    TrafficError
        A file was counted on another day.
    """

    def __init__(self, wanted: StateDay, sources: Sequence[Source], config: RunConfig, judge: Judge) -> None:
        self._wanted = wanted
        self._config = config
        self._binding = Binding(judge.encoder.id, judge.atlas.id)
        self._table = open_or_create(state_url(wanted.state), self._binding)
        self.sources = list(sources)
        self.files = [counted_file(source) for source in sources]
        self.repeated: dict[str, str] = {}
        if not wanted.allow_repeated_files:
            self.sources, self.files, self.repeated = drop_repeated_files(sources, self.files)
            check_not_counted(self._table, wanted.day, self.files)
        self.run = _run_of(wanted.day, self.files, config, self._binding)
        self._check_day(self._table)

    @property
    def plan(self) -> StatePlan:
        """What the buckets merge with."""
        return StatePlan(
            url=self._table.url,
            files=tuple(file for file in self._table.files() if self._in_window(file.day)),
            config_id=self._config.digest(state=True),
        )

    def key(self, run_key: str) -> str:
        """Digest of everything that the run's tables depend on: also the days that it merges with."""
        window = [file.path for file in self._table.files() if self._in_window(file.day)]
        parts = [run_key, self.run, self._wanted.day.isoformat(), self.plan.config_id, window]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def check_finished(self, folder: OutputFolder) -> None:
        """Refuse to call a run finished whose day is not in the table any more.

        Raises
        ------
        OutputError
            The day was rolled back, or another run's is in its place.
        """
        if self._table.days().get(self._wanted.day) != self.run:
            raise OutputError(
                f"output {folder.path}: holds this finished run, but {self._wanted.day} is not in the state "
                f"{self._table.url} any more; give another folder to count it again"
            )

    def commit(
        self, parts: Sequence[Path], *, placed: bool, checkpoint: Checkpoint = no_checkpoint
    ) -> StateUsed:
        """Put the day into the table in one commit, unless it is there; returns the manifest's part.

        Parameters
        ----------
        parts : sequence of Path
            Of all buckets, in order.
        placed : bool
            Whether the k-th part's accounts are those that `traffic.bucket_of` places k-th: not so where the
            input was bucketed by somebody else.
        checkpoint : Checkpoint, optional
            Told "commit table" when the day's files are put and the table doesn't name them yet, and
            "clean up state" right after the table's commit.

        Raises
        ------
        OutputError
            Another run has counted the day meanwhile; the table can't be written.
        """
        day = self._wanted.day

        def change(newest: StateTable) -> Change | None:
            check_binding(newest, self._binding)
            self._check_day(newest)
            have = {file.path: file for file in newest.files() if file.day == day}
            wanted = {file.path: file for file in added}
            # The same run's day may hold looks of other days before it, which --recompute replaces.
            if have.keys() == wanted.keys() or (newest.days().get(day) == self.run and not recompute):
                return None
            return Change(
                removed=[file for path, file in have.items() if path not in wanted],
                added=[file for path, file in wanted.items() if path not in have],
            )

        prompts = prompts_of(parts)
        recompute = self._wanted.recompute
        replaced = self._table.days().get(day)
        committed = False
        # Looked up again, since this run may have been killed between its commit and its manifest.
        if recompute or StateTable(self._table.url).days().get(day) != self.run:
            added = self._put(parts, placed=placed)
            record = DayRecord(day, self.run, prompts, tuple(self.files))
            write_record(self._table, record)
            told: dict[str, str | int | None] = {
                "action": "day",
                "day": day.isoformat(),
                "run": self.run,
                "schema_version": STATES_VERSION,
            }
            checkpoint("commit table")
            committed = self._table.commit(change, told=told)
            checkpoint("clean up state")
            self._put_again(added, parts, record, placed=placed)
        if committed and replaced not in (None, self.run):
            delete_record(self._table, day, replaced)
        return StateUsed(
            url=self._table.url,
            day=day,
            run=self.run,
            schema_version=STATES_VERSION,
            window=StateWindow(first=self._first, days=self._config.state.window_days),
            read_version=self._table.version,
            files=tuple(InputFile(**asdict(file)) for file in self.files),
            repeated_files=self.repeated,
            read=StateRead(**asdict(_read_of(parts))),
        )

    @property
    def _first(self) -> date:
        return self._wanted.day - timedelta(days=self._config.state.window_days - 1)

    def _in_window(self, day: date) -> bool:
        return self._first <= day < self._wanted.day

    def _check_day(self, table: StateTable) -> None:
        day = self._wanted.day
        if not self._wanted.recompute and table.days().get(day, self.run) != self.run:
            raise OutputError(
                f"state {table.url}: {day} has been counted by another run (other files, config or version); "
                "replace it with --recompute"
            )

    def _put_again(
        self, added: Sequence[StateFile], parts: Sequence[Path], record: DayRecord, *, placed: bool
    ) -> None:
        """Put back what a retain or a forget took between our copy and our commit."""
        with table_errors(self._table.url):
            gone = [file for file in added if not self._table.store.has(file.path)]
        if gone:
            self._put(parts, placed=placed)
        if not is_written(self._table, record):
            write_record(self._table, record)

    def _put(self, parts: Sequence[Path], *, placed: bool) -> list[StateFile]:
        """Copy the buckets' states to the table's storage: those with rows, and one at least."""
        rows = [pq.read_metadata(part / STATES_FILE).num_rows for part in parts]
        chosen = [place for place, count in enumerate(rows) if count] or [0]
        return [
            self._table.put(
                parts[place] / STATES_FILE,
                day=self._wanted.day,
                run=self.run,
                bucket=(place, len(parts)) if placed else (0, 1),
                rows=rows[place],
            )
            for place in chosen
        ]


def prompts_of(parts: Sequence[Path]) -> int:
    """Count the day's own prompts in the parts."""
    return sum(
        pc.sum(pq.read_table(part / STATES_FILE, columns=["prompts"])["prompts"]).as_py() or 0
        for part in parts
    )


def write_read(read: Read, folder: Path) -> None:
    """Keep in a part how much of the state table it took."""
    write_value(folder / _READ_FILE, read)


def _read_of(parts: Sequence[Path]) -> Read:
    read = Read()
    for part in parts:
        read += read_value(part / _READ_FILE, Read)
    return read


def _run_of(day: date, files: Sequence[CountedFile], config: RunConfig, binding: Binding) -> str:
    parts = [
        day.isoformat(),
        sorted(file.sha256 for file in files),
        config.traffic.model_dump(mode="json", exclude={"batch_rows"}),
        asdict(binding),
        STATES_VERSION,
        coverage_lab.__version__,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
