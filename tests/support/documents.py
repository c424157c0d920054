"""The documents as tests read them: their blocks of commands, Python, config and output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"

#: Pages that people write; those below `docs/reference/generated` are made from the code.
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(path for path in DOCS.rglob("*.md") if not {"generated", "_build"} & set(path.parts)),
)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind (`sh`, `python`, `toml`, `text`, …) and text of each fenced block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)


def commands(page: Path) -> Iterator[str]:
    """The commands of a page's shell blocks, without comments, each in one line."""
    for kind, text in blocks(page):
        if kind == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+# .*", "", line).strip()
                if command and not command.startswith("#"):
                    yield command


def assert_shown(shown: str, printed: str) -> None:
    """Each line of `shown` stands in `printed`, in order; `…` is any text, white space counts once."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for line in shown.splitlines():
        wanted = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        while lines and not re.fullmatch(wanted, lines[0]):
            lines.pop(0)
        assert lines, f"not printed, or not in this place: {line!r}; printed was:\n{printed}"
        lines.pop(0)
