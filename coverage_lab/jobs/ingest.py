"""The first stage: all traffic validated and spread over buckets, in shares that restart by themselves."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from coverage_lab.config import RunConfig, TrafficConfig
from coverage_lab.errors import CoverageLabError, TrafficError
from coverage_lab.files.atomic import as_json, disk_errors, read_value, synced, whole_file, write_value
from coverage_lab.files.output_folder import OutputFolder
from coverage_lab.jobs.ray.scheduler import Failure, Job, run_jobs, without_text
from coverage_lab.progress import Progress
from coverage_lab.schema import QUARANTINE, TRAFFIC
from coverage_lab.traffic import (
    BucketWriter,
    Piece,
    Source,
    bucket_path,
    cut_shares,
    default_buckets,
    drop_repeated_requests,
    read_bucket,
    read_pieces,
    ready_buckets,
)
from coverage_lab.traffic.batch import Tallies
from coverage_lab.traffic.buckets import SAME_TURN, account_hashes
from coverage_lab.traffic.sources import size_of
from coverage_lab.untrusted.text import shown

#: File bytes of a share. Smaller ones spread better over readers, larger ones make fewer files.
SMALLEST_SHARE = 4 * 2**20
LARGEST_SHARE = 256 * 2**20
#: Each share writes a file a bucket, so there is an end to shares.
MOST_SHARES = 2048
#: Shares that each reader gets, so that one with slow files doesn't keep the others waiting.
SHARES_A_READER = 8

#: Key of a ready bucket's tallies, in the metadata of its quarantine.
_TALLIES = b"tallies"
#: Key of a bucket's prompts without readable text, in the metadata of its part's quarantine.
UNREADABLE = b"unreadable"


class Bucket(Protocol):
    """Whole accounts: one unit of work."""

    @property
    def name(self) -> str:
        """Name of the folder that its tables are written to."""
        ...

    def read(self, source_names: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Return its prompts and quarantined rows, as `coverage_lab.traffic.read_bucket`."""
        ...


