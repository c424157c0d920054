"""How an account behaves beside what it asks: when it sends, for whom, and how long the answers are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts.state import TOKENS, AccountStates
from coverage_lab.measures import burstiness, hours_used
from coverage_lab.measures.ragged import ratio
from coverage_lab.schema import BEHAVIOUR_COLUMNS


def behaviour(states: AccountStates) -> Mapping[str, NDArray[np.float64]]:
    """Compute how accounts behave; no score uses it.

    Parameters
    ----------
    states : AccountStates

    Returns
    -------
    mapping of name → float64 (A,)
        One entry per name of `coverage_lab.schema.BEHAVIOUR_COLUMNS`; NaN where it can't be told.
    """
    size = len(states.account_ids)
    prompts = states.prompts.astype(np.float64)
    answered = states.token_sums[:, TOKENS.index("tokens_out")]
    values = {
        "burstiness": burstiness(states.timestamps, states.offsets),
        "hours_used": hours_used(states.timestamps, states.offsets),
        "prompts_per_session": ratio(prompts, states.sessions.counts(size).astype(np.float64)),
        "prompts_per_end_user": ratio(prompts, states.end_users.counts(size).astype(np.float64)),
        "output_share": ratio(answered, answered + states.token_sums[:, TOKENS.index("tokens_in")]),
    }
    return {name: values[name] for name in BEHAVIOUR_COLUMNS}
