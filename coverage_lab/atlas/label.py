"""Names for cells: the words that are typical of the prompts in them, and common enough to publish.

Class-based TF-IDF [1]_ with the prompts of a cell as one class: a word scores its share among the words of
the cell times ln(1 + A / f), where f is how often it occurs in all cells and A the mean number of words per
cell. A prompt counts a word once however often it repeats it.

.. [1] M. Grootendorst, "BERTopic: Neural topic modeling with a class-based TF-IDF procedure",
   arXiv:2203.05794, 2022.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A word is published only if this many prompts have it, besides the rule on accounts.
MIN_PROMPTS = 5
KEYWORDS = 4

#: Labels say what prompts are about, which their beginnings tell; the bound keeps memory flat.
_READ_CHARACTERS = 2_000

#: Han, kana and their marks: written without spaces, so a run of them may be a whole clause.
_CJK = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_CJK_BIGRAM = re.compile(f"(?=([{_CJK}]{{2}}))")
_ASCII_WORD = re.compile(r"(?<![a-z0-9_])[a-z]{3,20}(?![a-z0-9_]|'[a-z])")


#: Slurs and swear words, by their beginnings: moderation and red-team traffic is full of them.
WITHHELD = re.compile(r"fag|nigg|fuck|shit|cunt|bitch|whore|retard|kike|tranny")


def label_cells(
    texts: Sequence[str],
    accounts: NDArray[np.int64],
    fine: NDArray[np.int32],
    parents: NDArray[np.int32],
    sizes: tuple[int, ...],
    *,
    min_accounts: int,
) -> tuple[tuple[str, ...], ...]:
    """Label every cell of every level with up to four keywords.

    Words are runs of 3 to 20 letters of any alphabet, lower-case, without English stop words; of Chinese
    and Japanese, pairs of neighbouring characters. Only words found in at least five prompts and in prompts
    of at least `min_accounts` accounts are used. A cell without any takes its parent's label and its own
    number; at the coarsest level, ``cell <number>``.

    Parameters
    ----------
    texts, accounts, fine
        Prompt, account and fine cell of each of N rows.
    parents
        Cell of each fine cell at each level, ``(levels, K_fine)``.
    sizes
        Cells per level.
    min_accounts
        Least number of accounts that a published word must come from.
    """
    words, occurrence = _published_words(texts, accounts, min_accounts)
    levels: list[tuple[str, ...]] = []
    for level, size in enumerate(sizes):
        keywords = _keywords(occurrence, words, parents[level][fine], size)
        if level == 0:
            above = ["cell"] * size
        else:
            first_fine = np.unique(parents[level], return_index=True)[1]
            above = [f"{levels[-1][parents[level - 1][cell]]} ·" for cell in first_fine]
        levels.append(
            tuple(", ".join(chosen) or f"{above[cell]} {cell}" for cell, chosen in enumerate(keywords))
        )
    return tuple(levels)


def numbered_cells(sizes: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    """Label every cell by its number."""
    return tuple(tuple(f"cell {cell}" for cell in range(size)) for size in sizes)


def words_of(text: str) -> list[str]:
    """Return the words of a prompt that a label could show, repeats included."""
    lowered = text[:_READ_CHARACTERS].lower()
    stop = _stop_words()
    found = (_ASCII_WORD if lowered.isascii() else _word()).findall(lowered)
    words = [word for word in found if word not in stop and not WITHHELD.match(word)]
    return words if lowered.isascii() else words + _CJK_BIGRAM.findall(lowered)


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    """Runs of 3 to 20 letters with their combining marks, no Han and no kana.

    `re` counts no mark as part of a word, which would cut words of Hindi or Thai to pieces.
    """
    cjk = re.compile(f"[{_CJK}]")
    letters = [
        code
        for code in range(0x20000)
        if unicodedata.category(chr(code))[0] in "LM" and not cjk.match(chr(code))
    ]
    ranges, start = [], letters[0]
    for code, following in zip(letters, [*letters[1:], sys.maxunicode + 2], strict=True):
        if following != code + 1:
            ranges.append(f"{re.escape(chr(start))}-{re.escape(chr(code))}")
            start = following
    letter = "".join(ranges)
    return re.compile(rf"(?<![{letter}\d_])[{letter}]{{3,20}}(?![{letter}\d_]|['’][{letter}])")


@lru_cache(maxsize=1)
def _stop_words() -> frozenset[str]:
    # Here and below: these imports take two seconds, which reading an atlas need not wait.
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)


def _sparse() -> Any:
    """SciPy's sparse matrix."""
    from scipy.sparse import csr_matrix

    return csr_matrix


def _published_words(
    texts: Sequence[str], accounts: NDArray[np.int64], min_accounts: int
) -> tuple[NDArray[np.str_], Any]:
    """Return the words that may be shown, and the 0/1 matrix (sparse, N × words) of who has which."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(analyzer=words_of, binary=True, dtype=np.int32)
    try:
        occurrence = counter.fit_transform(texts)
    except ValueError:  # scikit-learn's answer to texts without a single word
        return np.empty(0, dtype=np.str_), _sparse()((len(texts), 0), dtype=np.int32)
    prompts = np.asarray(occurrence.sum(axis=0)).ravel()
    common = np.flatnonzero(prompts >= MIN_PROMPTS)
    words, occurrence = counter.get_feature_names_out()[common], occurrence[:, common]
    by_account = _rows_summed(occurrence, np.unique(accounts, return_inverse=True)[1])
    known_to = np.bincount(by_account.indices, minlength=len(words))
    published = np.flatnonzero(known_to >= min_accounts)
    return words[published].astype(np.str_), occurrence[:, published]


def _rows_summed(occurrence: Any, group: NDArray[np.int64], groups: int | None = None) -> Any:
    """Sum the rows of a sparse matrix that share a group: (N × words) → (groups × words)."""
    rows = len(group)
    shape = (int(group.max()) + 1 if groups is None else groups, rows)
    member = _sparse()((np.ones(rows, dtype=np.int32), (group, np.arange(rows))), shape=shape)
    return (member @ occurrence).tocsr()


def _keywords(
    occurrence: Any, words: NDArray[np.str_], cells: NDArray[np.int32], size: int
) -> list[list[str]]:
    """Return the best words of each cell, best first."""
    counts = _rows_summed(occurrence, cells.astype(np.int64), size)
    counts.sort_indices()
    total = np.asarray(counts.sum(axis=0)).ravel()
    rarity = np.log1p(total.sum() / size / np.maximum(total, 1))
    best = []
    for start, stop in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        columns = counts.indices[start:stop]
        score = counts.data[start:stop] * rarity[columns]
        # Columns are in alphabetical order, so a stable sort settles equal scores alphabetically.
        ranked = (str(words[columns[i]]) for i in np.argsort(-score, kind="stable"))
        best.append(_varied(ranked))
    return best


def _varied(ranked: Any) -> list[str]:
    """Take the first keywords, leaving out pairs of characters that overlap one already taken."""
    taken: list[str] = []
    for word in ranked:
        if len(taken) == KEYWORDS:
            break
        if len(word) == 2 and any(len(w) == 2 and (w[1] == word[0] or w[0] == word[1]) for w in taken):
            continue
        taken.append(word)
    return taken
