"""Cosines to sentence-transformers in float32, and the share of prompts in the same cell of the atlas.

    scripts/bench minilm-agreement --corpora CORPORA

On a CPU both engines, packed and OpenVINO, in float32 and, as far as they have it, bfloat16; on CUDA packed
in bfloat16 and float16.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.minilm import library, library_encode, openvino_precisions, ours, prompts_of, set_threads
from benchmarks.minilm_text import MANY, SMALL, PromptsOption
from benchmarks.options import (
    CorporaOption,
    DeviceChoice,
    DeviceOption,
    OutOption,
    SeedOption,
    SmallOption,
    ThreadsOption,
)
from benchmarks.registry import Device
from benchmarks.rows import Row, chosen_device, write
from coverage_lab.atlas import default_atlas
from coverage_lab.encoders.packaged import MAX_CHARACTERS


def agreement_rows(device: Device, prompts: list[str]) -> Iterator[Row]:
    """Yield cosines and same cells of each precision and engine."""
    cut = [prompt[:MAX_CHARACTERS] for prompt in prompts]
    exact = library_encode(library(device, torch.float32))(cut)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    atlas = default_atlas("minilm")
    cells = atlas.assign(exact)
    engines: dict[str, tuple[str, ...]] = {"packed": ("bfloat16", "float16")}
    if device == "cpu":
        engines = {"packed": ("float32", "bfloat16"), "openvino": openvino_precisions()}
    for engine, precisions in engines.items():
        for precision in precisions:
            vectors = ours(device, precision, engine=engine).encode(cut)
            cosines = np.einsum("ij,ij->i", vectors, exact, dtype=np.float64)
            same = (atlas.assign(vectors) == cells).mean(axis=0)
            met = cosines.mean() >= 0.9999 and cosines.min() >= 0.999 and same.min() >= 0.995
            yield {
                "op": "encode",
                "case": f"agreement, {engine}",
                "dtype": precision,
                "rows": len(cut),
                "baseline": "sentence-transformers float32",
                "mean_cosine": round(float(cosines.mean()), 7),
                "worst_cosine": round(float(cosines.min()), 7),
                "same_cell": [round(float(level), 5) for level in same],
                "target": "mean_cosine >= 0.9999, worst_cosine >= 0.999, same_cell >= 0.995",
                "target_met": bool(met),
            }


def benchmark(
    corpora: CorporaOption = None,
    prompts: PromptsOption = None,
    threads: ThreadsOption = None,
    small: SmallOption = False,
    device: DeviceOption = DeviceChoice.auto,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Compare vectors and cells."""
    where = chosen_device("minilm-agreement", device)
    used = set_threads(threads)
    rows = agreement_rows(where, prompts_of(corpora, prompts or (SMALL if small else MANY), seed))
    write("minilm-agreement", ({"threads": used, **row} for row in rows), out=out, device=where)
