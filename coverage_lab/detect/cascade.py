"""Two stages of judgement: every account by a cheap encoder, those it can't clear by a better one.

Accounts whose first p-value is at most ``escalate_p`` are judged again, wholly, on the second encoder's own
atlas and scorecard; the others keep what the first said. So an account reports

    p = p₂ if p₁ ≤ e, else p₁        (e = escalate_p)

and that is a p-value again. Where an innocent account has P(p₁ ≤ α) ≤ α and P(p₂ ≤ α) ≤ α, however the two
depend on one another:

- α ≤ e: {p ≤ α} is {p₁ ≤ e and p₂ ≤ α}, because an account that stays reports more than e; that lies in
  {p₂ ≤ α}, so P(p ≤ α) ≤ P(p₂ ≤ α) ≤ α.
- α > e: {p ≤ α} lies in {p₁ ≤ e} ∪ {e < p₁ ≤ α} = {p₁ ≤ α}, so P(p ≤ α) ≤ P(p₁ ≤ α) ≤ α.

Both stages must agree for a p-value of at most e, so such p-values are conservative. q-values adjust p over
all accounts of a run and keep the limits that `coverage_lab.detect.fdr.adjusted_p` states: the theorem
behind them is for p-values that share one calibration set, and here there are two. What a cascade gives up is
accounts that only the second stage would have seen.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def accounts_to_escalate(accounts: pa.Table, *, escalate_p: float, min_prompts: int) -> pa.Array:
    """Name the accounts that the first stage can't clear.

    Parameters
    ----------
    accounts : Table
        Schema `coverage_lab.schema.ACCOUNTS`, as the first stage judged them.
    escalate_p : float
        Accounts with p ≤ `escalate_p`, or without p, are escalated.
    min_prompts : int
        Not so accounts with fewer prompts: no stage would say more of them than that they are too small.

    Returns
    -------
    large_string array
        Account ids, in the order of `accounts`; empty where all are cleared.
    """
    raised = pc.fill_null(pc.less_equal(accounts["p_value"], escalate_p), True)
    enough = pc.greater_equal(accounts["prompts"], min_prompts)
    return accounts["account_id"].filter(pc.and_(raised, enough)).combine_chunks()


def replace_accounts(first: pa.Table, second: pa.Table, account_ids: pa.Array) -> pa.Table:
    """Put the second stage's rows of some accounts in place of the first's.

    Parameters
    ----------
    first, second : Table
        The same table of both stages, with a column `account_id`; each account's rows together.
    account_ids : large_string array
        Escalated accounts. Every row of theirs comes from `second`, every other row from `first`, also
        where an account has rows in one of the two only.

    Returns
    -------
    Table
        Sorted by account, an account's rows in the order that its stage gave them.
    """
    stays = pc.invert(pc.is_in(first["account_id"], value_set=account_ids))
    rows = pa.concat_tables([first.filter(stays), second]).combine_chunks()
    # Arrow's sort is stable.
    return rows.take(pc.sort_indices(rows, sort_keys=[("account_id", "ascending")])).combine_chunks()
