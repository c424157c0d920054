"""One self-contained HTML page of a run, for the person who decides."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from coverage_lab.errors import CoverageLabError
from coverage_lab.files.table_rows import (
    Rows,
    batches,
    codes,
    columns_in,
    count,
    nulls,
    numbers,
    positions,
    rows_at,
    rows_of_accounts,
)
from coverage_lab.plotting.html_file import asset, environment, policy, write_whole
from coverage_lab.report import plots, words
from coverage_lab.report.accounts_view import (
    FlaggedAccount,
    Percentiles,
    anchor_of,
    flag_order,
    flagged_account,
)
from coverage_lab.schema import (
    ACCOUNTS,
    CELLS,
    CURVES,
    FLAGS,
    LEVELS,
    MEASURE_COLUMNS,
    QUARANTINE_REASONS,
)
from coverage_lab.untrusted.text import JOINERS, json_for_script, shortened, visible

NOT_RECORDED = "not recorded"
_TEMPLATES = "coverage_lab.report"


@dataclass(frozen=True)
class Identifier:
    """An id shown in short; the page gives it whole on hover and copy."""

    full: str
    short: str


def write_report(
    path: Path,
    *,
    run: Mapping[str, object],
    accounts: Rows,
    curves: Rows,
    cells: Rows,
    flags: Rows,
    max_accounts: int = 50,
) -> None:
    """Write the report of a run as one HTML file that needs no network.

    The same rows give the same bytes. The file is written beside `path` first and then moved
    there, so that a reader never finds half a page.

    Parameters
    ----------
    path : Path
        File to write; one that is there is replaced.
    run : Mapping[str, object]
        The run's manifest (run.json). A key that is missing is shown as 'not recorded'.
    accounts, curves, cells, flags : pa.Table or Path
        Tables of `schema.ACCOUNTS`, `CURVES`, `CELLS` and `FLAGS`, or Parquet files of which a few numbers an
        account are held at most; any of them may be empty.
    max_accounts : int
        Flagged accounts shown, the gravest first; the page says how many were left out.

    Raises
    ------
    CoverageLabError
        A table lacks a column, `flags` names an account that `accounts` does not have, or
        `max_accounts` is less than 1.
    OutputError
        The file can't be written.
    """
    if max_accounts < 1:
        raise CoverageLabError(f"max_accounts: expected 1 or more, got {max_accounts}")
    for name, table, schema in (
        ("accounts", accounts, ACCOUNTS),
        ("curves", curves, CURVES),
        ("cells", cells, CELLS),
        ("flags", flags, FLAGS),
    ):
        missing = [column for column in schema.names if column not in columns_in(table)]
        if missing:
            raise CoverageLabError(f"{name}: expected the columns of its schema, {missing[0]!r} is missing")
    page = _page(run, accounts, curves, cells, flags, max_accounts)
    write_whole(path, page, what="report")


def shown_flags(flags: Rows, *, max_accounts: int) -> pa.Table:
    """Choose the flags that the page shows, 1 or more, the gravest first."""
    keys = batches(flags, ["verdict", "p_value", "score", "account_id"])
    rows = (row for batch in keys for row in batch.to_pylist())
    gravest = heapq.nsmallest(max_accounts, ((flag_order(row), at) for at, row in enumerate(rows)))
    return rows_at(flags, np.array([at for _, at in gravest], np.int64))


def _page(
    run: Mapping[str, object],
    accounts: Rows,
    curves: Rows,
    cells: Rows,
    flags: Rows,
    max_accounts: int,
) -> str:
    chosen = shown_flags(flags, max_accounts=max_accounts).to_pylist()
    ids = [flag["account_id"] for flag in chosen]
    places = positions(accounts, ids)
    shown, specs = _flagged(
        chosen,
        rows_at(accounts, places),
        accounts,
        rows_of_accounts(curves, ids),
        rows_of_accounts(cells, ids),
    )
    anchors = {account_id: anchor_of(account_id) for account_id in ids}
    verdicts, verdict = codes(accounts, "verdict")
    atlas_ids, atlas = codes(accounts, "atlas_id")
    scores = numbers(accounts, "score")
    ranks = np.array([words.rank_of(name) for name in verdicts], np.int64)[verdict]
    drawn = plots.overview_rows(ranks, scores, places)
    total = count(accounts)
    script = asset(_TEMPLATES, "report.js")
    plotly = get_plotlyjs()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=_run_view(run),
            accounts_total=total,
            scored=total - nulls(accounts, "score"),
            p_values=total - nulls(accounts, "p_value"),
            verdict_counts=[
                (name, style, int((verdict == verdicts.index(name)).sum()) if name in verdicts else 0)
                for name, style in words.VERDICTS.items()
            ],
            verdict_words=words.VERDICTS,
            flagged_total=count(flags),
            shown=shown,
            specs=specs,
            drawn=len(drawn),
            levels=LEVELS,
            level_words=words.LEVELS,
            lines=(words.ACCOUNT_LINE, *words.NULL_LINES),
            glossary=words.GLOSSARY,
            page_data=_data(
                {
                    "palette": plots.PALETTE,
                    "overview": plots.overview_spec(
                        rows_at(accounts, drawn, plots.OVERVIEW_COLUMNS), anchors
                    ),
                    "scores": {
                        visible(atlas_id): plots.score_spec(scores[atlas == place])
                        for place, atlas_id in enumerate(atlas_ids)
                    },
                }
            ),
            palette=plots.PALETTE,
            css=Markup(asset(_TEMPLATES, "report.css")),
            script=Markup(script),
            plotly=Markup(plotly),
            policy=policy(plotly, script),
        )
    )


def _flagged(
    chosen: Sequence[Mapping[str, Any]],
    chosen_accounts: pa.Table,
    accounts: Rows,
    curves: pa.Table,
    cells: pa.Table,
) -> tuple[list[FlaggedAccount], dict[str, Markup]]:
    """The shown accounts, and by anchor the growth plots of each as JSON."""
    rows = {row["account_id"]: row for row in chosen_accounts.to_pylist()}
    for flag in chosen:
        if flag["account_id"] not in rows:
            name = shortened(visible(flag["account_id"]), 80)
            raise CoverageLabError(f"flags: expected only accounts of the accounts table, got {name!r}")
    cells_of: dict[str, list[Mapping[str, Any]]] = {}
    for row in cells.to_pylist():
        cells_of.setdefault(row["account_id"], []).append(row)
    percentiles = _percentiles([rows[flag["account_id"]] for flag in chosen], chosen, accounts)
    shown = []
    specs = {}
    for flag in chosen:
        account_id = flag["account_id"]
        by_level = {level: plots.rows_of(curves, account_id, level) for level in LEVELS}
        growth = {level: plots.growth_spec(part) for level, part in by_level.items() if part.num_rows}
        view = flagged_account(
            flag,
            rows[account_id],
            cells_of.get(account_id, []),
            percentiles=percentiles[rows[account_id]["atlas_id"]],
            curve_levels=list(growth),
        )
        shown.append(view)
        specs[view.anchor] = _data(growth)
    return shown, specs


def _percentiles(
    shown: Sequence[Mapping[str, Any]], flags: Sequence[Mapping[str, Any]], accounts: Rows
) -> dict[str, Percentiles]:
    """Percentiles by atlas: nothing that is computed on one is compared with another's."""
    found = {}
    for atlas_id in dict.fromkeys(row["atlas_id"] for row in shown):
        # A flag's score is its account's, but two tables may have been written apart.
        pairs = [pair for pair in zip(shown, flags, strict=True) if pair[0]["atlas_id"] == atlas_id]
        found[atlas_id] = Percentiles([row for pair in pairs for row in pair])
    if found:
        for batch in batches(accounts, ["atlas_id", "score", *MEASURE_COLUMNS]):
            for atlas_id, percentiles in found.items():
                percentiles.count(batch.filter(pc.equal(batch["atlas_id"], atlas_id)))
    return found


