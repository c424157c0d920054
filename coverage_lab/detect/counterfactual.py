"""The score that an account would have without the narrow topics that it stands out in most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit

from coverage_lab.accounts import AccountStates, Members, measure
from coverage_lab.accounts.state import NAMED, sum_widths
from coverage_lab.atlas import Atlas
from coverage_lab.detect.features import SHAPE, Features, features_of
from coverage_lab.detect.scorecard import Scorecard
from coverage_lab.schema import LEVELS

#: Fine cells that are taken away.
TOP = 3

_FINE = LEVELS.index("fine")
#: Columns of the shape that are measures; the mean cosine comes from the sums of vectors.
_MEASURED = [j for j, name in enumerate(SHAPE) if name != "mean_cosine"]
#: Kinds of evidence that are worked out again.
_MOVED = ("shape", "topics")


@dataclass(frozen=True)
class Without:
    """What is left of an account without its top fine cells.

    Attributes
    ----------
    labels : tuple of str
        Of the cells taken away, the largest surplus first; "#number" where a cell has no label.
    left : int
        Prompts outside them.
    score : float or None
        The score without them; None where too few prompts are left to score.
    """

    labels: tuple[str, ...]
    left: int
    score: float | None


def without_top_cells(
    states: AccountStates,
    rows: Sequence[int],
    cells: pa.Table,
    *,
    atlas: Atlas,
    scorecard: Scorecard,
    features: Features,
    min_prompts: int,
) -> list[Without]:
    """Score accounts as if the prompts in their `TOP` fine cells of largest surplus had not been sent.

    Only the measures and the topics are computed again, and compared with accounts of as many prompts as are
    left. All other evidence stays, since the prompts' vectors
    and texts are gone by now and their sums are of the whole account; and a prompt
    that is left keeps the novelty it had, also where the earlier prompt nearest to it is taken away. So this
    answers one question: is the ground that it covers beside its favourite topics unusual too?

    Parameters
    ----------
    rows : sequence of int
        Positions of the accounts asked about.
    cells : Table
        Schema `coverage_lab.schema.CELLS`, from `cells_table`: its order is by surplus.
    features : Features
        Of all `states`.
    min_prompts : int
        With fewer prompts left there is no score; at least 2.

    Returns
    -------
    list of Without
        One per entry of `rows`.
    """
    tops = _tops(cells, [states.account_ids[row] for row in rows])
    kept = np.zeros(len(states.digests), dtype=bool)
    left = []
    for row in rows:
        mine = slice(int(states.offsets[row]), int(states.offsets[row + 1]))
        numbers = [cell for cell, _ in tops[states.account_ids[row]]]
        kept[mine] = ~np.isin(states.cells[mine, _FINE], numbers)
        left.append(int(kept[mine].sum()))
    scored = [row for row, count in zip(rows, left, strict=True) if count >= min_prompts]
    scores: dict[int, float] = {}
    if scored:
        rest = _part(states, scored, kept)
        again = features_of(rest, measure(rest, atlas).values, middle_cells=atlas.sizes[1])
        whole = features.at(np.array(scored))
        named = whole.named.copy()
        named[:, _MEASURED] = again.named[:, _MEASURED]
        vectors = {**whole.vectors, "topics": again.vectors["topics"]}
        added = scorecard.totals(whole)
        # What covers less ground is compared with accounts of as few prompts as are left.
        fewer = scorecard.totals(replace(whole, named=named, vectors=vectors, prompts=again.prompts))
        added |= {part: fewer[part] for part in _MOVED}
        odds = np.sum([added[part] for part in added], axis=0)
        scores = dict(zip(scored, expit(scorecard.intercept + odds).tolist(), strict=True))
    return [
        Without(
            labels=tuple(label or f"#{cell}" for cell, label in tops[states.account_ids[row]]),
            left=count,
            score=scores.get(row),
        )
        for row, count in zip(rows, left, strict=True)
    ]


def _tops(cells: pa.Table, account_ids: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Number and label of each account's first `TOP` fine cells."""
    wanted = pc.and_(
        pc.equal(cells["level"], "fine"),
        pc.is_in(cells["account_id"], value_set=pa.array(account_ids, pa.large_string())),
    )
    tops: dict[str, list[tuple[int, str]]] = {account_id: [] for account_id in account_ids}
    for cell in cells.filter(wanted).select(["account_id", "cell", "label"]).to_pylist():
        mine = tops[cell["account_id"]]
        if len(mine) < TOP:
            mine.append((cell["cell"], cell["label"]))
    return tops


def _part(states: AccountStates, rows: Sequence[int], kept: NDArray[np.bool_]) -> AccountStates:
    """States of some accounts with some of their prompts; the sums are still of all their prompts."""
    prompts = np.concatenate([np.arange(states.offsets[row], states.offsets[row + 1]) for row in rows])
    sizes = [int(kept[states.offsets[row] : states.offsets[row + 1]].sum()) for row in rows]
    prompts = prompts[kept[prompts]]
    chosen = np.array(rows)
    rest: dict[str, Any] = {name: getattr(states, name)[chosen] for name in sum_widths(states.dim)}
    rest |= dict.fromkeys(NAMED, Members.nobody())
    return replace(
        states,
        account_ids=tuple(states.account_ids[row] for row in rows),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        timestamps=states.timestamps[prompts],
        digests=states.digests[prompts],
        cells=states.cells[prompts],
        novelty=states.novelty[prompts],
        **rest,
    )
