#!/usr/bin/env python3
"""Write the tables of `coverage_lab/measures/README.md`; `--check` only compares.

The columns that a run writes come with the words of `coverage_lab.schema`, the functions with their
docstrings'.

Exit code 0: up to date (or written). 1: `--check` found it out of date.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

from coverage_lab import measures, schema  # noqa: E402

README = ROOT / "coverage_lab" / "measures" / "README.md"


def paragraph(document: str, label: str) -> str:
    """Return the text after ``label:`` up to the next empty line, on one line; empty if there is none."""
    found = re.search(rf"^{label}: (.+?)(?:\n\n|\Z)", document, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def source(document: str) -> str:
    """Return the first reference, on one line."""
    found = re.search(r"^\.\. \[1\] (.+?)(?:\n\.\. |\n\n|\Z)", document, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def plain(markup: str) -> str:
    """Return docstring markup as Markdown for a cell of a table."""
    return markup.replace("``", "`").replace("|", "\\|")


def columns() -> str:
    """Return the table of the measures in `accounts.parquet`: once for every level, or once an account."""
    lines = ["| column | title | meaning | range | reading |", "|---|---|---|---|---|"]
    named = {f"{name}_LEVEL": measure for name, measure in schema.LEVEL_MEASURES.items()}
    for name, measure in (named | dict(schema.ACCOUNT_MEASURES)).items():
        what = measure.meaning.replace("{cells}", "cells")
        cells = (f"`{name}`", measure.title, what, measure.range, measure.reading)
        lines.append("| " + " | ".join(plain(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def functions() -> str:
    """Return the table of all functions that state a formula."""
    lines = ["| function | columns | meaning | formula | range | source |", "|---|---|---|---|---|---|"]
    for name in measures.__all__:
        document = inspect.getdoc(getattr(measures, name)) or ""
        formula = paragraph(document, "Formula")
        if not formula:
            continue
        meaning = document.split("\n\n", 1)[0].removeprefix("Return ")
        meaning = meaning[0].upper() + meaning[1:]
        cells = [
            f"`{name}`",
            paragraph(document, "Columns"),
            meaning,
            formula,
            paragraph(document, "Range"),
            source(document),
        ]
        lines.append("| " + " | ".join(plain(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the tables, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if out of date")
    check = parser.parse_args().check
    before = README.read_text(encoding="utf-8")
    after = before
    for name, table in (("columns", columns()), ("measures", functions())):
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        head, rest = after.split(start)
        after = head + start + table + end + rest.split(end)[1]
    if check and after != before:
        print(
            f"{README.relative_to(ROOT)} is out of date: run python docs/measures_table.py", file=sys.stderr
        )
        return 1
    if not check:
        README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
