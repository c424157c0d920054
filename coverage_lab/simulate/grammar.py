"""A small recursive text grammar: templates over banks of phrases, expanded with a passed-in generator.

Template syntax
---------------
``#symbol#``
    One entry of the bank `symbol`, itself expanded.
``#name=symbol#``
    The same, remembered: `#name#` later in the same expansion gives the same words again.
``#symbol.cap#``
    With its first letter in upper case.
``#3-40#``, ``#10-90/5#``
    A whole number of that closed range, here and in steps of 5.
``{one|two|}``
    One of the alternatives, which may be empty and may nest.
``[text]``, ``[30%text]``
    Optional text, kept with probability 0.5, or as given.
``\\#``, ``\\{``, ``\\[``, ``\\|``, ``\\}``, ``\\]``
    The sign itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from coverage_lab.errors import ConfigError

_NUMBER = re.compile(r"^(\d+)-(\d+)(?:/(\d+))?$")
_SPECIAL = re.compile(r"[\\#\[{]")
_CLOSE = {"[": "]", "{": "}"}
_CHANCE = re.compile(r"^(\d{1,2})%")
_MAX_DEPTH = 40

_BEFORE_VOWEL = re.compile(
    r"\b([Aa]) (?=[\"'(]?(?:[aeiAEI]|[oO](?!ne\b|nce\b)|u(?!ni[^nm]|s[eu]|til)|hour|honest|heir|SQL|MRI|8))"
)
_TRAILING = re.compile(r" +(?=\n)")
_SUFFIX = {"1": "st", "2": "nd", "3": "rd"}
_SPACES = re.compile(r"(?<=\S) {2,}")
_SPACE_BEFORE = re.compile(r" +([,.?!;])(?=\s|$)")
_ORDINAL = re.compile(r"\b(\d*?)((?<!1)[123])th\b")
_SENTENCE = re.compile(r"(^|[.?] )([a-z])(?=[a-z' ])")


@dataclass(frozen=True)
class _Text:
    text: str


@dataclass(frozen=True)
class _Number:
    low: int
    high: int
    step: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    bind: str | None
    capital: bool


@dataclass(frozen=True)
class _Choice:
    options: tuple[_Sequence, ...]


@dataclass(frozen=True)
class _Optional:
    chance: float
    body: _Sequence


_Node = _Text | _Number | _Symbol | _Choice | _Optional
_Sequence = tuple[_Node, ...]


def _closing(template: str, start: int) -> int:
    """Position of the bracket that closes the one at `start`."""
    opening, depth, i = template[start], 0, start
    while i < len(template):
        sign = template[i]
        if sign == "\\":
            i += 1
        elif sign == opening:
            depth += 1
        elif sign == _CLOSE[opening]:
            depth -= 1
            if depth == 0:
                return i
        i += 1
    raise ConfigError(f"template: {opening!r} at {start} is never closed: {template[:60]!r}")


def _split(body: str) -> list[str]:
    """Split at the ``|`` that belong to no inner brackets."""
    parts, start, i = [], 0, 0
    while i < len(body):
        if body[i] == "\\":
            i += 1
        elif body[i] in _CLOSE:
            i = _closing(body, i)
        elif body[i] == "|":
            parts.append(body[start:i])
            start = i + 1
        i += 1
    return [*parts, body[start:]]


def _symbol(inner: str) -> _Node:
    number = _NUMBER.match(inner)
    if number:
        return _Number(int(number[1]), int(number[2]), int(number[3] or 1))
    bind, _, name = inner.rpartition("=")
    capital = name.endswith(".cap")
    return _Symbol(name.removesuffix(".cap"), bind or None, capital)


@cache
def parse(template: str) -> _Sequence:
    """Template → nodes; raises `ConfigError` for a bracket or ``#`` that is never closed."""
    nodes: list[_Node] = []
    at = 0
    while at < len(template):
        special = _SPECIAL.search(template, at)
        if special is None:
            nodes.append(_Text(template[at:]))
            break
        if special.start() > at:
            nodes.append(_Text(template[at : special.start()]))
        at, sign = special.start(), special[0]
        if sign == "\\":
            nodes.append(_Text(template[at + 1 : at + 2]))
            at += 2
            continue
        end = template.find("#", at + 1) if sign == "#" else _closing(template, at)
        if end < 0:
            raise ConfigError(f"template: '#' at {at} is never closed: {template[:60]!r}")
        inner = template[at + 1 : end]
        if sign == "#":
            nodes.append(_symbol(inner))
        elif sign == "{":
            nodes.append(_Choice(tuple(parse(part) for part in _split(inner))))
        else:
            chance = _CHANCE.match(inner)
            body = inner[chance.end() :] if chance else inner
            nodes.append(_Optional(int(chance[1]) / 100 if chance else 0.5, parse(body)))
        at = end + 1
    return tuple(nodes)


