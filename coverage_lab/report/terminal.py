"""The same evidence for a terminal: a run's top accounts, and one account explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coverage_lab.errors import CoverageLabError
from coverage_lab.files.table_rows import Rows, codes, count, numbers, rows_at
from coverage_lab.report import words
from coverage_lab.report.accounts_view import Percentiles, defined, evidence, facts, flag_order
from coverage_lab.report.plots import account_rows
from coverage_lab.schema import BEHAVIOUR, LEVEL_WORDS, LEVELS, MEASURES, written
from coverage_lab.untrusted.text import JOINERS, shortened, visible

_STYLES = {"review": "bold red", "watch": "yellow", "inconclusive": "dim", "clear": "green"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 28
_CELLS_SHOWN = 5


def _name(account_id: str, limit: int = 40) -> Text:
    """An untrusted id as text: `Text` reads no markup, `visible` leaves no control sequence."""
    return Text(shortened(visible(account_id), limit))


def verdict_text(verdict: str) -> Text:
    """A verdict with its sign, in its colour."""
    style = words.VERDICTS.get(verdict)
    return Text(
        f"{style.sign if style else '?'} {visible(verdict)}",
        style=_STYLES.get(verdict, ""),
        no_wrap=True,
    )


def _score_text(score: float | None) -> str:
    return "n/a" if score is None else f"{score:.3f}"


def _p_text(value: float | None) -> str:
    number = defined(value)
    return "n/a" if number is None else f"{number:.3g}"


def top_accounts_table(accounts: Rows, limit: int = 10) -> Table:
    """The accounts to look at first.

    Parameters
    ----------
    accounts : pa.Table or Path
        Table of `schema.ACCOUNTS`, or a Parquet file of which three numbers an account are held, and rows
        that tie at the limit; an empty one gives a table without rows.
    limit : int
        Rows at most, 1 or more.

    Returns
    -------
    rich.table.Table
        Ordered review, watch, inconclusive, clear; the smallest p-value first, then the highest score.

    Raises
    ------
    CoverageLabError
        `limit` is less than 1.
    """
    if limit < 1:
        raise CoverageLabError(f"limit: expected 1 or more, got {limit}")
    names = ["account_id", "verdict", "archetype", "prompts", "score", "p_value", "reasons"]
    ordered = rows_at(accounts, _first(accounts, limit), names)
    shown = Table(
        title=f"Top accounts of {count(accounts):,}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        expand=True,
    )
    shown.add_column("account", overflow="fold", min_width=12)
    shown.add_column("verdict", no_wrap=True)
    shown.add_column("archetype", no_wrap=True)
    for name in ("prompts", "score", "p"):
        shown.add_column(name, justify="right", no_wrap=True)
    # One line an account: `explain` and the page tell the whole of it.
    shown.add_column("first reason", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in ordered.to_pylist():
        shown.add_row(
            _name(row["account_id"]),
            verdict_text(row["verdict"]),
            Text(words.ARCHETYPES.get(row["archetype"], visible(row["archetype"]))),
            f"{row['prompts']:,}",
            _score_text(row["score"]),
            _p_text(row["p_value"]),
            Text(visible(row["reasons"][0], keep=JOINERS) if row["reasons"] else ""),
        )
    return shown


def _first(accounts: Rows, limit: int) -> NDArray[np.int64]:
    """Rows of the first `limit` accounts in the order of flags.

    One lexsort of whole columns narrows millions of accounts down before any row becomes Python.
    """
    verdicts, verdict = codes(accounts, "verdict")
    ranks = np.array([words.rank_of(name) for name in verdicts], np.int64)[verdict]
    p_values = numbers(accounts, "p_value")
    p_values = np.where(np.isfinite(p_values), p_values, np.inf)
    scores = numbers(accounts, "score")
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.lexsort((-scores, p_values, ranks))
    if len(order) > limit:
        last = order[limit - 1]
        tied = (
            (ranks[order] == ranks[last])
            & (p_values[order] == p_values[last])
            & (scores[order] == scores[last])
        )
        order = order[: max(limit, int(np.flatnonzero(tied)[-1]) + 1)]
    candidates = rows_at(accounts, order, ["account_id", "verdict", "score", "p_value"]).to_pylist()
    ranked = sorted(zip(candidates, order.tolist(), strict=True), key=lambda pair: flag_order(pair[0]))
    return np.array([row for _, row in ranked[:limit]], np.int64)


def explain_account(
    account_row: Mapping[str, Any],
    curves: pa.Table,
    cells: pa.Table,
    percentiles: Percentiles | None = None,
) -> RenderableType:
    """One account in words and numbers.

    Parameters
    ----------
    account_row : Mapping[str, Any]
        Row of `schema.ACCOUNTS`, as `Table.to_pylist` gives it.
    curves, cells : pa.Table
        Tables of `schema.CURVES` and `schema.CELLS`; other accounts' rows are ignored, and what the
        account has no rows of is said to be missing.
    percentiles : Percentiles, optional
        Of the account's run (`percentiles_of`): behaviour is shown with its place among the others.

    Returns
    -------
    rich.console.RenderableType
        Verdict, score, the evidence beside it, reasons, growth curves against their nulls, and top cells.
    """
    account_id = account_row["account_id"]
    head = Text.assemble(
        ("Account ", "bold"),
        _name(account_id, 120),
        "\n",
        verdict_text(account_row["verdict"]),
        f" · {account_row['prompts']:,} prompts"
        f" · score {_score_text(account_row['score'])} (0..1) · p {_p_text(account_row['p_value'])}",
    )
    known = (*evidence(account_row), *facts(account_row))
    weighed = Text("\n".join(f"  {term}: {value}" for term, value in known))
    reasons = [Text(f"• {visible(reason, keep=JOINERS)}") for reason in account_row["reasons"]]
    parts: list[RenderableType] = [
        head,
        weighed,
        Text("\nWhy", style="bold"),
        *[Padding(reason, (0, 0, 0, 2)) for reason in reasons or [Text("no reason recorded")]],
        Text("\nBehaviour (no score uses it)", style="bold"),
        Text("\n".join(f"  {line}" for line in _behaviour(account_row, percentiles))),
    ]
    for level in LEVELS:
        parts.append(Text(f"\n{level.capitalize()} level: {LEVEL_WORDS[level]}", style="bold"))
        curve = account_rows(curves, account_id, level).sort_by("n")
        parts.append(_growth(curve) if curve.num_rows else Text("  no growth curve recorded"))
        mine = account_rows(cells, account_id, level).to_pylist()
        parts.append(_cells(mine) if mine else Text("  no cell recorded"))
    parts.append(
        Text(
            "\nThe system recommends; people decide. The score is evidence from behaviour only, "
            "and every flag can be appealed.",
            style="italic",
        )
    )
    return Group(*parts)


def _behaviour(account_row: Mapping[str, Any], percentiles: Percentiles | None) -> list[str]:
    """One line a column of `coverage_lab.schema.BEHAVIOUR`, and repeats."""
    lines = []
    for name, measure in (*BEHAVIOUR.items(), ("repeat_share", MEASURES["repeat_share"])):
        value = defined(account_row[name])
        line = f"{measure.title}: {'n/a' if value is None else written(value, measure.format)}"
        place = None if percentiles is None else percentiles.of(name, value)
        lines.append(line if place is None else f"{line} (P{place:.0f} of the run's accounts)")
    return lines


def _growth(curve: pa.Table) -> Table:
    """D(n) of the account and its nulls: sparklines of one scale, and values near ¼, ½ and all of n."""
    n = curve["n"].to_numpy().astype(np.float64)
    columns = [
        (line.title, curve["distinct" if line.key == "account" else f"{line.key}_mean"].to_numpy())
        for line in (words.ACCOUNT_LINE, *words.NULL_LINES)
    ]
    top = max(float(values.max()) for _, values in columns)
    # Points of the grid nearest to ¼, ½ and all of n, so that no count is interpolated.
    marks = sorted({int(np.abs(n - n[-1] * part).argmin()) for part in (0.25, 0.5, 1.0)})
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  distinct cells", no_wrap=True)
    table.add_column("growth", no_wrap=True)
    for mark in marks:
        table.add_column(f"n={n[mark]:,.0f}", justify="right", no_wrap=True)
    for title, values in columns:
        digits = 0 if title == words.ACCOUNT_LINE.title else 1
        table.add_row(
            f"  {title}",
            sparkline(np.interp(np.linspace(n[0], n[-1], _SPARK_WIDTH), n, values), top=top),
            *[f"{float(values[mark]):,.{digits}f}" for mark in marks],
        )
    return table


def sparkline(values: NDArray[np.float64], *, top: float) -> str:
    """One block character a value, from ▁ at 0 to █ at `top`; '' for no values."""
    if top <= 0:
        return _BLOCKS[0] * len(values)
    steps = np.clip(np.rint(values / top * (len(_BLOCKS) - 1)), 0, len(_BLOCKS) - 1).astype(int)
    return "".join(_BLOCKS[step] for step in steps)


def _cells(rows: Sequence[Mapping[str, Any]]) -> Table:
    ordered = sorted(rows, key=lambda row: (row["reference_share"] - row["share"], row["cell"]))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  top cells", overflow="fold")
    for name in ("prompts", "share", "ordinary"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in ordered[:_CELLS_SHOWN]:
        label = shortened(visible(row["label"], keep=JOINERS), 60) or "(no label)"
        table.add_row(
            Text(f"  {label} #{row['cell']}"),
            f"{row['prompts']:,}",
            f"{100 * row['share']:.3g}%",
            f"{100 * row['reference_share']:.3g}%",
        )
    return table
