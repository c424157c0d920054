"""A benchmark's accounts with their prompts parted into instruction and content, as the job parts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts.templates import part_prompts
from coverage_lab.encoders import distinct_texts
from coverage_lab.evaluate.benchmark_accounts import BenchmarkAccounts
from coverage_lab.evaluate.prompt_pool import PromptPool
from coverage_lab.progress import Progress, silent

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PartedAccounts:
    """Accounts as rows of one list of distinct texts: whole prompts, contents and instructions.

    Attributes
    ----------
    texts : tuple of str (U,)
    offsets : int64 (A + 1,)
        Account i is places ``offsets[i]:offsets[i + 1]`` of the next three.
    whole, content, instruction : int64 (N,)
        Row of `texts` of each prompt, of its content, and of the instruction around it (-1: none).
    corpora : mapping of corpus → int64
        Rows of the contents of each corpus as one account, which atlases are fitted on.
    """

    texts: tuple[str, ...]
    offsets: Rows
    whole: Rows
    content: Rows
    instruction: Rows
    corpora: dict[str, Rows]

    def places(self, accounts: Rows) -> Rows:
        """Places of some accounts' prompts, one account after the other."""
        return np.concatenate(
            [np.empty(0, np.int64), *(np.arange(self.offsets[a], self.offsets[a + 1]) for a in accounts)]
        )


def part_accounts(
    pool: PromptPool, drawn: BenchmarkAccounts, *, progress: Progress = silent
) -> PartedAccounts:
    """Part every account at each of its sizes: what fifty prompts share, a thousand need not."""
    position: dict[str, int] = {}
    texts: list[str] = []

    def rows_of(found: list[str]) -> Rows:
        distinct, which = distinct_texts(found)
        rows = np.empty(len(distinct), np.int64)
        for i, text in enumerate(distinct):
            rows[i] = position.setdefault(text, len(texts))
            if rows[i] == len(texts):
                texts.append(text)
        return rows[which]

    size = len(drawn.size)
    offsets = np.concatenate([[0], np.cumsum(drawn.size)]).astype(np.int64)
    whole, content, instruction = (np.full(int(offsets[-1]), -1, np.int64) for _ in range(3))
    for account in range(size):
        here = slice(int(offsets[account]), int(offsets[account + 1]))
        sent = [pool.texts[row] for row in drawn.rows(account)]
        parted = part_prompts(sent, np.array([0, len(sent)]))
        whole[here], content[here] = rows_of(sent), rows_of(parted.content)
        wrapped = np.array([bool(said) for said in parted.instruction])
        if wrapped.any():
            instruction[np.arange(here.start, here.stop)[wrapped]] = rows_of(
                [said for said in parted.instruction if said]
            )
        if account % 500 == 0:
            progress("part", account, size)
    progress("part", size, size)
    corpora = {}
    for name, rows in pool.corpora.items():
        sent = [pool.texts[row] for row in rows]
        corpora[name] = rows_of(part_prompts(sent, np.array([0, len(sent)])).content)
    return PartedAccounts(tuple(texts), offsets, whole, content, instruction, corpora)