def tidy(text: str) -> str:
    """Mend what composition leaves behind: a/an, doubled blanks, blanks before stops, sentence capitals."""
    text = _SPACE_BEFORE.sub(r"\1", _SPACES.sub(" ", text.strip()))
    text = _TRAILING.sub("", text)
    text = _ORDINAL.sub(lambda match: match[1] + match[2] + _SUFFIX[match[2]], text)
    text = _BEFORE_VOWEL.sub(r"\1n ", text)
    return _SENTENCE.sub(lambda match: match[1] + match[2].upper(), text)


@dataclass(frozen=True)
class Grammar:
    """Banks of phrases by symbol name.

    Parameters
    ----------
    banks
        Symbol → its alternatives, each a template. Every symbol that a template names must be here.
    """

    banks: Mapping[str, Sequence[str]]
    _parsed: dict[str, tuple[_Sequence, ...]] = field(default_factory=dict, repr=False, compare=False)

    def _options(self, name: str) -> tuple[_Sequence, ...]:
        if name not in self._parsed:
            if not self.banks.get(name):
                raise ConfigError(f"template: symbol {name!r} has no bank, or an empty one")
            self._parsed[name] = tuple(parse(entry) for entry in self.banks[name])
        return self._parsed[name]

    def _expand(self, nodes: _Sequence, rng: np.random.Generator, bound: dict[str, str], depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise ConfigError(f"template: more than {_MAX_DEPTH} levels deep; does a symbol name itself?")
        out = []
        for node in nodes:
            if isinstance(node, _Text):
                out.append(node.text)
            elif isinstance(node, _Number):
                steps = (node.high - node.low) // node.step + 1
                out.append(str(node.low + node.step * int(rng.random() * steps)))
            elif isinstance(node, _Choice):
                chosen = node.options[int(rng.random() * len(node.options))]
                out.append(self._expand(chosen, rng, bound, depth + 1))
            elif isinstance(node, _Optional):
                if rng.random() < node.chance:
                    out.append(self._expand(node.body, rng, bound, depth + 1))
            else:
                out.append(self._draw(node, rng, bound, depth))
        return "".join(out)

    def _draw(self, node: _Symbol, rng: np.random.Generator, bound: dict[str, str], depth: int) -> str:
        if node.bind is None and node.name in bound:
            words = bound[node.name]
        else:
            options = self._options(node.name)
            words = self._expand(options[int(rng.random() * len(options))], rng, bound, depth + 1)
            if node.bind is not None:
                bound[node.bind] = words
        return words[:1].upper() + words[1:] if node.capital else words

    def expand(
        self, template: str, rng: np.random.Generator, *, bound: Mapping[str, str] | None = None
    ) -> str:
        """Expand one template and tidy it; `bound` gives words for names, ahead of the banks."""
        return tidy(self._expand(parse(template), rng, dict(bound or {}), 0))

    def narrowed(self, rng: np.random.Generator, keep: Mapping[str, int]) -> Grammar:
        """Draw this speaker's own few entries of some banks: their shop, their dishes, their schema.

        `keep` maps a symbol to how many entries stay; each is expanded once, so that its wording is fixed.
        """
        banks = dict(self.banks)
        grammar = self
        for name, count in keep.items():
            entries = self.banks.get(name)
            if not entries:
                raise ConfigError(f"narrow: symbol {name!r} has no bank, or an empty one")
            picks = rng.permutation(len(entries))[:count]
            own = [grammar._expand(parse(entries[i]), rng, {}, 0) for i in picks]
            banks[name] = [re.sub(r"([\\#\[\]{}|])", r"\\\1", text) for text in own]
            grammar = Grammar(dict(banks))
        return grammar
