"""A made-up run that looks like a real one: zipf traffic, sweeps and mixtures, drawn with numpy.

Curves, cells and the main measures are computed here from the drawn cells (rarefaction by the
Colwell formula through log-gamma, expectations by Σ[1 − (1 − p)^n]); scores and verdicts are assigned.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import gammaln

from coverage_lab import schema
from coverage_lab.atlas import default_atlas
from coverage_lab.files.manifest import Counts, Discoveries
from support.manifests import a_manifest

SIZES = {"coarse": 64, "middle": 1024, "fine": 16384}
THEMES = (
    "email and letters", "python errors", "contract clauses", "school maths", "recipes", "spreadsheets",
    "travel plans", "product copy", "sql queries", "cover letters", "poems and rhymes", "medical questions",
    "unit tests", "essay feedback", "regular expressions", "customer replies", "history facts", "translation",
)  # fmt: skip

HOSTILE_IDS = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "safe\u202e/txt.exe\u0000\u001b[31m",
    "[red]rich markup[/red] {{ 7*7 }} $(id) 'quoted'",
)

#: The sentence on a small calibration, with what no page may take for a tag.
NOTE = "No account can be a discovery by itself: at least 2 <must> reach the smallest p together."


def _reference(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    mass = (np.arange(size) + 3.0) ** -1.0
    return generator.permutation(mass / mass.sum())


def _expected(p: NDArray[np.float64], grid: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([float(np.sum(-np.expm1(n * np.log1p(-p)))) for n in grid])


def _rarefaction(counts: NDArray[np.int64], grid: NDArray[np.int64]) -> NDArray[np.float64]:
    n = counts.sum()
    values = []
    for m in grid:
        fits = n - counts >= m
        log_ratio = (
            gammaln(n - counts[fits] + 1)
            - gammaln(n - counts[fits] - m + 1)
            - gammaln(n + 1)
            + gammaln(n - m + 1)
        )
        values.append(len(counts) - float(np.exp(log_ratio).sum()))
    return np.array(values)


def a_reason(evidence: str) -> dict[str, Any]:
    """Make up an entry of `reason_details`."""
    rests = {
        "name": "recipes",
        "share": 0.5,
        "value": 0.12,
        "ordinary_low": None,
        "ordinary_median": None,
        "ordinary_high": None,
        "unit": "percent",
        "percentile": None,
    }
    return {
        "evidence": evidence,
        "direction": "towards",
        "effect": "some",
        "points": 0.5,
        "value": 1.1,
        "ordinary_low": -0.6,
        "ordinary_median": 0.0,
        "ordinary_high": 0.6,
        "unit": "standing",
        "percentile": 96.4,
        "pushing": 8,
        "carrying": 3,
        "rests_on": [rests],
        "sentence": "Some sign of harvesting: its mix of topics is like that of prompt banks",
    }


class Run:
    """Tables and manifest of a made-up run."""

    def __init__(
        self,
        *,
        ordinary: int = 200,
        flagged: int = 12,
        hostile: bool = True,
        p_values: bool = True,
        seed: int = 7,
    ) -> None:
        self._generator = np.random.default_rng(seed)
        self._reference = {level: _reference(self._generator, size) for level, size in SIZES.items()}
        rows: list[dict[str, Any]] = []
        curves: list[dict[str, Any]] = []
        cells: list[dict[str, Any]] = []
        for index in range(ordinary):
            rows.append(
                self._account(f"acct_{index:04d}", "clear", int(self._generator.lognormal(5, 1)) + 12)
            )
        verdicts = ("review", "review", "watch", "inconclusive")
        for index in range(flagged):
            account_id = f"org-{self._generator.integers(16**8):08x}/key-{index}"
            if hostile and index < len(HOSTILE_IDS):
                account_id = HOSTILE_IDS[index]
            verdict = verdicts[index % len(verdicts)]
            prompts = 31 if verdict == "inconclusive" else int(self._generator.integers(300, 3000))
            row = self._account(account_id, verdict, prompts)
            self._draw(row, curves, cells, sweep=0.95 if verdict == "review" else 0.35)
            rows.append(row)
        if not p_values:
            for row in rows:
                row["p_value"] = None
        rows.sort(key=lambda row: row["account_id"])
        self.accounts = pa.Table.from_pylist(rows, schema=schema.ACCOUNTS)
        self.curves = pa.Table.from_pylist(curves, schema=schema.CURVES)
        self.cells = pa.Table.from_pylist(cells, schema=schema.CELLS)
        traced = {"atlas_id": "a" * 64, "encoder_id": "e" * 64, "model_id": "m" * 64, "config_id": "c" * 64}
        self.atlas = dataclasses.replace(default_atlas("static"), id="a" * 64)
        self.flags = pa.Table.from_pylist(
            [
                {name: row.get(name) for name in schema.FLAGS.names if name not in traced}
                | traced
                | {"first_visits": self._way(row["prompts"])}
                for row in rows
                if row["verdict"] != "clear"
            ],
            schema=schema.FLAGS,
        )
        used = int(sum(row["prompts"] for row in rows))
        self.run = a_manifest(
            run_id="run-20260131T020000Z-9f3c2b7a5d",
            discoveries=Discoveries(rate=0.1, judged=209, found=6, fewest=2, note=NOTE),
            counts=Counts(
                rows_in=used + 37,
                rows_used=used,
                rows_quarantined=37,
                accounts=len(rows),
                quarantine_reasons={"empty_prompt": 21, "timestamp_in_future": 12, "invalid_utf8": 4},
                buckets=4,
                as_of="2026-01-31T02:00:00+00:00",
            ),
            verdicts={"clear": ordinary},
        )

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `write_report`."""
        return {
            "run": self.run,
            "accounts": self.accounts,
            "curves": self.curves,
            "cells": self.cells,
            "flags": self.flags,
            "atlases": [self.atlas],
        }

    def _way(self, prompts: int) -> list[dict[str, int]]:
        """Make up a way over the map: a new cell every third prompt."""
        cells = self._generator.permutation(1_500)[: -(-prompts // 3)]
        return [
            {"cell": int(cell), "prompt": 3 * place + 1, "prompts": 1 + place % 3}
            for place, cell in enumerate(cells)
        ]

    def _account(self, account_id: str, verdict: str, prompts: int) -> dict[str, Any]:
        generator = self._generator
        a, b = {"clear": (1.3, 9.0), "inconclusive": (2.5, 3.5), "watch": (9.0, 3.5), "review": (30.0, 2.0)}[
            verdict
        ]
        first = datetime(2026, 1, 30, tzinfo=UTC) + timedelta(seconds=int(generator.integers(0, 30000)))
        row: dict[str, Any] = {
            "account_id": account_id,
            "atlas_id": "a" * 64,
            "prompts": prompts,
            "first_seen": first,
            "last_seen": first + timedelta(seconds=int(generator.integers(600, 50000))),
            "end_users": int(generator.integers(0, 5)),
            "sessions": int(generator.integers(0, 40)),
            "score": float(generator.beta(a, b)),
            "p_value": {
                "clear": float(generator.uniform(0.06, 1)),
                "watch": float(generator.uniform(0.011, 0.049)),
                "review": float(generator.uniform(0.0009, 0.0099)),
            }.get(verdict),
            "verdict": verdict,
            "archetype": {"review": "harvesting", "watch": "mixed_product"}.get(verdict, "task_use"),
            "reasons": {
                "review": [
                    "It reached 2.1 times the narrow topics that ordinary traffic of this size reaches.",
                    "It returns to the same fine cells far less often than people do.",
                    "New cells come sooner than its own prompts in random order would give.",
                ],
                "watch": ["It covers topics more evenly than most accounts of this size."],
                "inconclusive": ["31 prompts are too few for a verdict."],
            }.get(verdict, []),
            "reason_details": [a_reason("topics")] if verdict == "review" else [],
            "instructions": int(generator.integers(0, 3)),
        }
        row["wrapped_share"] = 0.5 if row["instructions"] else 0.0
        for name in (*schema.MEASURE_COLUMNS, *schema.BEHAVIOUR_COLUMNS):
            row[name] = None if verdict == "inconclusive" else float(generator.normal(1.0, 0.6))
        return row | self._evidence(row)

    def _evidence(self, row: dict[str, Any]) -> dict[str, float | None]:
        """Made-up evidence beside the score; none for an inconclusive account."""
        names = ("archetype_probability", "q_value", "harvested_share", "score_without_top_cells")
        if row["verdict"] == "inconclusive":
            return dict.fromkeys((*names, "harvested_share_low", "harvested_share_high"))
        share = float(row["score"]) ** 2
        return {
            "archetype_probability": 0.35 + 0.6 * float(row["score"]),
            "q_value": None if row["p_value"] is None else min(1.0, 8 * row["p_value"]),
            "harvested_share": share,
            "harvested_share_low": max(0.0, share - 0.25),
            "harvested_share_high": min(1.0, share + 0.2),
            "score_without_top_cells": None if row["verdict"] == "clear" else 0.8 * float(row["score"]),
        }

    def _draw(
        self, row: dict[str, Any], curves: list[dict[str, Any]], cells: list[dict[str, Any]], *, sweep: float
    ) -> None:
        """Draw the account's cells: a share `sweep` uniformly over a third of the map, the rest ordinary."""
        prompts = row["prompts"]
        fine = SIZES["fine"]
        ground = self._generator.choice(fine, fine // 3, replace=False)
        visited = np.where(
            self._generator.random(prompts) < sweep,
            self._generator.choice(ground, prompts),
            self._generator.choice(fine, prompts, p=self._reference["fine"]),
        )
        grid = np.unique(np.geomspace(1, prompts, 60).round().astype(np.int64))
        for level, size in SIZES.items():
            mine = visited * size // fine
            seen, first, counts = np.unique(mine, return_index=True, return_counts=True)
            distinct = np.array([int((first < n).sum()) for n in grid])
            reference = self._reference[level]
            nulls = {
                "own": _rarefaction(counts, grid),
                "reference": _expected(reference, grid),
                "uniform": _expected(np.full(size, 1 / size), grid),
            }
            row[f"distinct_{level}"] = float(len(seen))
            row[f"new_slope_{level}"] = float((counts == 1).sum() / len(seen))
            row[f"growth_vs_reference_{level}"] = float(np.log(distinct[-1] / nulls["reference"][-1]))
            row[f"growth_vs_uniform_{level}"] = float(distinct[-1] / nulls["uniform"][-1])
            for position, n in enumerate(grid):
                entry = {
                    "account_id": row["account_id"],
                    "level": level,
                    "n": int(n),
                    "distinct": int(distinct[position]),
                }
                for null, mean in nulls.items():
                    spread = 1.96 * np.sqrt(max(mean[position] * (1 - mean[position] / size) * 0.3, 0.0))
                    entry |= {
                        f"{null}_mean": float(mean[position]),
                        f"{null}_low": float(max(mean[position] - spread, 0.0)),
                        f"{null}_high": float(min(mean[position] + spread, n)),
                    }
                curves.append(entry)
            shares = counts / prompts
            excess = shares - reference[seen]
            for position in np.argsort(-excess)[:12]:
                cell = int(seen[position])
                cells.append(
                    {
                        "account_id": row["account_id"],
                        "level": level,
                        "cell": cell,
                        "label": f"{THEMES[cell % len(THEMES)]}, {THEMES[(cell // 7) % len(THEMES)]}",
                        "prompts": int(counts[position]),
                        "share": float(shares[position]),
                        "reference_share": float(reference[cell]),
                    }
                )
