"""All prompts that a benchmark's accounts are drawn from, each once: accounts are rows of this pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coverage_lab.accounts.distinct import digests_of
from coverage_lab.evaluate.corpora import Corpus, thinned
from coverage_lab.evaluate.instructions import PAYLOAD, TRACE

#: Content that goes into a constant instruction is cut to this many characters.
CONTENT = 400

#: Prompts of a corpus that one instruction is put around.
WRAPPED_ROWS = 1000
#: Whose instructions, around corpora of which kinds, and how many each corpus gets.
_AROUND = (("product", PAYLOAD, "D", 2), ("harvest", TRACE, "AB", 1))

#: A person speaks for themself from this many prompts on; kinds of corpora that such are taken from.
PERSON_PROMPTS = 60
_SPEAKING = "DE"
_PEOPLE = 60
_PERSON_ROWS = 1000


@dataclass(frozen=True, eq=False)
class PromptPool:
    """Prompts and where each corpus lies in them.

    Attributes
    ----------
    texts : tuple of str (P,)
        Every corpus in file order, then wrapped and personal ones.
    corpora : mapping of corpus → rows
        Its prompts as they are.
    payload, trace : tuple of (corpus, rows)
        Wrapped in a product's instruction (kind D), or in a harvest's (kinds A and B); a corpus may be there
        more than once, each time in another instruction. None in folds that no instruction is left for.
    people : tuple of (corpus, rows)
        Whole persons, in order; the corpora take turns.
    fold, cluster, language : mapping of corpus → value
    """

    texts: tuple[str, ...]
    corpora: Mapping[str, NDArray[np.int64]]
    payload: tuple[tuple[str, NDArray[np.int64]], ...]
    trace: tuple[tuple[str, NDArray[np.int64]], ...]
    people: tuple[tuple[str, NDArray[np.int64]], ...]
    fold: Mapping[str, int]
    cluster: Mapping[str, str]
    language: Mapping[str, str]

    @cached_property
    def digests(self) -> NDArray[np.uint64]:
        """64-bit BLAKE2b of each text, as account states hold them; uint64 (P,)."""
        return digests_of(self.texts)

    def names(self, kind: str, fold: int | None) -> list[str]:
        """Names of the corpora of one kind, of one fold or of all."""
        return [n for n in self.corpora if n[0] == kind and fold in (None, self.fold[n])]


def build_prompt_pool(
    corpora: Sequence[Corpus], *, rows: int, fold: Mapping[str, int], cluster: Mapping[str, str]
) -> PromptPool:
    """Collect the prompts.

    Parameters
    ----------
    rows : int
        At most so many prompts of each corpus, in three stretches.
    fold, cluster
        From `coverage_lab.evaluate.folds`; constant instructions are dealt to the folds.

    Returns
    -------
    PromptPool
    """
    texts: list[str] = []

    def add(new: Sequence[str]) -> NDArray[np.int64]:
        texts.extend(new)
        return np.arange(len(texts) - len(new), len(texts))

    folds = max(fold.values()) + 1
    as_is = {c.name: add(thinned(c, rows=rows).prompts) for c in corpora}
    wrapped: dict[str, list[tuple[str, NDArray[np.int64]]]] = {}
    for whose, instructions, kinds, each in _AROUND:
        wrapped[whose] = []
        for part in range(folds):
            # More folds than instructions: the last folds go without, rather than share one.
            own = instructions[part::folds]
            chosen = [c for c in corpora if c.kind in kinds and fold[c.name] == part]
            for position, corpus in enumerate(chosen * each if own else ()):
                around = own[position % len(own)]
                few = thinned(corpus, rows=min(rows, WRAPPED_ROWS)).prompts
                texts_around = [around.replace("{}", text[:CONTENT]) for text in few]
                wrapped[whose].append((corpus.name, add(texts_around)))
    spoken = [(c.name, _people(c)) for c in corpora]
    # In turn, so that the few that are drawn in a fold don't all come from one corpus.
    people = [
        (name, add(persons[turn]))
        for turn in range(_PEOPLE)
        for name, persons in spoken
        if turn < len(persons)
    ]
    return PromptPool(
        texts=tuple(texts),
        corpora=as_is,
        payload=tuple(wrapped["product"]),
        trace=tuple(wrapped["harvest"]),
        people=tuple(people),
        fold=fold,
        cluster=cluster,
        language={c.name: c.language for c in corpora},
    )


def _people(corpus: Corpus) -> list[list[str]]:
    """Persons of a corpus that names its users: those who said most, whole up to a bound."""
    if corpus.kind not in _SPEAKING:
        return []
    spoken: dict[str, list[str]] = {}
    for text, who in zip(corpus.prompts, corpus.people, strict=True):
        if who is not None:
            spoken.setdefault(who, []).append(text)
    most = sorted(spoken.items(), key=lambda item: (-len(item[1]), item[0]))[:_PEOPLE]
    return [texts[:_PERSON_ROWS] for _, texts in most if len(texts) >= PERSON_PROMPTS]
