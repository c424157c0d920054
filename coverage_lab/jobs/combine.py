"""The buckets' tables put together, and what can only be said of all accounts at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coverage_lab.campaigns.find import FoundCampaigns
from coverage_lab.campaigns.mark import mark_members, memberships
from coverage_lab.config import DetectConfig
from coverage_lab.detect import Judge, Scorecard
from coverage_lab.detect.fdr import smallest_discovery
from coverage_lab.detect.judge import flags_of, with_q_values
from coverage_lab.files.manifest import Discoveries
from coverage_lab.files.output_folder import OutputFolder
from coverage_lab.jobs.external_sort import column_of, write_sorted
from coverage_lab.progress import Checkpoint, no_checkpoint
from coverage_lab.schema import ACCOUNTS, CELLS, CURVES, FLAGS, QUARANTINE

#: Share of false ones among the discoveries, on average, at which a run counts its discoveries.
DISCOVERY_RATE = 0.1

_SCHEMAS = {"accounts": ACCOUNTS, "flags": FLAGS, "curves": CURVES, "cells": CELLS, "quarantine": QUARANTINE}
_STREAMED = ("curves", "cells", "quarantine")


def gather_quarantine(folder: OutputFolder, parts: Sequence[Path]) -> None:
    """Put the unusable rows alone in the output folder, for a run that has failed."""
    files = [folder.work / "quarantine.parquet", *(part / "quarantine.parquet" for part in parts)]
    _stream(folder, "quarantine", files)


def gather(
    folder: OutputFolder,
    parts: Sequence[Path],
    judge: Judge,
    campaigns: FoundCampaigns,
    *,
    checkpoint: Checkpoint = no_checkpoint,
) -> None:
    """Put the parts' tables together in the output folder.

    `accounts` and `flags` are sorted by account and get their q-values here, in row groups of one size;
    `curves`, `cells` and `quarantine` are streamed in bucket order, each account's rows together. Held are a
    few numbers an account, never all rows of a table. Members of campaigns get them here, and a flag where
    they had none. `checkpoint` is told "gather TABLE" before each table, and "sort TABLE" in the middle of
    those two that are sorted.
    """
    files = {name: [part / f"{name}.parquet" for part in parts] for name in _SCHEMAS}
    q_values = _q_values(files["accounts"], judge.config)
    flag_q_values = _q_values_of_flags(files["accounts"], files["flags"], q_values)
    of = memberships(campaigns.campaigns, campaigns.members)
    if of:
        flags, more = _flags_of_members(files["accounts"], files["flags"], q_values, set(of), judge)
        path = folder.work / "campaign_flags.parquet"
        pq.write_table(flags, path)
        files["flags"].append(path)
        flag_q_values = pa.concat_arrays([flag_q_values, more])
    for name, column in (("accounts", q_values), ("flags", flag_q_values)):
        checkpoint(f"gather {name}")
        with folder.whole_file(f"{name}.parquet") as target:
            write_sorted(
                files[name],
                target,
                schema=_SCHEMAS[name],
                q_values=column,
                scratch=folder.work / "sorting",
                change=partial(mark_members, of=of),
                spans_written=partial(checkpoint, f"sort {name}"),
            )
    for name, rows in (("campaigns", campaigns.campaigns), ("members", campaigns.members)):
        checkpoint(f"gather {name}")
        with folder.whole_file(f"{name}.parquet") as target:
            pq.write_table(rows, target, compression="zstd")
    files["quarantine"].insert(0, folder.work / "quarantine.parquet")
    for name in _STREAMED:
        checkpoint(f"gather {name}")
        _stream(folder, name, files[name])


def _stream(folder: OutputFolder, name: str, files: Sequence[Path]) -> None:
    with (
        folder.whole_file(f"{name}.parquet") as target,
        pq.ParquetWriter(target, _SCHEMAS[name], compression="zstd") as writer,
    ):
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches():
                writer.write_batch(batch)


def _q_values(files: Sequence[Path], config: DetectConfig) -> pa.Array:
    """One a row, in the order of `files`."""
    names = ["prompts", "p_value", "q_value"]
    narrow = pa.table({name: column_of(files, name) for name in names})
    return with_q_values(narrow, config)["q_value"].combine_chunks()


def _q_values_of_flags(accounts: Sequence[Path], flags: Sequence[Path], q_values: pa.Array) -> pa.Array:
    """Each flag's q-value: that of its account, which is in the same part."""
    found = [pa.array([], pa.float64())]
    row = 0
    for account_file, flag_file in zip(accounts, flags, strict=True):
        ids, flagged = column_of([account_file], "account_id"), column_of([flag_file], "account_id")
        where = pc.index_in(flagged, value_set=ids.combine_chunks()).combine_chunks()
        found.append(q_values[row : row + len(ids)].take(where))
        row += len(ids)
    return pa.concat_arrays(found)


