"""What validation yields: the rows to go on with, and those that can't."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from coverage_lab.schema import QUARANTINE, TRAFFIC


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

    Raises
    ------
    ValueError
        A table has another schema, a required value is null, or the rows do not add up: a bug, not an input.
    """

    good: pa.Table
    quarantined: pa.Table
    rows_in: int

    def __post_init__(self) -> None:
        """Hold the invariants."""
        for table, schema in ((self.good, TRAFFIC), (self.quarantined, QUARANTINE)):
            if not table.schema.equals(schema):
                raise ValueError(f"TrafficBatch: expected columns {schema.names}, got {table.schema.names}")
            for field in schema:
                if not field.nullable and table.column(field.name).null_count:
                    raise ValueError(f"TrafficBatch: {field.name} has nulls")
        if self.rows_in != self.good.num_rows + self.quarantined.num_rows:
            raise ValueError(
                f"TrafficBatch: {self.rows_in} rows in, but {self.good.num_rows} good and "
                f"{self.quarantined.num_rows} quarantined"
            )
