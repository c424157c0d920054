"""Ours on a CPU, in its best precision without a cache, against the best known ways.

    scripts/bench minilm-engines --corpora CORPORA

They are OpenVINO in its fastest precision here and ONNX Runtime with texts sorted by length, and fastembed's
way: ONNX Runtime, 256 texts in the order given, padded to the longest. They get their tokens from our
tokenizer. A row is written only if the vectors agree; all are timed in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from benchmarks.minilm import Encode, openvino_precisions, ours, prompts_of, set_threads
from benchmarks.minilm_text import MANY, SMALL, PromptsOption, against_ways
from benchmarks.options import (
    CorporaOption,
    OutOption,
    Precision,
    PrecisionOption,
    RepeatsOption,
    SeedOption,
    SmallOption,
    ThreadsOption,
)
from benchmarks.rows import write
from coverage_lab.encoders.batches import padded_batches
from coverage_lab.encoders.packaged import packaged_minilm
from coverage_lab.encoders.tokens import Tokens

#: Positions of a padded batch of the OpenVINO and ONNX Runtime baselines, the fastest of 1k to 16k here.
POSITIONS = 2_048
FASTEMBED_BATCH = 256


class _UnitMean(torch.nn.Module):
    """What is exported to ONNX."""

    def __init__(self, bert: torch.nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).to(states.dtype)
        return torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1))


def onnx_session() -> Any:
    """Export MiniLM to a temporary folder and load it in ONNX Runtime with torch's number of threads."""
    bert = AutoModel.from_pretrained(packaged_minilm(), attn_implementation="eager").eval()
    # Some padding, or the trace could leave the mask out.
    ids = torch.ones((2, 8), dtype=torch.int64)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "minilm.onnx"
        torch.onnx.export(
            _UnitMean(bert),
            (ids, ids.tril(6)),
            str(path),
            input_names=["ids", "mask"],
            output_names=["vectors"],
            dynamic_axes={name: {0: "texts", 1: "length"} for name in ("ids", "mask")}
            | {"vectors": {0: "texts"}},
            opset_version=17,
            dynamo=False,
        )
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnx_encode(session: Any, tokenize: Callable[[Sequence[str]], Tokens], *, as_fastembed: bool) -> Encode:
    """Return a way from text to vectors through ONNX Runtime."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = tokenize(texts)
        count = len(tokens)
        if as_fastembed:
            order = np.arange(count)
            cuts = [(at, min(at + FASTEMBED_BATCH, count)) for at in range(0, count, FASTEMBED_BATCH)]
        else:
            order = np.argsort(tokens.lengths, kind="stable")
            cuts = padded_batches(tokens.lengths[order], POSITIONS)
        vectors = np.empty((count, 384), dtype=np.float32)
        for start, stop in cuts:
            batch = tokens.take(order[start:stop])
            mask = np.arange(batch.lengths.max()) < batch.lengths[:, None]
            ids = np.zeros(mask.shape, dtype=np.int64)
            ids[mask] = batch.ids
            (vectors[order[start:stop]],) = session.run(None, {"ids": ids, "mask": mask.astype(np.int64)})
        return vectors

    return encode


def benchmark(
    corpora: CorporaOption = None,
    prompts: PromptsOption = None,
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
    small: SmallOption = False,
    repeats: RepeatsOption = 9,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the encoder against other engines."""
    used = set_threads(threads)
    chosen = ours("cpu", precision).precision
    session, tokenize = onnx_session(), ours("cpu", chosen).tokenize
    best = openvino_precisions()[-1]
    rows = against_ways(
        [
            (f"OpenVINO {best}, sorted", ours("cpu", best, engine="openvino").encode, 1.0),
            ("ONNX Runtime float32, sorted", onnx_encode(session, tokenize, as_fastembed=False), 1.0),
            (
                "fastembed's way: ONNX Runtime float32, 256 as given",
                onnx_encode(session, tokenize, as_fastembed=True),
                1.0,
            ),
        ],
        prompts_of(corpora, prompts or (SMALL if small else MANY), seed),
        device="cpu",
        precision=chosen,
        repeats=1 if small else repeats,
        small=small,
    )
    write("minilm-engines", ({"threads": used, **row} for row in rows), out=out)
