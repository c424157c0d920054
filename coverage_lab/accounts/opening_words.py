"""The words behind hashed openings, read from the prompts of a run while they are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coverage_lab.accounts.prompt_features import opening_phrases, phrase_columns
from coverage_lab.accounts.templates import part_prompts

#: A phrase that fewer of an account's prompts open with is never told: it may be a name.
LEAST_PROMPTS = 5
#: Writing without spaces makes a clause one word; so many characters of a phrase are told.
_SHOWN = 60


class OpeningWords:
    """Names the phrases that an account's hashed openings stand for.

    Parameters
    ----------
    prompts : Table
        Schema `coverage_lab.schema.TRAFFIC`; held while this is.
    """

    def __init__(self, prompts: pa.Table) -> None:
        self._prompts = prompts

    def named(
        self, account_id: str, columns: Sequence[int], *, content: bool
    ) -> dict[int, tuple[str, float]]:
        """Find the commonest phrase of each column among an account's prompts.

        Parameters
        ----------
        columns : sequence of int
            Columns of `coverage_lab.accounts.prompt_features.openings`.
        content : bool
            Look at what varies in the prompts instead of at whole prompts.

        Returns
        -------
        dict
            By column the phrase, of letters and digits only and shortened, and the share of the account's
            prompts that open with it, 0..1; without the columns that no phrase of at least `LEAST_PROMPTS`
            prompts adds to.
        """
        mine = self._prompts.filter(
            pc.equal(self._prompts["account_id"], pa.scalar(account_id, pa.large_string()))
        )
        texts = mine["prompt"].to_pylist()
        if content:
            texts = part_prompts(texts, np.array([0, len(texts)])).content
        heard: Counter[str] = Counter()
        for text in texts:
            heard.update(set(opening_phrases(text)))
        common = sorted(phrase for phrase, count in heard.items() if count >= LEAST_PROMPTS)
        wanted, found = set(columns), {}
        # Of phrases as common the longest, then the first by letter: the same in whatever order prompts come.
        for phrase, column in sorted(
            zip(common, phrase_columns(common), strict=True),
            key=lambda pair: (-heard[pair[0]], -len(pair[0]), pair[0]),
        ):
            if column in wanted and column not in found:
                shown = phrase if len(phrase) <= _SHOWN else f"{phrase[: _SHOWN - 1]}…"
                found[column] = (shown, heard[phrase] / len(texts))
        return found
