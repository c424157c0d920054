"""A training set that somebody collects: broad by construction, even over topics, without repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from coverage_lab.simulate.grammar import Grammar
from coverage_lab.simulate.purposes import common, tables

#: Tries to find a prompt that is new, per prompt asked for, before the bank counts as exhausted.
_PATIENCE = 50


def task_types() -> Mapping[str, Sequence[str]]:
    """Task type → its forms."""
    return tables("harvest")["tasks"]


def topics() -> tuple[str, ...]:
    """All topics, of all domains."""
    return tuple(topic for domain in tables("topics")["topics"].values() for topic in domain)


def harvest_grammar() -> Grammar:
    """Return the phrases of instructions; a form needs `t`, its topic, bound."""
    return Grammar({**common(), **tables("harvest_phrases")["phrases"], **tables("harvest")["extra"]})


def _dealt(cards: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Deal without end, each card once before any comes again."""
    while True:
        for i in rng.permutation(len(cards)):
            yield cards[i]


def harvest_bank(count: int, rng: np.random.Generator) -> list[str]:
    """Compose `count` distinct instructions, task types and topics dealt evenly.

    No pair of task type and topic comes twice while fewer than all pairs are used, and no two
    instructions are equal. ``count=0`` gives an empty list.
    """
    grammar, types = harvest_grammar(), task_types()
    kinds, subjects = _dealt(tuple(types), rng), _dealt(topics(), rng)
    pairs: set[tuple[str, str]] = set()
    found: dict[str, None] = {}
    for _ in range(count * _PATIENCE):
        if len(found) == count:
            break
        kind, topic = next(kinds), next(subjects)
        if (kind, topic) in pairs and len(pairs) < len(types) * len(topics()):
            continue
        pairs.add((kind, topic))
        forms = types[kind]
        found.setdefault(grammar.expand(forms[int(rng.random() * len(forms))], rng, bound={"t": topic}))
    return list(found)
