"""How many replayed prompts of known banks are found, and how many ordinary prompts are taken for them.

    scripts/bench banks CORPORA --out banks.jsonl

Banks are harvests and benchmarks (kinds A and B). Each is replayed by three accounts: as it is, shuffled,
and edited by rule (a word in the middle dropped, a polite opening, the closing mark gone). `found` is the
share of the replayed prompts that match; `order` is Kendall's τ of the replay. `ordinary` is the share of
ordinary prompts (kinds D and E, other families) that match: its mean over accounts, its 95th percentile and
its largest. The baseline is what exact comparison of the texts finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from benchmarks.options import CorporaArgument, OutOption, SeedOption
from benchmarks.rows import Row, write
from coverage_lab.banks import Banks, build_banks, match_texts
from coverage_lab.banks.match import ENOUGH
from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import Encoder, load_encoder
from coverage_lab.evaluate.corpora import Corpus, load_corpora, thinned
from coverage_lab.evaluate.folds import clusters_of

_OPENINGS = ("Please ", "Can you help me: ", "Hi! ")


def edited(text: str, rng: np.random.Generator) -> str:
    """The same prompt as somebody else might put it, by rule."""
    words = text.split()
    if len(words) > 6:
        words.pop(int(rng.integers(1, len(words) - 1)))
    plain = re.sub(r"[.?!]$", "", " ".join(words))
    return f"{_OPENINGS[int(rng.integers(len(_OPENINGS)))]}{plain[:1].lower()}{plain[1:]}"


def bank_rows(folder: Path, banks: int, prompts: int, thresholds: list[float], seed: int) -> Iterator[Row]:
    """One row a threshold."""
    rng = np.random.default_rng(seed)
    corpora = load_corpora(folder)
    cluster = clusters_of(corpora)
    large = [c for c in corpora if c.kind in "AB" and len(c.prompts) >= prompts]
    chosen = [large[i] for i in sorted(rng.permutation(len(large))[:banks])]
    families = {cluster[c.name] for c in chosen}
    ordinary = {
        c.name: list(thinned(c, rows=100).prompts)
        for c in corpora
        if c.kind in "DE" and cluster[c.name] not in families
    }
    encoder = load_encoder(EncoderConfig(name="static"))
    with TemporaryDirectory() as there:
        known = _indexed(chosen, prompts, Path(there), encoder)
    replays = {}
    for corpus in chosen:
        sent = list(dict.fromkeys(corpus.prompts[:prompts]))[:200]
        replays[f"verbatim {corpus.name}"] = sent
        replays[f"shuffled {corpus.name}"] = [sent[i] for i in rng.permutation(len(sent))]
        replays[f"edited {corpus.name}"] = [edited(text, rng) for text in sent]
    exact = {corpus.name: set(corpus.prompts[:prompts]) for corpus in chosen}
    for threshold in thresholds:
        found = match_texts(replays, known, encoder=encoder, threshold=threshold)
        usual = match_texts(ordinary, known, encoder=encoder, threshold=threshold)
        share = {(row["account_id"], row["bank"]): row for row in found.to_pylist()}
        row: Row = {"op": "banks", "case": f"threshold {threshold:g}", "baseline": "texts that are equal"}
        for way in ("verbatim", "shuffled", "edited"):
            mine = [share.get((f"{way} {c.name}", c.name)) for c in chosen]
            row[f"found_{way}"] = float(np.mean([0 if one is None else one["share"] for one in mine]))
            row[f"order_{way}"] = float(
                np.median([one["order"] for one in mine if one and one["order"] is not None])
            )
            equal = [np.mean([t in exact[c.name] for t in set(replays[f"{way} {c.name}"])]) for c in chosen]
            row[f"baseline_{way}"] = float(np.mean(equal))
        enough = [name for name, sent in ordinary.items() if len(set(sent)) >= ENOUGH]
        matched = {(one["account_id"], one["bank"]): one["share"] for one in usual.to_pylist()}
        per = np.array([matched.get((name, c.name), 0.0) for name in enough for c in chosen])
        row |= {
            "ordinary_mean": float(per.mean()),
            "ordinary_p95": float(np.quantile(per, 0.95)),
            "ordinary_largest": float(per.max()),
            "banks": len(chosen),
            "ordinary_accounts": len(enough),
        }
        yield {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def _indexed(chosen: list[Corpus], prompts: int, folder: Path, encoder: Encoder) -> Banks:
    (folder / "in").mkdir()
    for corpus in chosen:
        table = pa.table({"prompt": pa.array(corpus.prompts[:prompts], pa.large_string())})
        pq.write_table(table, folder / "in" / f"{corpus.name}.parquet")
    return build_banks(folder / "in", folder / "index", encoder=encoder)


def benchmark(
    corpora: CorporaArgument,
    banks: Annotated[int, typer.Option("--banks", min=1, help="Banks, drawn from kinds A and B.")] = 24,
    prompts: Annotated[int, typer.Option("--prompts", min=20, help="Prompts of a bank.")] = 500,
    threshold: Annotated[list[float] | None, typer.Option("--threshold", help="To try; several.")] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Replay banks, and look for their prompts in ordinary traffic."""
    tried = threshold or [0.8, 0.85, 0.9, 0.95]
    write("banks", bank_rows(corpora, banks, prompts, tried, seed), out=out)
