"""What every command prints with: the two consoles, progress, and the question before a deletion."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
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

from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress, ProgressLines

out = Console()


err = Console(stderr=True)


#: What stands for signs that a terminal's encoding lacks; for all others a question mark does.
_PLAIN: Final = str.maketrans(
    {
        **dict.fromkeys("─━═╌┄┈╴╶╸╺", "-"),
        **dict.fromkeys("│┃║┆┊╵╷╹╻", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┡┩╇┳┻╋╞╡╪", "+"),
        **dict.fromkeys("◆●■▲★•·", "*"),
        "…": "...",
        "×": "x",
        "−": "-",
        "–": "-",
        "—": "-",
        "→": "->",
        "≤": "<=",
        "≥": ">=",
        "’": "'",
        "“": '"',
        "”": '"',
    }
)


def write_plainly() -> None:
    """Have output go on where a terminal or a pipe can't encode a sign: with ASCII in its place."""

    def replacement(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        text = error.object[error.start : error.end].translate(_PLAIN)
        return "".join(sign if sign.isascii() else "?" for sign in text), error.end

    codecs.register_error("coverage_lab_plain", replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="coverage_lab_plain")


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress on stderr: bars, one a stage, or a line every half minute where that is no terminal."""
    if not err.is_terminal:
        yield ProgressLines(lambda line: err.print(f"coverage-lab: {line}", markup=False, soft_wrap=True))
        return
    with Bars(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def confirm(question: str, yes: bool) -> None:
    """Ask before something that can't be undone; `--yes` answers it beforehand."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes: expected where nobody can be asked, got none")
    typer.confirm(question, abort=True)
