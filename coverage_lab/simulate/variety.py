"""What an account has said already: nobody words everything alike, or says the same again by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

_TRIES = 14
_OPENING_WORDS = 6
_OPENING_SHARE = 0.03


def opening(prompt: str) -> str:
    """Return the first six words, in lower case."""
    return " ".join(prompt.lower().split(maxsplit=_OPENING_WORDS)[:_OPENING_WORDS])


class Said:
    """Memory of an account that will send `count` prompts."""

    def __init__(self, count: int) -> None:
        self._texts: set[str] = set()
        self._openings: Counter[str] = Counter()
        self._most = max(1, int(np.ceil(_OPENING_SHARE * count)) - 1)

    def fresh(self, compose: Callable[[], str]) -> str:
        """Compose until the text is new and its opening not yet worn; the last try stands."""
        text = ""
        for _ in range(_TRIES):
            text = compose()
            if text.lower() not in self._texts and self._openings[opening(text)] < max(1, self._most - 1):
                break
        self.note(text)
        return text

    def may_repeat(self, text: str) -> bool:
        """Whether a retry of `text` leaves its opening rare."""
        return self._openings[opening(text)] < self._most

    def note(self, text: str) -> None:
        """Remember a prompt that was sent."""
        self._texts.add(text.lower())
        self._openings[opening(text)] += 1
