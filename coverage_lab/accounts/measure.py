"""Account states → measures, growth curves and the cells an account stands out in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coverage_lab.accounts.state import AccountStates, repeats
from coverage_lab.atlas import Atlas
from coverage_lab.measures import cell_counts, growth_curves, level_measures, lower_tail, novelty_summary
from coverage_lab.schema import CELLS, CURVES, LEVELS, MEASURE_COLUMNS

#: Cells listed per account and level in `cells.parquet`.
TOP_CELLS = 8


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of many accounts.

    Attributes
    ----------
    values : mapping of name → float64 (A,)
        One entry per name of `coverage_lab.schema.MEASURE_COLUMNS`; NaN where not defined.
    """

    values: Mapping[str, NDArray[np.float64]]

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.values[name]


def measure(states: AccountStates, atlas: Atlas) -> Measures:
    """Compute every measure of every account.

    Parameters
    ----------
    states : AccountStates
        Traced on `atlas`.

    Returns
    -------
    Measures
        In the order of `states.account_ids`.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for position, level in enumerate(LEVELS):
        at_level = level_measures(states.cells[:, position], states.offsets, atlas.masses[position])
        values.update({f"{name}_{level}": column for name, column in at_level.items()})
    values.update(novelty_summary(states.novelty, states.offsets))
    values["novelty_hole"] = lower_tail(np.maximum(states.novelty, 0), states.offsets)["novelty_hole"]
    account = np.repeat(np.arange(len(states.account_ids)), states.prompts)
    repeated = np.bincount(account[repeats(account, states.digests)], minlength=len(states.account_ids))
    values["repeat_share"] = repeated / states.prompts
    return Measures({name: values[name] for name in MEASURE_COLUMNS})


def curves_table(states: AccountStates, atlas: Atlas) -> pa.Table:
    """Growth curves of every account at every level, with their nulls; schema `CURVES`."""
    parts = []
    for position, level in enumerate(LEVELS):
        curves = growth_curves(states.cells[:, position], states.offsets, atlas.masses[position])
        columns = {
            "account_id": _ids(states, curves.account),
            "level": pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(curves.n), np.int8)), pa.array([level])
            ).cast(pa.string()),
            "n": pa.array(curves.n),
            "distinct": pa.array(curves.distinct),
        }
        nulls = {"own": curves.own, "reference": curves.reference, "uniform": curves.uniform}
        for null, band in nulls.items():
            columns[f"{null}_mean"] = pa.array(band.mean)
            columns[f"{null}_low"] = pa.array(band.low)
            columns[f"{null}_high"] = pa.array(band.high)
        parts.append(pa.table(columns, schema=CURVES))
    return pa.concat_tables(parts).sort_by(
        [("account_id", "ascending"), ("level", "ascending"), ("n", "ascending")]
    )


def cells_table(states: AccountStates, atlas: Atlas, *, top: int = TOP_CELLS) -> pa.Table:
    """Cells that each account stands out in; schema `CELLS`.

    A cell's surplus is the account's share of prompts in it less ordinary traffic's share. The `top`
    cells with the largest surplus are listed per account and level, largest first.
    """
    parts = []
    for position, level in enumerate(LEVELS):
        cell, count, offsets = cell_counts(states.cells[:, position], states.offsets)
        account = np.repeat(np.arange(len(states.account_ids)), np.diff(offsets))
        share = count / states.prompts[account]
        reference = atlas.masses[position][cell]
        order = np.lexsort((cell, reference - share, account))
        rank = np.arange(len(order)) - offsets[:-1][account[order]]
        kept = order[rank < top]
        labels = np.array(atlas.names[position], dtype=object)
        parts.append(
            pa.table(
                {
                    "account_id": _ids(states, account[kept]),
                    "level": pa.array([level] * len(kept), pa.string()),
                    "cell": pa.array(cell[kept].astype(np.int64)),
                    "label": pa.array(labels[cell[kept]].tolist(), pa.string()),
                    "prompts": pa.array(count[kept].astype(np.int64)),
                    "share": pa.array(share[kept]),
                    "reference_share": pa.array(reference[kept]),
                },
                schema=CELLS,
            )
        )
    return pa.concat_tables(parts)


def _ids(states: AccountStates, account: NDArray[np.int64]) -> pa.Array:
    return pa.array(states.account_ids, pa.large_string()).take(pa.array(account))
