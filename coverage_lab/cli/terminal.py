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

from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress, ProgressLines
from coverage_lab.progress_bars import bars

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


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress on stderr: bars, one a stage, or a line every half minute where that is no terminal."""
    if not err.is_terminal:
        yield ProgressLines(lambda line: err.print(f"coverage-lab: {line}", markup=False, soft_wrap=True))
        return
    with bars(err) as report:
        yield report


def confirm(question: str, yes: bool) -> None:
    """Ask before something that can't be undone; `--yes` answers it beforehand."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes: expected where nobody can be asked, got none")
    typer.confirm(question, abort=True)
