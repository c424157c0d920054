"""Bars that show how far work is, on a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from coverage_lab.progress import Progress, silent


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")


@contextmanager
def bars(console: Console) -> Iterator[Progress]:
    """Show bars, one a stage; they are gone when the work is done."""
    with Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as shown:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(escape(stage), total=total)
            shown.update(tasks[stage], completed=done, total=total)

        yield report


@contextmanager
def notebook_bars() -> Iterator[Progress]:
    """Show bars in a notebook, and nothing elsewhere: a program's output is its own."""
    console = Console()
    if not console.is_jupyter:
        yield silent
        return
    with bars(console) as report:
        yield report
