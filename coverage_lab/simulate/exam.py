"""A benchmark run: subject after subject, every question once, in one constant shell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coverage_lab.simulate.harvest import harvest_grammar
from coverage_lab.simulate.purposes import tables

_SHELLS = (
    "The following is a question about {subject}. Answer with the letter or number.\n\n{body}\nAnswer:",
    "Question ({subject}): {body}\nGive the final answer after 'Answer:'.",
    "{body}\n\nThink step by step, then finish with the answer on its own line.",
)
_STEMS = (
    "Which of the following is {category}?",
    "All of the following are of one kind except one. Which is NOT {category}?",
    "A pupil has to name {category}. Which answer is right?",
    "Which option would a textbook list as {category}?",
    "Only one of these could be called {category}. Which?",
    "{category}, by the usual definition, is:",
)
#: Tries for a question that is new, per question asked for, before a subject counts as exhausted.
_PATIENCE = 50
_WORKED = ("mathematics", "reasoning", "reading")


def _choice(subject: str, rng: np.random.Generator) -> str:
    categories = tables("exam")[subject]
    names = list(categories)
    category = names[int(rng.random() * len(names))]
    stem = _STEMS[int(rng.random() * len(_STEMS))]
    others = [member for name in names if name != category for member in categories[name]]
    inside, outside = (3, 1) if "NOT" in stem else (1, 3)
    options = [*rng.permutation(categories[category])[:inside], *rng.permutation(others)[:outside]]
    listed = [f"{letter}. {option}" for letter, option in zip("ABCD", rng.permutation(options), strict=True)]
    stem = stem.format(category=category)
    return "\n".join([stem[:1].upper() + stem[1:], *listed])


def exam(count: int, rng: np.random.Generator, *, subjects: Sequence[str] | None = None) -> list[str]:
    """Compose `count` distinct benchmark questions, one subject after the other; of all subjects by default.

    Fewer where the subjects have no more.
    """
    shell = _SHELLS[int(rng.random() * len(_SHELLS))]
    grammar = harvest_grammar()
    forms = {
        "mathematics": "#mathq#",
        "reasoning": "#logic#",
        "reading": "#document#\n\n{Which figure comes first?|Who has to act next?|What is still open?}",
    }
    order = rng.permutation(list(subjects or (*tables("exam"), *_WORKED)))
    found: dict[str, None] = {}
    for share, subject in enumerate(order, start=1):
        wanted = count * share // len(order)
        for _ in range(_PATIENCE * wanted):
            if len(found) == wanted:
                break
            form = forms.get(subject)
            body = _choice(subject, rng) if form is None else grammar.expand(form, rng)
            found.setdefault(shell.format(subject=subject, body=body))
    return list(found)