def _data(value: object) -> Markup:
    return Markup(json_for_script(value))


def _environment() -> jinja2.Environment:
    templates = environment(_TEMPLATES)
    templates.filters |= {
        "count": lambda value: f"{value:,}",
        "json": json_for_script,
        "number": _number,
        "score": lambda value: f"{value:.3f}",
        "p_value": lambda value: "n/a" if value is None else f"{value:.3g}",
        "percent": _percent,
        "times": lambda ratio: f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}",
        "percentile": _percentile,
    }
    return templates


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"


def _percent(share: float) -> str:
    percent = 100 * share
    if percent >= 10:
        return f"{percent:.0f}%"
    return "<0.0001%" if 0 < percent < 0.0001 else f"{float(f'{percent:.2g}'):.10g}%"


def _percentile(value: float) -> str:
    """One decimal at the ends, where it matters."""
    return f"{value:.0f}" if 1 <= value <= 99 or value in (0, 100) else f"{value:.1f}"


def _run_view(run: Mapping[str, object]) -> Mapping[str, Any]:
    """What the page shows of the manifest, every value as safe text or 'not recorded'."""
    counts = _mapping(run, "counts")
    sizes = _mapping(run, "atlas").get("sizes")
    reasons = counts.get("quarantine_reasons")
    return {
        "run_id": _identifier(run.get("run_id")),
        "created": _text(run.get("created")),
        "input": _text(run.get("input")),
        "config_id": _identifier(run.get("config_id")),
        "encoder": _text(_mapping(run, "encoder").get("name")),
        "encoder_id": _identifier(_mapping(run, "encoder").get("id")),
        "device": _text(_mapping(run, "encoder").get("device")),
        "second": _second(_mapping(run, "cascade")),
        "atlas_id": _identifier(_mapping(run, "atlas").get("id")),
        "atlas_sizes": _sizes(sizes),
        "atlas_description": _text(_mapping(run, "atlas").get("description")),
        "model_id": _identifier(_mapping(run, "model").get("id")),
        "calibration_accounts": _text(_calibration(run).get("accounts")),
        "smallest_p": _text(_calibration(run).get("smallest_p")),
        "extrapolated_below": _known(_card(run).get("calibration_extrapolated_below")),
        "discoveries_found": _text(_mapping(run, "discoveries").get("found")),
        "discoveries_rate": _text(_mapping(run, "discoveries").get("rate")),
        "discoveries_note": _known(_mapping(run, "discoveries").get("note")),
        "rows_in": _text(counts.get("rows_in")),
        "rows_used": _text(counts.get("rows_used")),
        "rows_quarantined": _text(counts.get("rows_quarantined")),
        "quarantine": [
            (visible(str(code)), QUARANTINE_REASONS.get(str(code), "unknown reason code"), _text(count))
            for code, count in sorted(reasons.items(), key=lambda item: str(item[0]))
        ]
        if isinstance(reasons, Mapping)
        else None,
        "timings": [
            (visible(str(stage)), f"{seconds:,.2f} s" if isinstance(seconds, int | float) else _text(seconds))
            for stage, seconds in _mapping(run, "timings").items()
        ],
        "versions": [
            (visible(str(name)), _text(version)) for name, version in _mapping(run, "versions").items()
        ],
    }


