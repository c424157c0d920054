"""What the page says of each flagged account: order, percentiles, cells and measures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coverage_lab.report import words
from coverage_lab.schema import (
    ACCOUNT_MEASURES,
    BEHAVIOUR,
    BEHAVIOUR_COLUMNS,
    EVIDENCE_WORDS,
    LEVEL_MEASURES,
    LEVELS,
    MEASURE_COLUMNS,
    MEASURES,
    Measure,
    written,
)
from coverage_lab.untrusted.shell import shell_word
from coverage_lab.untrusted.text import JOINERS, shortened, visible

_TOLD = {**MEASURES, **BEHAVIOUR}

#: Cells shown a level; cells.parquet holds the rest.
CELLS_SHOWN = 8


@dataclass(frozen=True)
class Value:
    """A measure of one account, as it is written for people; None where it is not defined."""

    shown: str | None
    percentile: float | None  # 0..100 among the other accounts of the run


@dataclass(frozen=True)
class MeasureRow:
    """One measure in words, with a value a level (or only one)."""

    title: str
    reading: str
    definition: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class EvidenceRow:
    """One kind of evidence that moved the score; `percentile` is among ordinary accounts of its size."""

    title: str
    sign: str
    effect: str
    points: str
    percentile: float


@dataclass(frozen=True)
class CellRow:
    """A cell that the account stands out in. Shares are 0..1; bars are 0..100 of the widest."""

    label: str
    cell: int
    prompts: int
    share: float
    reference_share: float
    share_bar: float
    reference_bar: float

    @property
    def times(self) -> float | None:
        """How many times ordinary traffic's share; None where ordinary traffic never goes."""
        return self.share / self.reference_share if self.reference_share > 0 else None


@dataclass(frozen=True)
class CellTable:
    """The cells of one level, and how many more there are."""

    level: str
    rows: tuple[CellRow, ...]
    left_out: int


@dataclass(frozen=True)
class FlaggedAccount:
    """One flagged account as the page shows it; every text is already visible."""

    account_id: str
    atlas_id: str
    anchor: str
    name: str
    verdict: str
    verdict_rank: int
    archetype: str
    archetype_probability: float | None
    prompts: int
    score: float
    p_value: float | None
    q_value: float | None
    harvested_share: float | None
    harvested_range: str
    reasons: tuple[str, ...]
    moved: tuple[EvidenceRow, ...]
    evidence: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    score_percentile: float | None
    level_measures: tuple[MeasureRow, ...]
    account_measures: tuple[MeasureRow, ...]
    behaviour: tuple[MeasureRow, ...]
    cells: tuple[CellTable, ...]
    curve_levels: tuple[str, ...]
    on_map: bool
    command: str


def explain_command(account_id: str) -> str:
    """The command line that explains one account of a run."""
    word = shell_word(account_id)
    if account_id.startswith("-"):
        return f"coverage-lab explain --run OUTPUT -- {word}"
    return f"coverage-lab explain {word} --run OUTPUT"


def anchor_of(account_id: str) -> str:
    """Fragment of an account's section: the same in every report, and safe in a URL."""
    return f"account-{hashlib.sha256(account_id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def flag_order(row: Mapping[str, Any]) -> tuple[int, bool, float, float, str]:
    """Sort key: review, watch, then the rest; the smallest p first, unknown p last, then the score."""
    p_value = defined(row["p_value"])
    return (
        words.rank_of(row["verdict"]),
        p_value is None,
        p_value or 0.0,
        -row["score"] if row["score"] is not None else math.inf,
        row["account_id"],
    )


def defined(value: float | None) -> float | None:
    """None for null, NaN and infinities."""
    return value if value is not None and math.isfinite(value) else None


