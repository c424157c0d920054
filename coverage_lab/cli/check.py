"""`coverage-lab check`: see how an input would be read before running on it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from coverage_lab.cli.options import ConfigOption, FormatOption, configured
from coverage_lab.cli.terminal import out
from coverage_lab.untrusted.text import shown

if TYPE_CHECKING:
    from coverage_lab.jobs.check import Survey


def check(
    traffic: Annotated[list[str], typer.Argument(metavar="INPUT", help="As `coverage-lab run` takes it.")],
    config: ConfigOption = None,
    format: FormatOption = None,
) -> None:
    """Look at the first rows of INPUT: what they are taken for, how three come out, what would be lost.

    Nothing is written and nothing is judged. Ends with the `run` command to give.

    Example: `coverage-lab check traffic.jsonl`
    """
    from coverage_lab.jobs.check import survey

    settings = configured(config, None, format=format).traffic
    found = survey(traffic, settings)
    tallies, checked = found.tallies, found.checked

    def say(text: str) -> None:
        out.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"{len(checked.sources):,} files, format {checked.format}.")
    if checked.sentence:
        say(f"{checked.sentence}.")
    for name, why in checked.skipped.items():
        say(f"Would be skipped: {shown(name)}: {shown(why, 300)}")
    say("Three rows as they come out (account, time, start of the prompt):")
    for row in found.examples:
        say(f"  {shown(row.account_id, 40)}  {row.timestamp:%Y-%m-%d %H:%M:%S} UTC  {shown(row.prompt, 60)}")
    say(usable(found))
    if found.used:
        say(f"Prompts without readable text: {tallies.unreadable / found.used:.1%}.")
    for name, number in tallies.dropped.items():
        say(f"Values of {name} that would become null: {number:,}.")
    say(days_found(found))
    words = [
        "coverage-lab",
        "run",
        *(f"./{one}" if one.startswith("-") else one for one in traffic),
        "RESULTS",
    ]
    words += ["--config", str(config)] if config is not None else []
    words += ["--format", format] if format is not None else []
    say(f"To judge it: {shlex.join(words)}")


def usable(found: Survey) -> str:
    """Say how many of the rows can be used, and why others can't."""
    from coverage_lab.traffic.remedies import commonest

    tallies = found.tallies
    said = (
        f"Of {'all' if found.whole else 'the first'} {tallies.rows_in:,} rows {found.used:,} can be used, "
        f"from {found.accounts:,} accounts; {sum(found.reasons.values()):,} would be quarantined, "
        f"{tallies.left_out:,} left out, {tallies.same_turn:,} are further calls under a counted turn."
    )
    return f"{said} Commonest reasons: {commonest(found.reasons)}." if found.reasons else said


def days_found(found: Survey) -> str:
    """Say of which days the rows are."""
    days = ", ".join(f"{day} ({number:,})" for day, number in list(found.days.items())[:7])
    return f"Days: {days or 'none'}{' and others' if len(found.days) > 7 else ''}."
