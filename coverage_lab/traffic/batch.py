"""What validation yields: the rows to go on with, and those that can't."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.schema import QUARANTINE, TRAFFIC

K = TypeVar("K")


@dataclass(frozen=True)
class TrafficBatch:
    """Some rows of one source, each either good or quarantined.

    Parameters
    ----------
    good
        `schema.TRAFFIC`, in the order of the input.
    quarantined
        `schema.QUARANTINE`, in the order of the input.
    rows_in
        Rows read.
    left_out
        Rows that `traffic.filter` or the format left out: they are no prompts.
    dropped
        By column that no score uses: values that were unusable and became null.
    repaired
        Prompts in which half a surrogate pair became U+FFFD.

    Raises
    ------
    ValueError
        A table has another schema, a required value is null, or the rows do not add up: a bug, not an input.
    """

    good: pa.Table
    quarantined: pa.Table
    rows_in: int
    left_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    repaired: int = 0

    def __post_init__(self) -> None:
        """Hold the invariants."""
        for table, schema in ((self.good, TRAFFIC), (self.quarantined, QUARANTINE)):
            if not table.schema.equals(schema):
                raise ValueError(f"TrafficBatch: expected columns {schema.names}, got {table.schema.names}")
            for column in schema:
                if not column.nullable and table.column(column.name).null_count:
                    raise ValueError(f"TrafficBatch: {column.name} has nulls")
        if self.rows_in != self.good.num_rows + self.quarantined.num_rows + self.left_out:
            raise ValueError(
                f"TrafficBatch: {self.rows_in} rows in, but {self.good.num_rows} good and "
                f"{self.quarantined.num_rows} quarantined, with {self.left_out} left out"
            )


@dataclass(frozen=True)
class Tallies:
    """What is counted while rows are read; tallies of parts add up to that of the whole.

    Attributes
    ----------
    same_turn : int
        Requests that go on with a prompt that an earlier one asked: calls of an agent's loop.
    days : dict
        Usable rows of each day.
    """

    rows_in: int = 0
    left_out: int = 0
    same_turn: int = 0
    repaired: int = 0
    unreadable: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    days: dict[date, int] = field(default_factory=dict)

    def __add__(self, other: Tallies) -> Tallies:
        """Add two parts' tallies."""
        return Tallies(
            self.rows_in + other.rows_in,
            self.left_out + other.left_out,
            self.same_turn + other.same_turn,
            self.repaired + other.repaired,
            self.unreadable + other.unreadable,
            _sum(self.dropped, other.dropped),
            _sum(self.days, other.days),
        )

    @classmethod
    def of(cls, batch: TrafficBatch, timezone: str | None) -> Tallies:
        """Tally of one batch; days are those of this zone, UTC where there is none."""
        stamps = batch.good["timestamp"].cast(pa.timestamp("us", tz=timezone or "UTC"))
        local = pc.local_timestamp(stamps).cast(pa.date32(), safe=False)
        days = {pair["values"]: pair["counts"] for pair in local.value_counts().to_pylist()}
        return cls(batch.rows_in, batch.left_out, 0, batch.repaired, 0, dict(batch.dropped), days)


def _sum(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted({*one, *other})}  # type: ignore[type-var]