@dataclass(frozen=True)
class SpreadBucket:
    """What all shares hold of a bucket."""

    number: int
    folder: Path
    shares: int

    @property
    def name(self) -> str:
        """`bucket-00007`."""
        return bucket_path(self.folder, self.number).stem

    def read(self, source_names: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Read all fragments; quarantined are repeated requests."""
        shares = (_share_folder(self.folder, at) for at in range(self.shares))
        return read_bucket([bucket_path(share, self.number) for share in shares], source_names)


@dataclass(frozen=True)
class ReadyBucket:
    """A `bucket=…` folder of the input, read where it lies."""

    number: int
    pieces: tuple[Piece, ...]
    config: TrafficConfig
    as_of: datetime

    @property
    def name(self) -> str:
        """`bucket-00007`; numbered in the order of the folders' values."""
        return f"bucket-{self.number:05d}"

    def read(self, source_names: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Validate the files; quarantined are unusable rows, in their order, then repeated requests.

        The metadata of the quarantined say what was counted, for `tallies_of_parts`.
        """
        good, bad, tallies = [TRAFFIC.empty_table()], [QUARANTINE.empty_table()], Tallies()
        for batch in read_pieces(self.pieces, self.config, as_of=self.as_of):
            good.append(batch.good)
            bad.append(batch.quarantined)
            tallies += Tallies.of(batch, self.config.timezone)
        prompts, repeated = drop_repeated_requests(pa.concat_tables(good), source_names)
        quarantined = pa.concat_tables([*bad, repeated])
        told = as_json(TypeAdapter(Tallies).dump_python(tallies, mode="json"))
        return prompts, quarantined.replace_schema_metadata(
            {**(repeated.schema.metadata or {}), _TALLIES: told}
        )


@dataclass(frozen=True)
class Reading:
    """Traffic that is ready to be worked on.

    Attributes
    ----------
    tallies : Tallies or None
        What was counted; None where buckets read their rows only when they are worked on.
    as_of : str
        The run's 'now'.
    """

    tallies: Tallies | None
    as_of: str
    buckets: tuple[Bucket, ...]


def read_input(
    sources: Sequence[Source],
    config: RunConfig,
    folder: OutputFolder,
    *,
    readers: int | None,
    progress: Progress,
) -> Reading:
    """Validate all traffic and spread it over buckets by account, going on from a former try.

    Input in `bucket=…` folders stays where it is, unless `job.buckets` asks for buckets of ours: each
    folder is a bucket, whose rows are validated when it is worked on.

    Parameters
    ----------
    readers : int or None
        Ray actors to read with; None reads in this process. Neither changes a table.

    Raises
    ------
    TrafficError
        A file is damaged, or kills whoever reads it; all other shares were read first.
    OutputError
        The disk is full.
    """
    plan = folder.work / "reading.json"
    if not plan.exists():
        # The moment of the first try stays the run's 'now', so that going on gives the same tables.
        moment = config.traffic.as_of or datetime.now(UTC)
        with disk_errors(folder.path):
            write_value(plan, _plan(sources, config, readers or 1, as_of=moment))
    planned = read_value(plan, _Plan)
    as_of = planned.as_of
    ready = ready_buckets(sources) if config.job.buckets is None else None
    if ready is not None:
        with disk_errors(folder.path):
            _join_quarantine(folder, 0)  # theirs is in their parts
        resolved = [tuple(_resolved(piece) for piece in pieces) for pieces in ready]
        buckets = tuple(ReadyBucket(at, pieces, config.traffic, as_of) for at, pieces in enumerate(resolved))
        return Reading(tallies=None, as_of=as_of.isoformat(), buckets=buckets)
    shares, count = _shares(planned, sources), planned.buckets
    spread = folder.work / "buckets"
    read = folder.work / "spread.json"
    if not read.exists():
        _read_shares(shares, count, as_of, config, folder, readers=readers, progress=progress)
        with disk_errors(folder.path):
            _join_quarantine(folder, len(shares))
            folders = (_share_folder(spread, at) for at in range(len(shares)))
            write_value(read, sum(map(_tallies_of, folders), Tallies()))
    return Reading(
        tallies=read_value(read, Tallies),
        as_of=as_of.isoformat(),
        buckets=tuple(SpreadBucket(at, spread.resolve(), len(shares)) for at in range(count)),
    )


def read_share(
    pieces: Iterable[Piece],
    target: Path,
    config: TrafficConfig,
    *,
    as_of: datetime,
    buckets: int,
    output: Path,
    rows_read: Callable[[int], None] = lambda rows: None,
) -> int:
    """Validate a share of the input and spread it over a file a bucket in the folder `target`.

    The folder appears whole or not at all, so that one that exists is done. Returns its rows.
    """
    if target.exists():
        return _tallies_of(target).rows_in
    tallies = Tallies()
    with disk_errors(output):
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            refused_path = temporary / "quarantine.parquet"
            with (
                BucketWriter(temporary, buckets) as writer,
                pq.ParquetWriter(refused_path, QUARANTINE, compression="zstd") as refused,
            ):
                for batch in read_pieces(pieces, config, as_of=as_of):
                    tallies += Tallies.of(batch, config.timezone)
                    writer.write(batch.good)
                    if batch.quarantined.num_rows:
                        refused.write_table(batch.quarantined)
                    rows_read(tallies.rows_in)
            synced(refused_path)
            write_value(temporary / "share.json", tallies)
            temporary.replace(target)
        except OSError:
            if not target.exists():  # else one that was taken for lost did it all the same
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return tallies.rows_in


class ReaderActor:
    """Reads one share after the other."""

    def __init__(self, config_json: str, as_of: str, buckets: int, output: str) -> None:
        self._config = TrafficConfig.model_validate_json(config_json)
        self._as_of = datetime.fromisoformat(as_of)
        self._buckets = buckets
        self._output = Path(output)

    def ready(self) -> None:
        """Nothing to load."""

    def do(self, pieces: Sequence[Piece], target: str) -> int:
        """Read a share; returns its rows. A file beside it says which source it is at."""
        with without_text():
            return read_share(
                _noted(pieces, _note(Path(target))),
                Path(target),
                self._config,
                as_of=self._as_of,
                buckets=self._buckets,
                output=self._output,
            )


def tallies_of_parts(parts: Sequence[Path], read: Tallies | None) -> Tallies:
    """What was counted in all: by the readers (`read`), or by ready buckets, and by what works on buckets."""
    total = Tallies() if read is None else read
    for part in parts:
        metadata = pq.read_schema(part / "quarantine.parquet").metadata or {}
        if read is None:
            total += TypeAdapter(Tallies).validate_json(metadata[_TALLIES])
        total += Tallies(
            same_turn=int(metadata.get(SAME_TURN, 0)), unreadable=int(metadata.get(UNREADABLE, 0))
        )
    return total


def check_accounts_apart(parts: Sequence[Path], buckets: Sequence[Bucket], sources: Sequence[Source]) -> None:
    """Refuse ready buckets that share an account: its parts would count as two accounts.

    Holds eight bytes an account.

    Raises
    ------
    TrafficError
        An account lies in two buckets.
    """
    ready = [bucket for bucket in buckets if isinstance(bucket, ReadyBucket)]
    if not ready:
        return
    hashes = np.concatenate([account_hashes(_accounts(part)) for part in parts])
    value, times = np.unique(hashes, return_counts=True)
    doubtful = value[times > 1]
    seen: dict[str, ReadyBucket] = {}
    for part, bucket in zip(parts, ready, strict=True):
        accounts = _accounts(part)
        for account in accounts.filter(pa.array(np.isin(account_hashes(accounts), doubtful))).to_pylist():
            if account in seen:
                first, second = (sources[one.pieces[0].position].name for one in (seen[account], bucket))
                raise TrafficError(
                    f"input: account {shown(account, 60)!r} lies in two bucket=… folders (that of "
                    f"{shown(first)} and that of {shown(second)}), expected whole accounts in each; set "
                    "job.buckets to have the traffic bucketed anew (needs --overwrite)"
                )
            seen[account] = bucket


def _accounts(part: Path) -> pa.ChunkedArray:
    return pq.read_table(part / "accounts.parquet", columns=["account_id"])["account_id"]


@dataclass(frozen=True)
class _Plan:
    """How the input was cut at the first try of a run.

    Attributes
    ----------
    as_of : datetime
        The run's 'now'.
    buckets : int
    shares : tuple of shares
        Each a tuple of pieces: the source's position, then the first and the last row group (exclusive) where
        the piece is not the whole of it.
    """

    as_of: datetime
    buckets: int
    shares: tuple[tuple[tuple[int, ...], ...], ...]


def _plan(sources: Sequence[Source], config: RunConfig, readers: int, *, as_of: datetime) -> _Plan:
    """Cut the input once for all tries, however many readers a later one has."""
    total = sum(size_of(source) for source in sources)
    wanted = min(max(total // (SHARES_A_READER * readers), SMALLEST_SHARE), LARGEST_SHARE)
    shares = cut_shares(sources, max(wanted, total // MOST_SHARES))
    return _Plan(
        as_of=as_of,
        buckets=config.job.buckets or default_buckets(sources),
        shares=tuple(tuple((piece.position, *(piece.groups or ())) for piece in share) for share in shares),
    )


def _shares(planned: _Plan, sources: Sequence[Source]) -> list[tuple[Piece, ...]]:
    return [
        tuple(
            _resolved(Piece(position, sources[position], (groups[0], groups[1]) if groups else None))
            for position, *groups in share
        )
        for share in planned.shares
    ]


def _resolved(piece: Piece) -> Piece:
    """Give the path as a worker in another folder finds it."""
    return replace(piece, source=replace(piece.source, path=piece.source.path.absolute()))


def _read_shares(
    shares: Sequence[tuple[Piece, ...]],
    buckets: int,
    as_of: datetime,
    config: RunConfig,
    folder: OutputFolder,
    *,
    readers: int | None,
    progress: Progress,
) -> int:
    """Read what is not read yet; returns the rows of all shares."""
    spread = folder.work / "buckets"
    with disk_errors(folder.path):
        spread.mkdir(exist_ok=True)
        for leftover in spread.glob(".share-*"):
            shutil.rmtree(leftover, ignore_errors=True)
            leftover.unlink(missing_ok=True)
    targets = [_share_folder(spread, at) for at in range(len(shares))]
    rows = sum(_tallies_of(target).rows_in for target in targets if target.exists())
    todo = [(share, target) for share, target in zip(shares, targets, strict=True) if not target.exists()]
    if readers is None:
        for share, target in todo:
            before = rows
            rows += read_share(
                share,
                target,
                config.traffic,
                as_of=as_of,
                buckets=buckets,
                output=folder.path,
                rows_read=lambda more, before=before: progress("read", before + more, None),  # type: ignore[misc]
            )
        return rows

    def done(more: int) -> None:
        nonlocal rows
        rows += more
        progress("read", rows, None)

    import ray

    actor = ray.remote(num_cpus=1)(ReaderActor)
    actor_arguments = (
        config.traffic.model_dump_json(),
        as_of.isoformat(),
        buckets,
        str(folder.path.absolute()),
    )
    jobs = [Job(target.name, (share, str(target.absolute()))) for share, target in todo]
    failures = run_jobs(
        jobs,
        lambda: actor.remote(*actor_arguments),
        actors=readers,
        retries=config.job.ray.retries,
        start_timeout_s=config.job.ray.start_timeout_s,
        done=done,
        beat=lambda: progress("read", rows, None),
    )
    if failures:
        raise _unread(failures, {target.name: share for share, target in todo}, spread)
    return rows


def _unread(
    failures: dict[str, Failure], shares: dict[str, tuple[Piece, ...]], spread: Path
) -> CoverageLabError:
    """Name the files that could not be read, in the words of the first in order."""
    name = min(failures)
    first = failures[name]
    more = f" (and {len(failures) - 1} more shares of the input)" if len(failures) > 1 else ""
    if first.error is not None:
        return type(first.error)(f"{first.error}{more}") if more else first.error
    at = _source_read(shares[name], _note(spread / name))
    return TrafficError(
        f"input file {shown(at.name)}: can't be read, its reader was lost each time ({first.lost}){more}; "
        "all else was read: repair it or take it out, or give a worker more memory, and run again"
    )


def _source_read(share: Sequence[Piece], note: Path) -> Source:
    try:
        position = int(note.read_text())
    except (OSError, ValueError):  # lost before it began
        return share[0].source
    return next(piece.source for piece in share if piece.position == position)


def _noted(pieces: Iterable[Piece], note: Path) -> Iterator[Piece]:
    """Leave a note of which source is being read, for when the reader can't tell any more."""
    for piece in pieces:
        note.write_text(str(piece.position))
        yield piece
    note.unlink(missing_ok=True)


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.at")


def _share_folder(spread: Path, share: int) -> Path:
    return spread / f"share-{share:05d}"


def _tallies_of(target: Path) -> Tallies:
    return read_value(target / "share.json", Tallies)


def _join_quarantine(folder: OutputFolder, shares: int) -> None:
    """Put the shares' unusable rows together, in the order of the input."""
    files = [_share_folder(folder.work / "buckets", at) / "quarantine.parquet" for at in range(shares)]
    with (
        whole_file(folder.work / "quarantine.parquet", temporary=folder.work / "refused.part") as target,
        pq.ParquetWriter(target, QUARANTINE, compression="zstd") as writer,
    ):
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches():
                writer.write_batch(batch)