class Percentiles:
    """Where values lie among those of all accounts of the run that were judged on one atlas.

    The accounts may be too many to be held, so they are counted as they come, and what is going to be asked
    for is said before.

    Parameters
    ----------
    shown : sequence of mappings
        Rows whose values of the score, the measures and the behaviour will be asked for.
    """

    def __init__(self, shown: Sequence[Mapping[str, Any]]) -> None:
        self._asked: dict[str, NDArray[np.float64]] = {}
        for name in ("score", *MEASURE_COLUMNS, *BEHAVIOUR_COLUMNS):
            values = [row[name] for row in shown if row.get(name) is not None]
            self._asked[name] = np.unique(np.array(values, np.float64))
        # How many accounts' values lie below each value, how many not above it, and how many there are.
        self._below = {name: np.zeros(len(values), np.int64) for name, values in self._asked.items()}
        self._up_to = {name: np.zeros(len(values), np.int64) for name, values in self._asked.items()}
        self._total = dict.fromkeys(self._asked, 0)

    def count(self, accounts: pa.RecordBatch) -> None:
        """Take in some of the accounts: columns `score`, the measures and the behaviour."""
        for name, asked in self._asked.items():
            values = accounts[name].to_numpy(zero_copy_only=False).astype(np.float64)
            values = values[np.isfinite(values)]
            self._total[name] += len(values)
            above = np.searchsorted(asked, values, side="right")  # the first that is larger
            from_on = np.searchsorted(asked, values, side="left")  # the first that is as large
            self._below[name] += np.cumsum(np.bincount(above, minlength=len(asked) + 1))[:-1]
            self._up_to[name] += np.cumsum(np.bincount(from_on, minlength=len(asked) + 1))[:-1]

    def of(self, name: str, value: float | None) -> float | None:
        """Percent of the other accounts with a smaller value, ties counting half.

        100 · (#{x < v} + (#{x = v} − 1)/2) / (N − 1) over the N accounts that have the measure,
        the account itself among them. None where `value` is None or N < 2.
        """
        total = self._total[name]
        if value is None or total < 2:
            return None
        place = np.searchsorted(self._asked[name], value)
        less = int(self._below[name][place])
        equal = int(self._up_to[name][place]) - less
        return 100.0 * (less + max(equal - 1, 0) / 2) / (total - 1)


def flagged_account(
    flag: Mapping[str, Any],
    account: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    *,
    percentiles: Percentiles,
    curve_levels: Sequence[str],
    on_map: bool,
) -> FlaggedAccount:
    """Gather what the page shows of one row of `schema.FLAGS` and its row of `schema.ACCOUNTS`."""

    def value(column: str) -> Value:
        number = defined(account[column])
        shown = None if number is None else written(number, _TOLD[column].format)
        return Value(shown, percentiles.of(column, number))

    account_id = flag["account_id"]
    return FlaggedAccount(
        account_id=account_id,
        atlas_id=visible(account["atlas_id"]),
        anchor=anchor_of(account_id),
        name=shortened(visible(account_id), 80),
        verdict=visible(flag["verdict"]),
        verdict_rank=words.rank_of(flag["verdict"]),
        archetype=words.ARCHETYPES.get(flag["archetype"], visible(flag["archetype"])),
        archetype_probability=defined(flag["archetype_probability"]),
        prompts=flag["prompts"],
        score=flag["score"],
        p_value=defined(flag["p_value"]),
        q_value=defined(flag["q_value"]),
        harvested_share=defined(flag["harvested_share"]),
        harvested_range=_range(flag),
        reasons=tuple(visible(reason, keep=JOINERS) for reason in flag["reasons"]),
        moved=moved(account),
        evidence=evidence(flag),
        facts=facts(account),
        score_percentile=percentiles.of("score", flag["score"]),
        level_measures=tuple(
            _measure_row(measure, tuple(value(f"{name}_{level}") for level in LEVELS))
            for name, measure in LEVEL_MEASURES.items()
        ),
        account_measures=tuple(
            _measure_row(measure, (value(name),)) for name, measure in ACCOUNT_MEASURES.items()
        ),
        behaviour=tuple(_measure_row(measure, (value(name),)) for name, measure in BEHAVIOUR.items()),
        cells=tuple(_cell_table(level, [row for row in cells if row["level"] == level]) for level in LEVELS),
        curve_levels=tuple(curve_levels),
        on_map=on_map,
        command=explain_command(account_id),
    )


