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

from coverage_lab.errors import CoverageLabError
from coverage_lab.files.manifest import Manifest, SecondStage
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
from coverage_lab.plotting.html_file import asset, environment, plotly_js, policy, write_whole
from coverage_lab.plotting.map_tiles import MapOf, map_data, parted_names
from coverage_lab.report import plots, words
from coverage_lab.report.accounts_view import (
    FlaggedAccount,
    Percentiles,
    anchor_of,
    flag_order,
    flagged_account,
)
from coverage_lab.report.campaigns_view import campaigns_shown
from coverage_lab.schema import (
    ACCOUNTS,
    BEHAVIOUR_COLUMNS,
    CAMPAIGNS,
    CELLS,
    CURVES,
    FIRST_VISITS_FIELDS,
    FLAGS,
    LEVEL_WORDS,
    LEVELS,
    MEASURE_COLUMNS,
    MEMBERS,
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
    run: Manifest,
    accounts: Rows,
    curves: Rows,
    cells: Rows,
    flags: Rows,
    campaigns: Rows | None = None,
    members: Rows | None = None,
    atlases: Sequence[MapOf] = (),
    max_accounts: int = 50,
) -> None:
    """Write the report of a run as one HTML file that needs no network.

    The same rows give the same bytes. The file is written beside `path` first and then moved
    there, so that a reader never finds half a page.

    Parameters
    ----------
    path : Path
        File to write; one that is there is replaced.
    run : Manifest
        What `run.json` holds. What a run may lack (a scorecard, discoveries) is shown as 'not recorded'.
    accounts, curves, cells, flags : pa.Table or Path
        Tables of `schema.ACCOUNTS`, `CURVES`, `CELLS` and `FLAGS`, or Parquet files of which a few numbers an
        account are held at most; any of them may be empty.
    campaigns, members : pa.Table or Path, optional
        Of `schema.CAMPAIGNS` and `MEMBERS`. Without them the page says nothing of campaigns.
    atlases : sequence of Atlas
        Whose maps the ways of flagged accounts are drawn on, where they are laid out.
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
    page = _page(
        run,
        accounts,
        curves,
        cells,
        flags,
        CAMPAIGNS.empty_table() if campaigns is None else campaigns,
        MEMBERS.empty_table() if members is None else members,
        {atlas.id: atlas for atlas in atlases if atlas.layout is not None},
        max_accounts,
    )
    write_whole(path, page, what="report")


def shown_flags(flags: Rows, *, max_accounts: int) -> pa.Table:
    """Choose the flags that the page shows, 1 or more, the gravest first."""
    keys = batches(flags, ["verdict", "p_value", "score", "account_id"])
    rows = (row for batch in keys for row in batch.to_pylist())
    gravest = heapq.nsmallest(max_accounts, ((flag_order(row), at) for at, row in enumerate(rows)))
    return rows_at(flags, np.array([at for _, at in gravest], np.int64))


def _page(
    run: Manifest,
    accounts: Rows,
    curves: Rows,
    cells: Rows,
    flags: Rows,
    campaigns: Rows,
    members: Rows,
    atlases: Mapping[str, MapOf],
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
        atlases,
    )
    anchors = {account_id: anchor_of(account_id) for account_id in ids}
    verdicts, verdict = codes(accounts, "verdict")
    atlas_ids, atlas = codes(accounts, "atlas_id")
    scores = numbers(accounts, "score")
    ranks = np.array([words.rank_of(name) for name in verdicts], np.int64)[verdict]
    drawn = plots.overview_rows(ranks, scores, places)
    total = count(accounts)
    script = asset(_TEMPLATES, "report.js")
    plotly = plotly_js()
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
            campaigns=campaigns_shown(campaigns, members),
            campaigns_total=count(campaigns),
            anchors=set(anchors.values()),
            flagged_total=count(flags),
            shown=shown,
            specs=specs,
            drawn=len(drawn),
            levels=LEVELS,
            level_words=LEVEL_WORDS,
            lines=(words.ACCOUNT_LINE, *words.NULL_LINES),
            glossary=words.GLOSSARY,
            page_data=_data(
                {
                    "palette": plots.PALETTE,
                    "maps": _maps(chosen, atlases),
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
    atlases: Mapping[str, MapOf],
) -> tuple[list[FlaggedAccount], dict[str, Markup]]:
    """The shown accounts, and by anchor the growth plots and the way over the map of each as JSON."""
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
        by_level = {level: plots.account_rows(curves, account_id, level) for level in LEVELS}
        growth = {level: _once(plots.growth_spec(part)) for level, part in by_level.items() if part.num_rows}
        view = flagged_account(
            flag,
            rows[account_id],
            cells_of.get(account_id, []),
            percentiles=percentiles[rows[account_id]["atlas_id"]],
            curve_levels=list(growth),
            on_map=bool(flag["first_visits"]) and flag["atlas_id"] in atlases,
        )
        shown.append(view)
        specs[view.anchor] = _data(growth | {"way": _way(flag["first_visits"]) if view.on_map else None})
    return shown, specs


def _once(growth: dict[str, Any]) -> dict[str, Any]:
    """Keep the grid, which every line and band of a growth plot has, once; ``report.js`` puts it back."""
    grid = growth["data"][-1]["x"]
    bands = grid + grid[::-1]
    data = [trace | {"x": "band" if trace["x"] == bands else "line"} for trace in growth["data"]]
    return growth | {"data": data, "grid": grid}


def _way(visits: Sequence[Mapping[str, int]]) -> dict[str, list[int]]:
    """A way over the map, a list a field; of `prompt` how many since the one before, which is shorter."""
    way = {field: [visit[field] for visit in visits] for field in FIRST_VISITS_FIELDS}
    return way | {"prompt": np.diff(way["prompt"], prepend=0).tolist()}


def _maps(flags: Sequence[Mapping[str, Any]], atlases: Mapping[str, MapOf]) -> dict[str, dict[str, object]]:
    """By atlas, the map that shown accounts went on, with names of the tiles that they reached."""
    maps = {}
    for atlas_id, atlas in atlases.items():
        ways = [flag["first_visits"] or () for flag in flags if flag["atlas_id"] == atlas_id]
        reached = sorted({visit["cell"] for way in ways for visit in way})
        if reached:
            names = parted_names([visible(atlas.names[-1][cell]) for cell in reached])
            maps[atlas_id] = map_data(atlas) | names | {"named": reached}
    return maps


def _percentiles(
    shown: Sequence[Mapping[str, Any]], flags: Sequence[Mapping[str, Any]], accounts: Rows
) -> dict[str, Percentiles]:
    """Percentiles by atlas: nothing that is computed on one is compared with another's."""
    found = {}
    for atlas_id in dict.fromkeys(row["atlas_id"] for row in shown):
        # A flag's score is its account's, but two tables may have been written apart.
        pairs = [pair for pair in zip(shown, flags, strict=True) if pair[0]["atlas_id"] == atlas_id]
        found[atlas_id] = Percentiles([row for pair in pairs for row in pair])
    _count(found, accounts)
    return found


