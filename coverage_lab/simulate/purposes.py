"""The written banks: which purposes there are, each a grammar over its own and the common phrases."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from coverage_lab.simulate.grammar import Grammar

_RESERVED = {"narrow", "constant"}


@dataclass(frozen=True)
class Purpose:
    """What somebody uses the model for.

    `narrow` says how many entries of a bank one speaker has for their own; `constant` lists instructions
    that a customer of this purpose repeats word for word before each payload (empty for most).
    """

    name: str
    banks: Mapping[str, Sequence[str]]
    narrow: Mapping[str, int]
    constant: tuple[str, ...]


@cache
def tables(file: str) -> Mapping[str, Mapping[str, Any]]:
    """Read one bank file: its tables by name."""
    text = (files("coverage_lab.simulate") / "banks" / f"{file}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def common() -> Mapping[str, Sequence[str]]:
    """Banks that every purpose may use."""
    merged: dict[str, Sequence[str]] = {}
    for file in ("common", "pastes"):
        merged.update(tables(file)["common"])
    return merged


@cache
def purposes(*names: str) -> tuple[Purpose, ...]:
    """All purposes of these bank files, in the order in which they are written."""
    found = []
    for file in names:
        for name, table in tables(file).items():
            own = {key: value for key, value in table.items() if key not in _RESERVED}
            narrow, constant = table.get("narrow", {}), table.get("constant", ())
            assert isinstance(narrow, dict)
            assert isinstance(constant, list | tuple)
            banks: dict[str, Sequence[str]] = {**common(), **own}
            found.append(Purpose(name, banks, narrow, tuple(constant)))
    return tuple(found)


@dataclass
class Voice:
    """One speaker's use of one purpose: their own few subjects, and a constant instruction or none."""

    purpose: Purpose
    grammar: Grammar
    instruction: str | None

    @classmethod
    def drawn(cls, purpose: Purpose, rng: np.random.Generator) -> Voice:
        """Narrow a purpose to one speaker."""
        grammar = Grammar(purpose.banks).narrowed(rng, purpose.narrow)
        instruction = None
        if purpose.constant:
            instruction = grammar.expand(purpose.constant[int(rng.random() * len(purpose.constant))], rng)
        return cls(purpose, grammar, instruction)

    def ask(self, rng: np.random.Generator) -> str:
        """Compose a fresh request."""
        text = self.grammar.expand("#prompt#", rng)
        return text if self.instruction is None else f"{self.instruction}\n\n{text}"

    def follow_up(self, rng: np.random.Generator) -> str:
        """Compose a short turn that leans on the one before; of a constant template there is none."""
        if self.instruction is not None or "followup" not in self.purpose.banks:
            return self.ask(rng)
        return self.grammar.expand("#followup#", rng)
