"""The buckets' tables put together, and what can only be said of all accounts at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coverage_lab.config import DetectConfig
from coverage_lab.detect import Scorecard
from coverage_lab.detect.discovery import smallest_discovery
from coverage_lab.detect.judge import judged_together
from coverage_lab.jobs.bucket import write_table
from coverage_lab.jobs.output import OutputFolder
from coverage_lab.schema import ACCOUNTS, CELLS, CURVES, FLAGS, QUARANTINE

#: Share of false ones among the discoveries, on average, at which a run counts its discoveries.
DISCOVERY_RATE = 0.1

_STREAMED = {"curves": CURVES, "cells": CELLS, "quarantine": QUARANTINE}


def gather(folder: OutputFolder, parts: Sequence[Path], config: DetectConfig) -> None:
    """Put the parts' tables together in the output folder.

    `accounts` and `flags` are small and sorted by account, and get their q-values here; `curves`, `cells`
    and `quarantine` are streamed in bucket order, each account's rows together.
    """
    accounts = judged_together(_joined(parts, "accounts", ACCOUNTS), config)
    flags = _joined(parts, "flags", FLAGS)
    where = pc.index_in(flags["account_id"], value_set=accounts["account_id"].combine_chunks())
    column = flags.schema.get_field_index("q_value")
    flags = flags.set_column(column, FLAGS.field("q_value"), accounts["q_value"].take(where))
    for name, table in (("accounts", accounts), ("flags", flags)):
        with folder.whole_file(f"{name}.parquet") as target:
            write_table(table, target)
    for name, schema in _STREAMED.items():
        files = [part / f"{name}.parquet" for part in parts]
        if name == "quarantine":
            files.insert(0, folder.work / "quarantine.parquet")
        with (
            folder.whole_file(f"{name}.parquet") as target,
            pq.ParquetWriter(target, schema, compression="zstd") as writer,
        ):
            for file in files:
                for batch in pq.ParquetFile(file).iter_batches():
                    writer.write_batch(batch)


def _joined(parts: Sequence[Path], name: str, schema: pa.Schema) -> pa.Table:
    tables = [pq.read_table(part / f"{name}.parquet", schema=schema) for part in parts]
    joined = pa.concat_tables(tables) if tables else schema.empty_table()
    return joined.sort_by("account_id").combine_chunks()


def discoveries(
    accounts: pa.Table, scorecard: Scorecard | None, *, over_time: bool = False
) -> dict[str, object] | None:
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
    dict or None
        `rate`, the share of false ones allowed on average; `judged`, accounts with a q-value; `found`,
        those with q ≤ rate; `fewest`, how many must reach the smallest p together before any is found; and
        `note`, a sentence where that is more than one, else None. None where nothing was judged.
    """
    q = accounts["q_value"].drop_null()
    if scorecard is None or not len(q):
        return None
    compared = scorecard.calibration.neighbours
    if over_time and scorecard.growth is not None:
        compared = max(compared, len(scorecard.growth.trajectories().highest))
    fewest = smallest_discovery(compared, len(q), q=DISCOVERY_RATE)
    return {
        "rate": DISCOVERY_RATE,
        "judged": len(q),
        "found": pc.sum(pc.less_equal(q, DISCOVERY_RATE)).as_py(),
        "fewest": fewest,
        "note": _note(fewest, len(q), compared),
    }


def _note(fewest: int, judged: int, compared: int) -> str | None:
    if fewest == 1:
        return None
    start = f"With {compared:,} calibration accounts to compare each of {judged:,} judged accounts with, "
    if fewest > judged:
        return f"{start}no account can be a discovery (q at most {DISCOVERY_RATE:g}), whatever it scores."
    return (
        f"{start}no account can be a discovery (q at most {DISCOVERY_RATE:g}) by itself: at least {fewest:,} "
        "must reach the smallest p together."
    )