def moved(account: Mapping[str, Any]) -> tuple[EvidenceRow, ...]:
    """The kinds of evidence that moved the score, of a row of accounts."""
    return tuple(
        EvidenceRow(
            title=EVIDENCE_WORDS.get(reason["evidence"], visible(reason["evidence"])),
            sign="for harvesting" if reason["direction"] == "towards" else "against it",
            effect=visible(reason["effect"]),
            points=f"{reason['points']:+.2f}",
            percentile=reason["percentile"],
        )
        for reason in account["reason_details"]
    )


def _range(row: Mapping[str, Any]) -> str:
    """The interval of the harvested share; empty where it is not known."""
    low, high = defined(row["harvested_share_low"]), defined(row["harvested_share_high"])
    return "" if low is None or high is None else f"{low:.0%} to {high:.0%}"


def _share(share: float | None, interval: str) -> str:
    if share is not None:
        return f"{share:.0%} ({interval})"
    return f"can't be told ({interval})" if interval else words.NOT_KNOWN


def evidence(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a reviewer weighs beside score and p-value, as (term, value), of a row of flags or accounts."""
    probability, q_value = defined(row["archetype_probability"]), defined(row["q_value"])
    archetype = words.ARCHETYPES.get(row["archetype"], visible(row["archetype"]))
    share, without = defined(row["harvested_share"]), defined(row["score_without_top_cells"])
    return (
        (
            words.ARCHETYPE,
            archetype if probability is None else f"{archetype}, probability {probability:.0%}",
        ),
        (words.HARVESTED_SHARE, _share(share, _range(row))),
        (words.Q_VALUE, words.NOT_KNOWN if q_value is None else f"{q_value:.3g}"),
        (
            words.WITHOUT_TOP,
            words.NOT_KNOWN if without is None else f"{without:.3f} instead of {row['score']:.3f}",
        ),
    )


def _measure_row(measure: Measure, values: tuple[Value, ...]) -> MeasureRow:
    """One row for all levels, so that what is counted are just cells."""
    definition = measure.definition.replace("{cells}", "cells")
    return MeasureRow(measure.title, measure.reading, definition[:1].upper() + definition[1:] + ".", values)


def facts(account: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What is known of an account beside what it asks, as (term, value), of a row of accounts."""

    def named(count: int) -> str:
        return f"{count:,}" if count else "none named"

    return (
        ("First prompt", f"{account['first_seen']:%Y-%m-%d %H:%M} UTC"),
        ("Last prompt", f"{account['last_seen']:%Y-%m-%d %H:%M} UTC"),
        ("End users", named(account["end_users"])),
        ("Sessions", named(account["sessions"])),
        ("Instructions", _wrapped(account)),
    )


def _wrapped(account: Mapping[str, Any]) -> str:
    if not account["instructions"]:
        return "none"
    return (
        f"{account['instructions']:,}, around {written(account['wrapped_share'], 'percent')} of its prompts"
    )


def _cell_table(level: str, rows: Sequence[Mapping[str, Any]]) -> CellTable:
    ordered = sorted(rows, key=lambda row: (row["reference_share"] - row["share"], row["cell"]))
    shown = ordered[:CELLS_SHOWN]
    widest = max((max(row["share"], row["reference_share"]) for row in shown), default=0.0) or 1.0
    return CellTable(
        level,
        tuple(
            CellRow(
                label=shortened(visible(row["label"], keep=JOINERS), 120) or "(no label)",
                cell=row["cell"],
                prompts=row["prompts"],
                share=row["share"],
                reference_share=row["reference_share"],
                share_bar=round(100 * row["share"] / widest, 1),
                reference_bar=round(100 * row["reference_share"] / widest, 1),
            )
            for row in shown
        ),
        len(ordered) - len(shown),
    )
