"""The exact tokenizer nanotoken must give the ids that tokenizers gives, for every prompt.

scripts/bench minilm-tokenizers --corpora CORPORA --prompts 1000000
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.minilm import ours, prompts_of, set_threads
from benchmarks.minilm_text import MANY, SMALL, PromptsOption
from benchmarks.options import (
    CorporaOption,
    OutOption,
    RepeatsOption,
    SeedOption,
    SmallOption,
    ThreadsOption,
)
from benchmarks.rows import Row, once, quantiles, write


def tokenizer_rows(prompts: list[str], repeats: int) -> Iterator[Row]:
    """Yield how many prompts nanotoken gives other ids, and the time of both."""
    first, second = (ours("cpu", "float32", tokenizer=name) for name in ("tokenizers", "nanotoken"))
    one, other = first.tokenize(prompts), second.tokenize(prompts)
    differ = sum(a != b for a, b in zip(one.digests(), other.digests(), strict=True))
    base = [once(lambda: first.tokenize(prompts), "cpu") for _ in range(repeats)]
    spent = [once(lambda: second.tokenize(prompts), "cpu") for _ in range(repeats)]
    yield {
        "op": "tokenize",
        "case": "nanotoken",
        "baseline": "tokenizers",
        "rows": len(prompts),
        "tokens": len(one.ids),
        "differing_rows": differ,
        **quantiles(spent),
        "baseline_median_s": round(float(np.median(base)), 6),
        "speedup": float(f"{np.median(base) / np.median(spent):.4g}"),
        "target": "differing_rows <= 0",
        "target_met": differ == 0,
    }


def benchmark(
    corpora: CorporaOption = None,
    prompts: PromptsOption = None,
    threads: ThreadsOption = None,
    small: SmallOption = False,
    repeats: RepeatsOption = 9,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Compare the tokenizers."""
    used = set_threads(threads)
    rows = tokenizer_rows(
        prompts_of(corpora, prompts or (SMALL if small else MANY), seed), 1 if small else repeats
    )
    write("minilm-tokenizers", ({"threads": used, **row} for row in rows), out=out)
