"""Scored accounts of a made-up benchmark run: harvests in every disguise, innocent accounts of all kinds."""

from __future__ import annotations

import numpy as np

from coverage_lab.evaluate.results import RunDescription
from coverage_lab.evaluate.scored_accounts import BENIGN_KINDS, ScoredAccounts

HOSTILE = "A_<script>document.title='run'</script><img src=x onerror=alert(1)>&amp;|`b`\u202e\x1b[31m"
SIZES = (100, 1000)
SETTINGS = RunDescription(
    encoder_id="written-here",
    folds=5,
    seed=3,
    corpora={"A": 6, "D": 12},
    versions={"coverage_lab": "0"},
    detector="ours",
    variants=("half",),
    probes=("length",),
)
PLAIN = SETTINGS.model_copy(update={"variants": (), "probes": ()})


class Accounts:
    """Accounts added one by one."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, kind: str, corpus: str, prompts: int, **more: object) -> None:
        plain = {"rung": "", "cluster": corpus, "language": "en", "fold": 0, "campaign": -1, "archetype": ""}
        row = plain | {"kind": kind, "corpora": (corpus,), "prompts": prompts, "trajectory": len(self.rows)}
        self.rows.append(row | more)

    def scored(self, scores: dict[str, np.ndarray]) -> ScoredAccounts:
        column = {name: [row[name] for row in self.rows] for name in self.rows[0]}
        corpora = tuple(column.pop("corpora"))
        return ScoredAccounts(
            **{name: np.array(v) for name, v in column.items()},
            corpora=corpora,
            p_value=np.linspace(0, 1, len(corpora) + 1)[1:],
            scores=scores,
        )


def day(*, innocent: int = 1000, sizes: tuple[int, ...] = SIZES, hostile: bool = True) -> ScoredAccounts:
    """A benchmark's worth: harvests of six corpora in every disguise, innocent accounts of all kinds."""
    accounts = Accounts()
    truth: list[float] = []
    rng = np.random.default_rng(1)
    for trajectory in range(innocent):
        kind = BENIGN_KINDS[trajectory % 5]
        language = ("en", "de", "")[trajectory % 3]
        for size in sizes:
            corpus = f"D_{kind}_{trajectory % 12}"
            accounts.add(kind, corpus, size, language=language, trajectory=trajectory, archetype="task_use")
            truth.append(rng.normal())
    for kind in ("evaluation_run", "red_team"):
        for at in range(10):
            accounts.add(kind, f"B_{kind}_{at % 3}", sizes[-1], archetype=kind if at < 8 else "harvesting")
            truth.append(rng.normal() + 2)
    names = ["A_one", "A_two", "A_three", "A_four", "A_five", HOSTILE if hostile else "A_six"]
    for at, name in enumerate(names):
        for place, rung in enumerate(("in_order", "shuffled", "paced", "mixed_50", "mixed_90")):
            share = {"mixed_50": 0.5, "mixed_90": 0.9}.get(rung, 0.0)
            for size in sizes:
                number = 10_000 + 10 * at + place
                accounts.add("harvest", name, size, rung=rung, trajectory=number, cluster=f"c{at // 2}")
                truth.append((1 + at) * (1 - share) * np.log10(size) / 3 + rng.normal())
        for _ in range(5):
            accounts.add("harvest", name, sizes[0], rung="split_5_topic", campaign=at)
            truth.append(at / 2 + rng.normal())
    hidden = np.array(truth)
    noise = {name: rng.normal(size=hidden.size) for name in ("half", "old", "older", "length")}
    return accounts.scored(
        {
            "ours": hidden,
            "half": hidden + 0.7 * noise["half"],
            "old": hidden + 1.5 * noise["old"],
            "older": noise["older"],
            "length": noise["length"],
        }
    )