def _second(cascade: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    """What the page shows of a cascade's second stage; None where there was one stage only."""
    if not cascade:
        return None
    return {
        "accounts": _text(_mapping(cascade, "escalated").get("accounts")),
        "escalate_p": _text(cascade.get("escalate_p")),
        "encoder": _text(_mapping(cascade, "encoder").get("name")),
        "atlas_id": _identifier(_mapping(cascade, "atlas").get("id")),
    }


def _calibration(run: Mapping[str, object]) -> Mapping[Any, Any]:
    calibration = _mapping(run, "model").get("calibration")
    return calibration if isinstance(calibration, Mapping) else {}


def _card(run: Mapping[str, object]) -> Mapping[Any, Any]:
    card = _mapping(run, "model").get("card")
    return card if isinstance(card, Mapping) else {}


def _known(value: object) -> str | None:
    """Safe text, or None for what is null, zero or empty."""
    return _text(value) if value else None


def _mapping(run: Mapping[str, object], key: str) -> Mapping[Any, Any]:
    value = run.get(key)
    return value if isinstance(value, Mapping) else {}


def _sizes(sizes: object) -> str:
    if isinstance(sizes, Mapping):
        sizes = list(sizes.values())
    if not isinstance(sizes, list | tuple) or not sizes:
        return NOT_RECORDED
    return " → ".join(_text(size) for size in sizes) + " cells"


def _text(value: object) -> str:
    if value is None or value == "":
        return NOT_RECORDED
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return visible(str(value), keep=JOINERS)


def _identifier(value: object) -> Identifier | None:
    if value is None or value == "":
        return None
    full = visible(str(value))
    return Identifier(full, full if len(full) <= 16 else f"{full[:12]}…")