def _flags_of_members(
    accounts: Sequence[Path], flags: Sequence[Path], q_values: pa.Array, members: set[str], judge: Judge
) -> tuple[pa.Table, pa.Array]:
    """Flags of members of campaigns that have none by themselves, and their q-values.

    A member without a p-value gets none: its texts give no ground for a flag.
    """
    wanted = members - set(column_of(flags, "account_id").to_pylist())
    found, q_found = [FLAGS.empty_table()], [pa.array([], pa.float64())]
    row = 0
    for file in accounts:
        ids = column_of([file], "account_id").combine_chunks()
        compared = pc.is_valid(column_of([file], "p_value").combine_chunks())
        mine = pc.and_(compared, pc.is_in(ids, value_set=pa.array(wanted, pa.large_string())))
        if pc.any(mine).as_py():
            places = pc.indices_nonzero(mine)
            rows = pq.read_table(file, schema=ACCOUNTS).take(places)
            q_here = q_values[row : row + len(ids)].take(places)
            for stage in judge.stages:
                own = pc.equal(rows["atlas_id"].combine_chunks(), stage.atlas.id)
                found.append(flags_of(rows.filter(own), stage))
                q_found.append(q_here.filter(own))
        row += len(ids)
    return pa.concat_tables(found), pa.concat_arrays(q_found)


def discoveries(
    accounts: pa.Table, scorecard: Scorecard | None, *, over_time: bool = False
) -> Discoveries | None:
    """Tell how many accounts stand out of the whole run, and whether its calibration lets any.

    Parameters
    ----------
    accounts : Table
        With the column `q_value`.
    over_time : bool
        The p-values are those of all looks at an account, so they are as fine as the scorecard's grown
        accounts are many.

    Returns
    -------
    Discoveries or None
        None where nothing was judged.
    """
    q = accounts["q_value"].drop_null()
    if scorecard is None or not len(q):
        return None
    compared = scorecard.calibration.neighbours
    if over_time and scorecard.growth is not None:
        compared = max(compared, len(scorecard.growth.trajectories().highest))
    fewest = smallest_discovery(compared, len(q), q=DISCOVERY_RATE)
    return Discoveries(
        rate=DISCOVERY_RATE,
        judged=len(q),
        found=pc.sum(pc.less_equal(q, DISCOVERY_RATE)).as_py(),
        fewest=fewest,
        note=_note(fewest, len(q), compared),
    )


def _note(fewest: int, judged: int, compared: int) -> str | None:
    if fewest == 1:
        return None
    start = f"With {compared:,} ordinary customers to compare each of {judged:,} judged accounts with, "
    if fewest > judged:
        return f"{start}no account can be a discovery (q at most {DISCOVERY_RATE:g}), whatever it scores."
    return (
        f"{start}no account can be a discovery (q at most {DISCOVERY_RATE:g}) by itself: at least {fewest:,} "
        "must reach the smallest p together."
    )
