"""Corpora written by a small grammar: prompts of one length, so that nothing is told by length alone.

A harvest asks for everything under the sun in an imperative; a customer speaks of one trade in the first
person. Every prompt has ten words of five letters.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coverage_lab.evaluate.corpora import Corpus

ORDERS = ("write", "solve", "prove", "state", "quote", "infer", "trace", "frame", "draft", "debug")
SPEAKING = ("never", "could", "still", "might", "would", "since", "again", "maybe", "thank", "hello")
TRADES = 24


def words(seed: str, count: int) -> list[str]:
    """Made-up words of five letters, the same for the same seed."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little"))
    pairs = ["".join(pair) for pair in itertools.product("bdfgklmnprstvz", "aeiou")]
    return ["".join(rng.choice(pairs, 2)) + "s" for _ in range(count)]


TRADE = [words(f"trade {i}", 12) for i in range(TRADES)]


def corpus(kind: str, name: str, prompts: int, *, language: str = "en", users: int = 0) -> Corpus:
    """Prompts of one corpus; `users` speakers take turns where there are any."""
    rng = np.random.default_rng(
        int.from_bytes(hashlib.sha256(f"{kind}{name}".encode()).digest()[:8], "little")
    )
    own = words(f"{kind}{name}", 40)
    home = int(rng.integers(TRADES))
    texts = []
    for number in range(prompts):
        trade = TRADE[home if kind in "CD" else int(rng.integers(TRADES))]
        heads = rng.choice(ORDERS if kind in "AB" else SPEAKING, 2)
        # The number keeps prompts apart, in five letters.
        tag = "q" + "".join(chr(97 + (number // 26**power) % 26) for power in range(3)) + "q"
        texts.append(" ".join([*heads, *rng.choice(trade, 4), *rng.choice(own, 3), tag]))
    people = tuple(f"user-{i % users}" if users else None for i in range(prompts))
    return Corpus(f"{kind}_{name}", kind, tuple(texts), people, language)


def collection(*, scale: int = 1) -> list[Corpus]:
    """Enough corpora of every kind for three folds; two languages on both sides."""
    counts = {"A": 6, "B": 4, "C": 3, "D": 6, "E": 4}
    prompts = {"A": 300, "B": 160, "C": 120, "D": 200, "E": 220}
    made = [
        corpus(kind, f"plain{i}", prompts[kind] * scale, language=("en", "de")[i % 2])
        for kind, count in counts.items()
        for i in range(count)
    ]
    made += [corpus("D", f"forum{i}", 280 * scale, users=4) for i in range(3)]
    return sorted(made, key=lambda one: one.name)


def write_corpora(folder: Path, corpora: Sequence[Corpus]) -> Path:
    """Write a folder as `load_corpora` reads it, with a catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in corpora:
        table = pa.table({"prompt": list(one.prompts), "user": pa.array(one.people, pa.string())})
        pq.write_table(table, folder / f"{one.name}.parquet")
    lines = ["file,language", *(f"{one.name}.parquet,{one.language}" for one in corpora)]
    (folder / "CATALOG.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


class WordsEncoder:
    """Unit vectors that add up a text's words, each drawn from its hash: alike where words are shared."""

    name = "words"
    id = hashlib.sha256(b"tests: words encoder").hexdigest()
    dim = 24
    device = "cpu"
    precision = "float32"

    def __init__(self) -> None:
        self._known: dict[str, np.ndarray] = {}
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += texts
        vectors = np.array([np.sum([self._of(w) for w in text.split()], axis=0) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def _of(self, word: str) -> np.ndarray:
        if word not in self._known:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
            self._known[word] = np.random.default_rng(seed).normal(size=self.dim)
        return self._known[word]
