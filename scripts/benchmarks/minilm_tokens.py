"""Token ids to vectors on the device: random ids, so that none are equal, with the lengths of the prompts.

    scripts/bench minilm-tokens --corpora CORPORA --device cuda
    scripts/bench minilm-tokens --small

`mfu`, the utilization of the device, is the model's operations over time and peak,

    layers (2 (4 d² + 2 d f) Σ n + 4 d Σ n²) / (seconds · peak),

for texts of n tokens, width d and feed-forward width f; padding and softmax count nothing. The peak is
`--peak-tflops`, or that of a large bfloat16 matrix product as measured here. A row is written only if the
vectors agree with those of the library's model in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from benchmarks.minilm import TOLERANCE, library, ours, prompts_of, set_threads, worst
from benchmarks.minilm_text import MANY, SMALL, PromptsOption
from benchmarks.options import (
    CorporaOption,
    DeviceChoice,
    DeviceOption,
    OutOption,
    Precision,
    PrecisionOption,
    RepeatsOption,
    SeedOption,
    SmallOption,
    ThreadsOption,
)
from benchmarks.registry import Device
from benchmarks.rows import Case, Row, Target, against, bf16_rate, chosen_device, timed_row, write
from coverage_lab.encoders.tokens import Tokens

#: Texts whose tokens are encoded, by device, and with `--small`.
TEXTS = {"cpu": 2_000, "cuda": 200_000}
FEW = 50


def random_tokens(lengths: NDArray[np.int64], seed: int) -> Tokens:
    """Return tokens of those lengths, begun and ended as BERT's are."""
    draw = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = draw.integers(1_000, 30_522, size=int(offsets[-1]), dtype=np.int32)
    ids[offsets[:-1]], ids[offsets[1:] - 1] = 101, 102
    return Tokens(ids, offsets)


def token_rows(
    prompts: list[str],
    texts: int,
    *,
    device: Device,
    precision: str,
    peak: float | None,
    repeats: int,
    seed: int,
    small: bool,
) -> Iterator[Row]:
    """Yield ours from given tokens against sentence-transformers' model from given tokens."""
    packed = ours(device, precision)
    lengths = np.resize(packed.tokenize(prompts).lengths, texts)
    lengths = np.maximum(lengths, 3)
    tokens = random_tokens(lengths, seed)
    sample = tokens.take(np.arange(min(texts, 20_000 if device == "cuda" else 500)))
    half = torch.float16 if device == "cuda" else torch.float32
    model, exact = library(device, half), library(device, torch.float32)

    def padded(network: SentenceTransformer, given: Tokens) -> torch.Tensor:
        """The library's modules on its own kind of batches: sorted by length, 32 texts."""
        order = np.argsort(-given.lengths, kind="stable")
        made = []
        with torch.inference_mode():
            for start in range(0, len(order), 32):
                batch = given.take(order[start : start + 32])
                mask = torch.from_numpy(np.arange(batch.lengths.max()) < batch.lengths[:, None])
                ids = torch.zeros(mask.shape, dtype=torch.int64)
                ids[mask] = torch.from_numpy(batch.ids.astype(np.int64))
                features = {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}
                made.append(network(features)["sentence_embedding"].float())
        return torch.cat(made)[torch.from_numpy(np.argsort(order)).to(device)]

    if peak is None and device == "cuda":
        peak = bf16_rate(repeats)
    flops = packed.shape.flops(int(lengths.sum()), int((lengths**2).sum()))
    made = timed_row(
        Case(
            op="encode_tensor",
            case="tokens given",
            shape={"dtype": precision, "tokens": int(lengths.sum())},
            rows=texts,
            call=lambda: packed.encode_tensor(tokens),
            baseline=lambda: padded(model, sample),
            baseline_name=f"sentence-transformers {str(half).removeprefix('torch.')}, tokens given",
            gap=lambda: worst(
                packed.encode_tensor(sample).cpu().numpy(), padded(exact, sample).cpu().numpy()
            ),
            tolerance=TOLERANCE[precision],
            flops=flops,
            baseline_rows=len(sample),
        ),
        device,
        repeats,
    )
    seconds = made["median_s"]
    assert isinstance(seconds, float)
    made["tokens_per_s"] = round(float(lengths.sum()) / seconds)
    made["peak_tflops"] = peak
    made["mfu"] = None if peak is None else round(flops / seconds / 1e12 / peak, 4)
    for target in (Target("tokens_per_s", 15e6), Target("speedup", 3), Target("mfu", 0.4)):
        on_cuda = device == "cuda" and not small
        yield made | (against(target, made) if on_cuda else against(None, made))
        if not on_cuda:
            return


def benchmark(
    corpora: CorporaOption = None,
    prompts: PromptsOption = None,
    texts: Annotated[
        int | None,
        typer.Option("--texts", min=1, help="2,000 on a CPU and 200,000 on CUDA when not given."),
    ] = None,
    peak: Annotated[
        float | None, typer.Option("--peak-tflops", help="Of the device; measured on CUDA when not given.")
    ] = None,
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
    small: SmallOption = False,
    device: DeviceOption = DeviceChoice.auto,
    repeats: RepeatsOption = 9,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the model of the encoder."""
    where = chosen_device("minilm-tokens", device)
    used = set_threads(threads)
    rows = token_rows(
        prompts_of(corpora, prompts or (SMALL if small else MANY), seed),
        texts or (FEW if small else TEXTS[where]),
        device=where,
        precision=ours(where, precision).precision,
        peak=peak,
        repeats=1 if small else repeats,
        seed=seed,
        small=small,
    )
    write("minilm-tokens", ({"threads": used, **row} for row in rows), out=out, device=where)
