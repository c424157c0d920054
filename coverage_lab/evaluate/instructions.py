"""Constant instructions: what a product puts around its users' content, and what a harvest asks for its bank.

More than a hundred of each, in some twenty languages, written for this project. They are dealt to the folds,
so that no wording is on both sides of a split.
"""

from __future__ import annotations

from importlib import resources


def _read(name: str) -> tuple[str, ...]:
    """Read one instruction a line; a line end inside one is written as two characters."""
    text = resources.files("coverage_lab.evaluate").joinpath("data", f"{name}.txt").read_text("utf-8")
    return tuple(line.replace("\\n", "\n") for line in text.splitlines())


#: Around varied content: translation, classification, extraction, summaries, assistants of one firm.
PAYLOAD = _read("product_instructions")

#: Around a bank of questions, to harvest answers, reasoning or more questions.
TRACE = _read("harvest_instructions")
