"""How long work reports how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as ``progress(stage, done, total)``; `total` is None where it is not known."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take note that `done` of `total` of a stage's units are done."""
        ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Report to nobody."""
