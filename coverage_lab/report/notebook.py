"""What a result shows of itself in a notebook: a run's summary, one account explained, two compared."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
from markupsafe import Markup
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from coverage_lab.files.manifest import Manifest
from coverage_lab.plotting.html_file import environment
from coverage_lab.report import words
from coverage_lab.report.accounts_view import Percentiles, defined, flag_order
from coverage_lab.report.terminal import explain_account, top_accounts_table
from coverage_lab.schema import BEHAVIOUR_COLUMNS, MEASURES, written
from coverage_lab.untrusted.text import JOINERS, shortened, visible

_WIDTH = 110
#: Accounts that a summary lists.
_TOP = 5


def summary_text(accounts: pa.Table, run: Manifest) -> str:
    """A run in a few lines, for a plain prompt."""
    return f"{_headline(run)}\n{_plain(top_accounts_table(accounts, limit=_TOP))}"


def summary_html(accounts: pa.Table, run: Manifest, *, picture: str | None) -> str:
    """A run for a notebook: what came in, what came out, the accounts to look at first, and a picture.

    Parameters
    ----------
    accounts : pa.Table
        Schema `ACCOUNTS`.
    run : Manifest
    picture : str or None
        HTML of our own making; None where there is none.
    """
    columns = ["account_id", "verdict", "archetype", "prompts", "score", "p_value", "reasons"]
    rows = sorted(accounts.select(columns).to_pylist(), key=flag_order)[:_TOP]
    return (
        environment("coverage_lab.report")
        .get_template("notebook.html.j2")
        .render(
            headline=_headline(run),
            rows=[_top_row(row) for row in rows],
            total=accounts.num_rows,
            picture=None if picture is None else Markup(picture),
            plots_missing=find_spec("matplotlib") is None,
            first=None if not rows else shortened(visible(rows[0]["account_id"]), 60),
        )
    )


def _headline(run: Manifest) -> str:
    counts = run.counts
    found = ", ".join(f"{number:,} {verdict}" for verdict, number in run.verdicts.items() if number)
    away = f", {counts.rows_quarantined:,} quarantined" if counts.rows_quarantined else ""
    return (
        f"{counts.accounts:,} accounts, {counts.rows_used:,} prompts{away}: {found or 'no account'}. "
        f"Encoder {visible(run.encoder.name)}, atlas {visible(run.atlas.id[:12])}."
    )


def _top_row(row: Mapping[str, Any]) -> Mapping[str, str]:
    style = words.VERDICTS.get(row["verdict"])
    score, p_value = defined(row["score"]), defined(row["p_value"])
    return {
        "account": shortened(visible(row["account_id"]), 60),
        "verdict": f"{style.sign if style else '?'} {visible(row['verdict'])}",
        "archetype": words.ARCHETYPES.get(row["archetype"], visible(row["archetype"])),
        "prompts": f"{row['prompts']:,}",
        "score": "n/a" if score is None else f"{score:.3f}",
        "p": "n/a" if p_value is None else f"{p_value:.3g}",
        "reason": visible(row["reasons"][0], keep=JOINERS) if row["reasons"] else "",
    }


@dataclass(frozen=True, repr=False)
class Explanation:
    """One account's story, for people and for programs.

    Attributes
    ----------
    account : mapping
        Its row of `schema.ACCOUNTS`.
    curves, cells : pyarrow.Table
        Its rows of `schema.CURVES` and `schema.CELLS`.
    percentiles : Percentiles, optional
        Of the account's run (`coverage_lab.report.percentiles_of`).
    """

    account: Mapping[str, Any]
    curves: pa.Table
    cells: pa.Table
    percentiles: Percentiles | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give everything as values that JSON knows: times are ISO 8601, what is not defined is None.

        `percentiles` are those of the behaviour among the run's accounts.
        """
        return {
            "account": {name: _json_value(value) for name, value in self.account.items()},
            "curves": [_json_row(row) for row in self.curves.to_pylist()],
            "cells": [_json_row(row) for row in self.cells.to_pylist()],
            "percentiles": {
                name: self.percentiles and self.percentiles.of(name, defined(self.account[name]))
                for name in BEHAVIOUR_COLUMNS
            },
        }

    def __repr__(self) -> str:
        return _plain(self._shown())

    def _repr_html_(self) -> str:
        return _as_html(self._shown())

    def _shown(self) -> RenderableType:
        return explain_account(self.account, self.curves, self.cells, self.percentiles)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two accounts side by side.

    Attributes
    ----------
    first, second : str
        Their ids.
    table : pyarrow.Table
        One number a row: `measure` (column of `schema.ACCOUNTS`), `title`, `first`, `second` (null where not
        defined).
    """

    first: str
    second: str
    table: pa.Table

    @classmethod
    def of(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> Comparison:
        """Compare two rows of `schema.ACCOUNTS`."""
        titles = {"prompts": "Prompts", "score": "Score", "p_value": "p-value"}
        titles |= {name: _title(name) for name in MEASURES}
        return cls(
            first=one["account_id"],
            second=other["account_id"],
            table=pa.table(
                {
                    "measure": pa.array(list(titles)),
                    "title": pa.array(list(titles.values())),
                    "first": pa.array([_number(one[name]) for name in titles], pa.float64()),
                    "second": pa.array([_number(other[name]) for name in titles], pa.float64()),
                }
            ),
        )

    def __repr__(self) -> str:
        return _plain(self._renderable())

    def _repr_html_(self) -> str:
        return _as_html(self._renderable())

    def _renderable(self) -> Table:
        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        shown.add_column("", overflow="fold")
        for name in (self.first, self.second):
            shown.add_column(Text(shortened(visible(name), 30)), justify="right", no_wrap=True)
        for row in self.table.to_pylist():
            values = (_written(row["measure"], row["first"]), _written(row["measure"], row["second"]))
            shown.add_row(Text(row["title"]), *values)
        return shown


def _title(measure: str) -> str:
    level = measure.rpartition("_")[2]
    title = MEASURES[measure].title
    return f"{title} ({level})" if level in ("coarse", "middle", "fine") else title


def _written(measure: str, value: float | None) -> str:
    if value is None:
        return "n/a"
    if measure in MEASURES:
        return written(value, MEASURES[measure].format)
    return f"{value:,.0f}" if measure == "prompts" else f"{value:.3g}"


def _number(value: float | None) -> float | None:
    found = defined(value)
    return None if found is None else float(found)


def _json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _json_value(value) for name, value in row.items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return defined(value) if isinstance(value, float) else value


def _plain(shown: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=_WIDTH, color_system=None, force_jupyter=False).print(shown)
    return file.getvalue().rstrip("\n")


def _as_html(shown: RenderableType) -> str:
    """The same as in a terminal, in the notebook's own colours."""
    text = Markup("<pre style='line-height:1.35'>{}</pre>")
    return str(text.format(_plain(shown)))
