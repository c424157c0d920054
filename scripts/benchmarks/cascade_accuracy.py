"""What is lost by judging with `static` first, and with `minilm` only whom `static` can't clear.

    scripts/bench cascade-accuracy STATIC MINILM --out accuracy.jsonl

STATIC and MINILM are finished `coverage-lab evaluate` folders of the same accounts. At each size and each
share e of escalated innocent accounts: those whose static score lies over the (1 − e) quantile of innocent
accounts get MiniLM's score and rank above the others. AUROC (every corpus counts the same on both sides) and
the share of pure harvests found at 1% false positives, of both encoders alone, of the cascade (no suffix), of
the cascade ranked by the p-value that its tables report (`by_p`), and of the cascade whose second stage
averages both log-odds (`mean`; only to see what it would be worth). `auroc_loss` is relative to MiniLM alone;
less than 0 is a gain. `speedup` is what the shares and the rates measured by `cascade-speed` give, with
harvests as `--prevalence` of the traffic:

    1 / (share of prompts escalated + seconds a prompt of the static run / those of the MiniLM run)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray

from benchmarks.options import OutOption
from benchmarks.rows import Row, write
from coverage_lab.config import CascadeConfig
from coverage_lab.detect.fitting import even_weights
from coverage_lab.evaluate import metrics
from coverage_lab.evaluate.scored_accounts import BENIGN_KINDS, PURE_RUNGS

Floats = NDArray[np.float64]

SIZES = (250, 1_000)
SHARES = tuple(sorted({CascadeConfig().escalate_p, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5}))
ONE_PERCENT = 0.01
#: Above every log-odds.
FAR = 1e6
LOSS = 0.01
SPEEDUP = 50
SAME = ("kind", "rung", "prompts", "corpora", "fold", "trajectory")


@dataclass(frozen=True, eq=False)
class Accounts:
    """Innocent and purely harvesting accounts of one size, with the log-odds of both encoders."""

    static: Floats
    minilm: Floats
    innocent: NDArray[np.bool_]
    corpus: NDArray[np.str_]

    def figures(self, score: Floats) -> tuple[float, float]:
        """Return AUROC, and the share of harvests found at 1% false positives."""
        harvests, innocent = score[~self.innocent], score[self.innocent]
        weights = even_weights(self.corpus[~self.innocent])
        area = metrics.auroc(
            harvests,
            innocent,
            positive_weights=weights,
            negative_weights=even_weights(self.corpus[self.innocent]),
        )
        threshold = metrics.threshold_at(innocent, fpr=ONE_PERCENT)
        found = metrics.flagged_share(harvests, threshold, weights=weights)
        if area is None or found is None:
            raise SystemExit("expected harvests and 100 innocent accounts or more of each size")
        return area, found

    def p_value(self, score: Floats) -> Floats:
        """Return the conformal p-value against the innocent accounts."""
        innocent = np.sort(score[self.innocent])
        over = innocent.size - np.searchsorted(innocent, score, side="left")
        # An innocent account is not compared with itself.
        return (1 + over - self.innocent) / (innocent.size + 1 - self.innocent)


def accounts_of(static: pa.Table, minilm: pa.Table, size: int) -> Accounts:
    """Return the innocent and the purely harvesting accounts of one size."""
    for name in SAME:
        if not static[name].equals(minilm[name]):
            raise SystemExit(f"STATIC and MINILM: expected the same accounts, column '{name}' differs")
    kind, rung = (np.array(static[name].to_pylist()) for name in ("kind", "rung"))
    innocent, pure = np.isin(kind, BENIGN_KINDS), np.isin(rung, PURE_RUNGS)
    chosen = (innocent | pure) & (static["prompts"].to_numpy() == size)
    corpus = np.array([names[0] for names in static["corpora"].to_pylist()])
    return Accounts(
        static["coverage_lab"].to_numpy()[chosen],
        minilm["coverage_lab"].to_numpy()[chosen],
        innocent[chosen],
        corpus[chosen],
    )


def accuracy_rows(folders: tuple[Path, Path], rates: tuple[float, float], prevalence: float) -> Iterator[Row]:
    """Yield a row for each size of accounts and share of escalated ones."""
    static_rate, minilm_rate = rates
    tables = [pq.read_table(folder / "accounts.parquet") for folder in folders]
    for size in SIZES:
        accounts = accounts_of(tables[0], tables[1], size)
        alone = {name: accounts.figures(getattr(accounts, name)) for name in ("static", "minilm")}
        for share in SHARES:
            threshold = metrics.threshold_at(accounts.static[accounts.innocent], fpr=share)
            raised = accounts.static > (np.inf if threshold is None else threshold)
            both = (accounts.static + accounts.minilm) / 2
            p = np.where(raised, accounts.p_value(accounts.minilm), accounts.p_value(accounts.static))
            area, found = accounts.figures(np.where(raised, FAR + accounts.minilm, accounts.static))
            by_p, mean = accounts.figures(-p), accounts.figures(np.where(raised, FAR + both, accounts.static))
            harvests = float(
                even_weights(accounts.corpus[~accounts.innocent])[raised[~accounts.innocent]].sum()
            )
            innocents = float(raised[accounts.innocent].mean())
            escalates = (1 - prevalence) * innocents + prevalence * harvests
            speedup = 1 / (escalates + minilm_rate / static_rate)
            loss = 1 - area / alone["minilm"][0]
            yield {
                "op": "cascade, accuracy",
                "case": f"accounts of {size}, {share:g} escalated",
                "baseline": "minilm alone",
                "prompts_an_account": size,
                "escalate_p": share,
                "innocent": int(accounts.innocent.sum()),
                "harvests": int((~accounts.innocent).sum()),
                "escalated_innocent": round(innocents, 4),
                "escalated_harvests": round(harvests, 4),
                "escalated_prompts": round(escalates, 4),
                "prevalence": prevalence,
                **{f"auroc_{name}": round(figures[0], 4) for name, figures in alone.items()},
                "auroc": round(area, 4),
                "auroc_by_p": round(by_p[0], 4),
                "auroc_mean": round(mean[0], 4),
                "auroc_loss": round(loss, 4),
                "auroc_loss_by_p": round(1 - by_p[0] / alone["minilm"][0], 4),
                "auroc_loss_to_static": round(1 - area / alone["static"][0], 4),
                **{f"found_{name}": round(figures[1], 4) for name, figures in alone.items()},
                "found": round(found, 4),
                "found_by_p": round(by_p[1], 4),
                "found_mean": round(mean[1], 4),
                "rates": list(rates),
                "speedup": round(speedup, 1),
                "target": f"auroc_loss <= {LOSS} and speedup >= {SPEEDUP}",
                "target_met": loss <= LOSS and speedup >= SPEEDUP,
            }


def benchmark(
    static: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="OUT of `coverage-lab evaluate --encoder static`."),
    ],
    minilm: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="The same with `--encoder minilm`.")
    ],
    static_rate: Annotated[float, typer.Option(help="Prompts a second, of `cascade-speed`.")] = 15_600.0,
    minilm_rate: Annotated[float, typer.Option(help="Prompts a second, of `cascade-speed`.")] = 203.0,
    prevalence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of prompts that harvests send.")
    ] = 0.0,
    out: OutOption = None,
) -> None:
    """Compare the cascade with both encoders alone."""
    rows = accuracy_rows((static, minilm), (static_rate, minilm_rate), prevalence)
    write("cascade-accuracy", rows, out=out)
