"""All usable prompts of a traffic at once, for steps that hold them in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.config import TrafficConfig
from coverage_lab.progress import Progress, silent
from coverage_lab.schema import TRAFFIC
from coverage_lab.traffic import check_sources, drop_repeated_requests, find_sources, read_traffic

Paths = str | Path | Sequence[str | Path]


def usable_prompts(
    traffic: Paths,
    config: TrafficConfig,
    *,
    accounts: Sequence[str] | None = None,
    progress: Progress = silent,
) -> tuple[pa.Table, int]:
    """Read the rows that can be used, repeated requests once.

    Parameters
    ----------
    traffic : str, Path or sequence of them
        As for a run: file, folder, glob or address.
    config : TrafficConfig
    accounts : sequence of str, optional
        Keep the rows of these accounts only.
    progress : Progress, optional
        Told how many rows were read.

    Returns
    -------
    pyarrow.Table, int
        Schema `coverage_lab.schema.TRAFFIC`, and how many rows were read.

    Raises
    ------
    TrafficError
        The traffic can't be read.
    """
    sources = list(check_sources(find_sources(traffic), config).sources)
    wanted = None if accounts is None else pa.array(accounts, pa.large_string())
    kept, rows = [TRAFFIC.empty_table()], 0
    for batch in read_traffic(sources, config, as_of=config.as_of or datetime.now(UTC)):
        good = batch.good
        if wanted is not None:
            good = good.filter(pc.is_in(good["account_id"], value_set=wanted))
        kept.append(good)
        rows += batch.rows_in
        progress("read", rows, None)
    prompts, _ = drop_repeated_requests(pa.concat_tables(kept), [source.name for source in sources])
    return prompts, rows
