"""What was seen of accounts at former looks, kept beside their states.

A look is a fact of the day that it was taken on: it is stored with that day's row, goes with it, and does not
change when an earlier day is counted anew.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.detect.trajectory import Watched, unwatched
from coverage_lab.schema import STATES


class Looks:
    """Newest look at each account by one scorecard.

    Parameters
    ----------
    model_id : str
        Id of the scorecard: what another one saw is not comparable, so accounts start anew with it.
    """

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._newest: dict[str, tuple[int, float]] = {}

    def take(self, rows: pa.Table) -> None:
        """Take note of a day's rows of `STATES`; days in their order."""
        mine = rows.filter(pc.fill_null(pc.equal(rows["look_model"], self._model_id), False))
        for account_id, looks, highest in zip(
            *(mine[name].to_pylist() for name in ("account_id", "looks", "highest")), strict=True
        ):
            self._newest[account_id] = (looks, highest)

    def watched(self, account_ids: tuple[str, ...]) -> Watched:
        """Return what was seen of some accounts, in their order; nobody looked at the others."""
        watched = unwatched(len(account_ids))
        for row, account_id in enumerate(account_ids):
            if account_id in self._newest:
                watched.looks[row], watched.highest[row] = self._newest[account_id]
        return watched


def with_looks(rows: pa.Table, watched: Watched | None, *, model_id: str) -> pa.Table:
    """Put today's looks into today's rows.

    Parameters
    ----------
    rows : Table
        Schema `STATES`.
    watched : Watched or None
        In the order of `rows`. None, or an account that was not looked at: the row's columns stay null.
    """
    if watched is None:
        return rows
    seen = watched.looks > 0
    columns = {
        "look_model": pa.array([model_id if one else None for one in seen], pa.string()),
        "looks": pa.array(watched.looks, pa.int64(), mask=~seen),
        "highest": pa.array(watched.highest, pa.float64(), mask=~seen),
    }
    for name, column in columns.items():
        rows = rows.set_column(STATES.get_field_index(name), STATES.field(name), column)
    return rows
