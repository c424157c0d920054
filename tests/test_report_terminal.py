"""What the report says in a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console, RenderableType
from support.report_fixture import HOSTILE_IDS, Run

from coverage_lab import schema
from coverage_lab.errors import CoverageLabError
from coverage_lab.report import explain_account, percentiles_of, top_accounts_table
from coverage_lab.report.terminal import sparkline


def _printed(renderable: RenderableType, width: int = 160) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(ordinary=40, flagged=8)


def _account(run: Run, account_id: str) -> dict[str, Any]:
    return next(row for row in run.accounts.to_pylist() if row["account_id"] == account_id)


def test_top_accounts_are_the_gravest_in_order(run: Run) -> None:
    table = top_accounts_table(run.accounts, limit=6)
    assert table.row_count == 6
    prompts = list(table.columns[3].cells)
    order = {"review": 0, "watch": 1, "inconclusive": 2, "clear": 3}
    expected = sorted(
        run.accounts.to_pylist(),
        key=lambda row: (
            order[row["verdict"]],
            row["p_value"] if row["p_value"] is not None else 2,
            -row["score"],
        ),
    )
    assert prompts == [f"{row['prompts']:,}" for row in expected[:6]]
    assert top_accounts_table(run.accounts, limit=500).row_count == run.accounts.num_rows


def test_ties_beyond_the_limit_are_broken_by_account_id(run: Run) -> None:
    rows = run.accounts.to_pylist()
    for row in rows:
        row |= {
            "verdict": "review",
            "p_value": 0.01,
            "score": 0.9,
            "account_id": f"id-{row['prompts']}-{len(row['account_id'])}",
        }
    backwards = pa.Table.from_pylist(
        sorted(rows, key=lambda row: row["account_id"], reverse=True), schema=schema.ACCOUNTS
    )
    shown = [str(cell) for cell in top_accounts_table(backwards, limit=5).columns[0].cells]
    assert shown == sorted(row["account_id"] for row in rows)[:5]


def test_terminal_never_sees_control_characters_or_markup(run: Run) -> None:
    text = _printed(top_accounts_table(run.accounts, limit=8))
    text += "".join(
        _printed(explain_account(_account(run, name), run.curves, run.cells)) for name in HOSTILE_IDS
    )
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text
    assert r"safe\u202e/txt.exe\x00\x1b[31m" in text
    assert "[red]rich markup[/red]" in text


def test_explain_gives_score_reasons_curves_and_cells(run: Run) -> None:
    account = _account(run, HOSTILE_IDS[0])
    text = _printed(explain_account(account, run.curves, run.cells))
    for part in ("review", "harvesting", f"score {account['score']:.3f}", *account["reasons"]):
        assert part in text
    for level in ("Coarse", "Middle", "Fine"):
        assert f"{level} level" in text
    assert text.count("Uniform sweep") == 3
    assert f"n={account['prompts']:,}" in text
    last = [row for row in run.curves.to_pylist() if row["account_id"] == HOSTILE_IDS[0]][-1]
    assert f"{last['distinct']:,}" in text
    assert f"{last['reference_mean']:,.1f}" in text
    assert "The system recommends; people decide." in text
    cells = [row for row in run.cells.to_pylist() if row["account_id"] == HOSTILE_IDS[0]]
    best = max(
        (row for row in cells if row["level"] == "coarse"), key=lambda r: r["share"] - r["reference_share"]
    )
    assert f"{best['label']} #{best['cell']}" in text


def test_explain_says_whether_prompts_are_wrapped(run: Run) -> None:
    account = _account(run, HOSTILE_IDS[0]) | {"instructions": 3, "wrapped_share": 0.965}
    assert "Instructions: 3, around 96% of its prompts" in _printed(
        explain_account(account, run.curves, run.cells)
    )
    account = account | {"instructions": 0, "wrapped_share": 0.0}
    assert "Instructions: none" in _printed(explain_account(account, run.curves, run.cells))


def test_explain_shows_behaviour_with_its_place_in_the_run(run: Run) -> None:
    rows = run.accounts.to_pylist()
    account = max(rows, key=lambda row: row["hours_used"] or -9.0) | {"output_share": None}
    told = _printed(explain_account(account, run.curves, run.cells, percentiles_of(account, run.accounts)))
    assert f"Hours of the day: {account['hours_used']:.2f} (P100 of the run's accounts)" in told
    assert "Share of tokens out: n/a\n" in told.replace(" \n", "\n").replace("  ", "")
    assert "(P" not in _printed(explain_account(account, run.curves, run.cells))


def test_explain_without_curves_cells_or_reasons(run: Run) -> None:
    account = _account(run, HOSTILE_IDS[0]) | {"reasons": [], "p_value": None}
    text = _printed(explain_account(account, schema.CURVES.empty_table(), schema.CELLS.empty_table()))
    assert text.count("no growth curve recorded") == 3
    assert text.count("no cell recorded") == 3
    assert "no reason recorded" in text
    assert "p n/a" in text


def test_empty_table_and_bad_limit() -> None:
    assert top_accounts_table(schema.ACCOUNTS.empty_table()).row_count == 0
    with pytest.raises(CoverageLabError, match="limit: expected 1 or more, got 0"):
        top_accounts_table(schema.ACCOUNTS.empty_table(), limit=0)


def test_sparkline_scales_to_the_common_top() -> None:
    assert sparkline(np.array([0.0, 5.0, 10.0]), top=10.0) == "▁▅█"
    assert sparkline(np.array([0.0, 0.0]), top=0.0) == "▁▁"
    assert sparkline(np.array([]), top=1.0) == ""


def test_explained_evidence_is_that_of_the_page(run: Run) -> None:
    row = next(row for row in run.accounts.to_pylist() if row["verdict"] == "review")
    text = _printed(explain_account(row, run.curves, run.cells))
    assert f"Archetype: harvesting, probability {row['archetype_probability']:.0%}" in text
    assert f"Harvested share: {row['harvested_share']:.0%} (" in text
    assert f"q-value: {row['q_value']:.3g}" in text
    assert f"{row['score_without_top_cells']:.3f} instead of {row['score']:.3f}" in text
