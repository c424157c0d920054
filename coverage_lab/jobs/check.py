"""A look at an input before a run: what its rows are, how they come out, and what would be lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.accounts.readable import unreadable
from coverage_lab.config import TrafficConfig
from coverage_lab.schema import QUARANTINE, TRAFFIC
from coverage_lab.traffic import (
    Source,
    check_sources,
    drop_repeated_requests,
    find_sources,
    read_traffic,
    without_repeats,
)
from coverage_lab.traffic.batch import Tallies
from coverage_lab.traffic.checks import Checked

#: Rows that are looked at, of all files together.
SAMPLE_ROWS = 100_000
_EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """How one row comes out; `prompt` is its text."""

    account_id: str
    timestamp: datetime
    prompt: str


@dataclass(frozen=True)
class Survey:
    """What the first rows of an input are, and what would become of them.

    Attributes
    ----------
    checked : Checked
        Files, their format, and what was skipped.
    tallies : Tallies
        Of the rows that were looked at.
    reasons : dict
        (reason, detail) of quarantine to rows; repeated requests are among them.
    used, accounts : int
        Usable rows, and their accounts.
    whole : bool
        Whether all rows were looked at.
    """

    checked: Checked
    tallies: Tallies
    reasons: dict[tuple[str, str], int]
    used: int
    accounts: int
    whole: bool
    examples: tuple[Example, ...]

    @property
    def days(self) -> dict[date, int]:
        """Usable rows of each day."""
        return dict(sorted(self.tallies.days.items()))


def survey(
    traffic: str | Path | Sequence[str | Path], config: TrafficConfig, *, rows: int = SAMPLE_ROWS
) -> Survey:
    """Look at the first rows of every file, `rows` in all.

    Raises
    ------
    CoverageLabError
        As a run refuses the input.
    """
    checked = without_repeats(check_sources(find_sources(traffic), config), config)
    sources: Sequence[Source] = checked.sources
    as_of = config.as_of or datetime.now(UTC)
    share = max(1, rows // len(sources))
    small = config.model_copy(update={"batch_rows": min(config.batch_rows, share)})
    good, bad, tallies, whole = [TRAFFIC.empty_table()], [QUARANTINE.empty_table()], Tallies(), True
    for position, source in enumerate(sources):
        seen = 0
        for batch in read_traffic([source], small, as_of=as_of):
            if seen >= share:
                whole = False
                break
            seen += batch.rows_in
            where = TRAFFIC.get_field_index("source")
            places = pa.array([position] * batch.good.num_rows, pa.int32())
            good.append(batch.good.set_column(where, TRAFFIC.field("source"), places))
            bad.append(batch.quarantined)
            tallies += Tallies.of(batch, config.timezone)
    prompts = pa.concat_tables(good)
    kept, repeated = drop_repeated_requests(prompts, [source.name for source in sources])
    reasons: Counter[tuple[str, str]] = Counter()
    for table in chain(bad, [repeated]):
        reasons.update(zip(table["reason"].to_pylist(), table["detail"].to_pylist(), strict=True))
    same_turn = prompts.num_rows - kept.num_rows - repeated.num_rows
    tallies += Tallies(same_turn=same_turn, unreadable=int(unreadable(kept["prompt"]).sum()))
    return Survey(
        checked=checked,
        tallies=tallies,
        reasons=dict(reasons),
        used=kept.num_rows,
        accounts=pc.count_distinct(kept["account_id"]).as_py(),
        whole=whole,
        examples=tuple(
            Example(row["account_id"], row["timestamp"], row["prompt"])
            for row in prompts.slice(0, _EXAMPLES).select(["account_id", "timestamp", "prompt"]).to_pylist()
        ),
    )
