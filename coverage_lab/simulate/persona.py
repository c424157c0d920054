"""How a speaker writes: contractions, politeness, lower case, lost full stops, typing errors."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

_CONTRACTIONS = (
    ("do not", "don't"),
    ("does not", "doesn't"),
    ("did not", "didn't"),
    ("is not", "isn't"),
    ("can not", "can't"),
    ("cannot", "can't"),
    ("I am", "I'm"),
    ("I have", "I've"),
    ("we are", "we're"),
    ("we have", "we've"),
    ("it is", "it's"),
    ("that is", "that's"),
    ("what is", "what's"),
    ("how is", "how's"),
    ("I would", "I'd"),
    ("will not", "won't"),
)
_CONTRACT = [(re.compile(rf"\b{long}\b(?! not)", re.IGNORECASE), short) for long, short in _CONTRACTIONS]
_NEIGHBOURS = {
    "a": "s", "b": "v", "c": "x", "d": "f", "e": "r", "f": "g", "g": "h", "h": "j", "i": "o", "k": "l",
    "l": "k", "m": "n", "n": "m", "o": "p", "p": "o", "r": "t", "s": "a", "t": "y", "u": "i", "y": "u",
}  # fmt: skip
_OPENERS = ("hi, ", "hey ", "hello - ", "ok so ", "quick question: ", "um, ", "right, ", "so ", "sorry, ")
_CLOSERS = (" thanks", " thx", " Thank you!", " pls", " please", " cheers", " ty", " Many thanks.", " asap")
_TEXTISMS = (("because", "bc"), ("you", "u"), ("please", "pls"), ("without", "w/o"), ("with", "w/"))


@dataclass(frozen=True)
class Persona:
    """Chances, per prompt, of each habit; `typos` is per word."""

    contract: float
    opener: float
    closer: float
    lower: float
    no_stop: float
    textism: float
    typos: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, tidy: bool = False) -> Persona:
        """Draw one writer; `tidy` for text that a program or an editor composes."""
        if tidy:
            return cls(float(rng.random()), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        careless = float(rng.beta(1.2, 2.5))
        return cls(
            contract=float(rng.random()),
            opener=float(rng.beta(1, 7)),
            closer=float(rng.beta(1, 7)),
            lower=careless * float(rng.random() < 0.7),
            no_stop=float(rng.random()) * (0.3 + careless / 2),
            textism=careless * 0.3,
            typos=0.04 * careless * careless,
        )

    def write(self, text: str, rng: np.random.Generator) -> str:
        """Give `text` this writer's habits; pasted blocks and code after the first line stay as they are."""
        head, mark, rest = text.partition("\n")
        if rng.random() < self.contract:
            for pattern, short in _CONTRACT:
                head = pattern.sub(short, head)
        if rng.random() < self.textism:
            long, short = _TEXTISMS[int(rng.random() * len(_TEXTISMS))]
            head = re.sub(rf"\b{long}\b", short, head)
        if rng.random() < self.opener and len(head) > 12:
            opener = _OPENERS[int(rng.random() * len(_OPENERS))]
            keep = head[:2].isupper() or head.startswith("I ") or head.startswith("I'")
            head = opener[0].upper() + opener[1:] + (head if keep else head[0].lower() + head[1:])
        if self.typos:
            head = " ".join(self._typed(word, rng) for word in head.split(" "))
        if rng.random() < self.lower:
            head = head.lower()
        if not mark and rng.random() < self.no_stop:
            head = head.rstrip(".?")
        if not mark and rng.random() < self.closer:
            head += _CLOSERS[int(rng.random() * len(_CLOSERS))]
        return head + mark + rest

    def _typed(self, word: str, rng: np.random.Generator) -> str:
        if len(word) < 4 or not word.isalpha() or rng.random() >= self.typos:
            return word
        at = 1 + int(rng.random() * (len(word) - 2))
        slip = rng.random()
        if slip < 0.4:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        if slip < 0.7:
            return word[:at] + word[at + 1 :]
        return word[:at] + _NEIGHBOURS.get(word[at], word[at]) + word[at + 1 :]
