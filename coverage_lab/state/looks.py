"""What was seen of accounts at former looks, kept beside their states.

A day's row holds what that day's own look saw, and nothing of other days: it goes with its day when the day
is taken out, counted anew or leaves the window. What was seen of an account so far is the highest of the days
that it is judged by.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.detect.trajectory import Watched, unwatched
from coverage_lab.schema import STATES


class Looks:
    """Highest look at each account by one scorecard.

    Parameters
    ----------
    model_id : str
        Id of the scorecard: what another one saw is not comparable, so accounts start anew with it.
    """

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._seen: dict[str, tuple[int, float]] = {}

    def take(self, rows: pa.Table) -> None:
        """Take note of a day's rows of `STATES`; days in any order."""
        mine = rows.filter(pc.fill_null(pc.equal(rows["look_model"], self._model_id), False))
        for account_id, look, standing in zip(
            *(mine[name].to_pylist() for name in ("account_id", "look", "standing")), strict=True
        ):
            most, highest = self._seen.get(account_id, (look, standing))
            self._seen[account_id] = (max(most, look), max(highest, standing))

    def watched(self, account_ids: tuple[str, ...]) -> Watched:
        """Return what was seen of some accounts, in their order; nobody looked at the others."""
        watched = unwatched(len(account_ids))
        for row, account_id in enumerate(account_ids):
            if account_id in self._seen:
                watched.looks[row], watched.highest[row] = self._seen[account_id]
        return watched


def with_looks(rows: pa.Table, today: Watched | None, *, model_id: str) -> pa.Table:
    """Put today's looks into today's rows.

    Parameters
    ----------
    rows : Table
        Schema `STATES`.
    today : Watched or None
        `JudgedAccounts.watched`, in the order of `rows`. None, or a look that does not count: the columns
        stay null.
    """
    if today is None:
        return rows
    seen = today.looks > 0
    columns = {
        "look_model": pa.array([model_id if one else None for one in seen], pa.string()),
        "look": pa.array(today.looks, pa.int64(), mask=~seen),
        "standing": pa.array(today.highest, pa.float64(), mask=~seen),
    }
    for name, column in columns.items():
        rows = rows.set_column(STATES.get_field_index(name), STATES.field(name), column)
    return rows