def percentiles_of(account: Mapping[str, Any], accounts: Rows) -> Percentiles:
    """Where one account's values lie among those of its run that were judged on the same atlas.

    Parameters
    ----------
    account : Mapping[str, Any]
        Row of `schema.ACCOUNTS`, as `Table.to_pylist` gives it.
    accounts : pa.Table or Path
        All accounts of the run.
    """
    found = Percentiles([account])
    _count({account["atlas_id"]: found}, accounts)
    return found


def _count(found: Mapping[str, Percentiles], accounts: Rows) -> None:
    if found:
        for batch in batches(accounts, ["atlas_id", "score", *MEASURE_COLUMNS, *BEHAVIOUR_COLUMNS]):
            for atlas_id, percentiles in found.items():
                percentiles.count(batch.filter(pc.equal(batch["atlas_id"], atlas_id)))


def _data(value: object) -> Markup:
    return Markup(json_for_script(value))


def _environment() -> jinja2.Environment:
    templates = environment(_TEMPLATES)
    templates.filters |= {
        "count": lambda value: f"{value:,}",
        "json": json_for_script,
        "score": lambda value: f"{value:.3f}",
        "p_value": lambda value: "n/a" if value is None else f"{value:.3g}",
        "percent": _percent,
        "times": lambda ratio: f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}",
        "percentile": _percentile,
    }
    return templates


def _percent(share: float) -> str:
    percent = 100 * share
    if percent >= 10:
        return f"{percent:.0f}%"
    return "<0.0001%" if 0 < percent < 0.0001 else f"{float(f'{percent:.2g}'):.10g}%"


def _percentile(value: float) -> str:
    """One decimal at the ends, where it matters."""
    return f"{value:.0f}" if 1 <= value <= 99 or value in (0, 100) else f"{value:.1f}"


def _run_view(run: Manifest) -> Mapping[str, Any]:
    """What the page shows of the manifest, every value as safe text; 'not recorded' for what it lacks."""
    model, found = run.model, run.discoveries
    extrapolated_below = None if model is None else model.card.get("calibration_extrapolated_below")
    return {
        "run_id": _identifier(run.run_id),
        "created": _text(run.created),
        "input": _text(run.input),
        "config_id": _identifier(run.config_id),
        "encoder": _text(run.encoder.name),
        "encoder_id": _identifier(run.encoder.id),
        "device": _text(run.encoder.device),
        "show_openings": run.config.report.show_openings,
        "second": None if run.cascade is None else _second(run.cascade),
        "atlas_id": _identifier(run.atlas.id),
        "atlas_sizes": " → ".join(_text(size) for size in run.atlas.sizes) + " cells",
        "atlas_description": _text(run.atlas.description),
        "model_id": None if model is None else _identifier(model.id),
        "calibration_accounts": _text(None if model is None else model.calibration.accounts),
        "smallest_p": _text(None if model is None else model.calibration.smallest_p),
        # 0 = no p-value is extrapolated.
        "extrapolated_below": _text(extrapolated_below) if extrapolated_below else None,
        "discoveries_found": _text(None if found is None else found.found),
        "discoveries_rate": _text(None if found is None else found.rate),
        "discoveries_note": None if found is None or found.note is None else _text(found.note),
        "rows_in": _text(run.counts.rows_in),
        "rows_used": _text(run.counts.rows_used),
        "rows_quarantined": _text(run.counts.rows_quarantined),
        "quarantine": [
            (visible(code), QUARANTINE_REASONS.get(code, "unknown reason code"), _text(rows))
            for code, rows in sorted(run.counts.quarantine_reasons.items())
        ],
        "timings": [(stage, f"{seconds:,.2f} s") for stage, seconds in run.timings.items()],
        "versions": [(visible(name), _text(version)) for name, version in run.versions.items()],
    }


def _second(cascade: SecondStage) -> Mapping[str, Any]:
    """What the page shows of a cascade's second stage."""
    return {
        "accounts": _text(cascade.escalated.accounts),
        "escalate_p": _text(cascade.escalate_p),
        "encoder": _text(cascade.encoder.name),
        "atlas_id": _identifier(cascade.atlas.id),
    }


def _text(value: str | float | None) -> str:
    if value is None or value == "":
        return NOT_RECORDED
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return visible(value, keep=JOINERS)


def _identifier(value: str) -> Identifier:
    full = visible(value)
    return Identifier(full, full if len(full) <= 16 else f"{full[:12]}…")
