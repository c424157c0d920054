"""A group of accounts as if it were one account: what the detector judges it by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from coverage_lab.accounts import AccountStates, members
from coverage_lab.accounts.state import NAMED, repeats, sum_widths


def pooled(states: AccountStates, *, name: str) -> AccountStates:
    """Pool all accounts of some states into one, called `name`.

    A prompt's novelty stays what it was within its own account: at least what it would be in the group, as
    after a merge of days. A text that another member sent before it gets 0. Everything else is that of one
    account that had sent all of it.

    Raises
    ------
    ValueError
        No account.
    """
    if not states.account_ids:
        raise ValueError("states: expected at least one account, got none")
    order = np.lexsort((np.nan_to_num(-states.novelty, nan=-np.inf), states.digests, states.timestamps))
    digests = states.digests[order]
    again = repeats(np.zeros(len(order), np.int64), digests)
    rest: dict[str, Any] = {
        field: getattr(states, field).sum(axis=0, keepdims=True) for field in sum_widths(states.dim)
    }
    for field in NAMED:
        seen = getattr(states, field)
        rest[field] = members(np.zeros(len(seen.name), np.int64), seen.name)
    return AccountStates(
        account_ids=(name,),
        offsets=np.array([0, len(order)], dtype=np.int64),
        timestamps=states.timestamps[order],
        digests=digests,
        cells=states.cells[order],
        novelty=np.where(again, np.float32(0), states.novelty[order]),
        **rest,
    )


def thinned(states: AccountStates, *, most: int) -> AccountStates:
    """Keep at most so many prompts of one account, those with the lowest hashes of their text.

    A group may be larger than any account that the detector was calibrated on. Counts, times and novelty
    are those of the prompts kept; sums are scaled, since what they are used for is their mean. Equal texts
    are kept or left out together, so that repeats stay as common as they were.

    Parameters
    ----------
    states : AccountStates
        Of one account.
    most : int
        At least 1; fewer prompts are kept where the last text does not fit in whole.
    """
    count = len(states.digests)
    if count <= most:
        return states
    ordered = np.sort(states.digests)
    # Below the first text that is left out, at least in part; one text alone that is too often is cut.
    keep = states.digests < ordered[most]
    if not keep.any():
        keep = np.arange(count) < most
    kept = int(keep.sum())
    scaled: dict[str, Any] = {
        field: getattr(states, field) * (kept / count) for field in sum_widths(states.dim)
    }
    return replace(
        states,
        offsets=np.array([0, kept], dtype=np.int64),
        timestamps=states.timestamps[keep],
        digests=states.digests[keep],
        cells=states.cells[keep],
        novelty=states.novelty[keep],
        **scaled,
    )
