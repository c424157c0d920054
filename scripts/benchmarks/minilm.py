"""What the benchmarks of the encoder `minilm` share: the prompts, both encoders, the largest gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import load_encoder
from coverage_lab.encoders.packaged import packaged_minilm
from coverage_lab.encoders.token_encoder import TokenEncoder
from coverage_lab.evaluate.corpora import load_corpora

WORDS = ("plant", "river", "proof", "engine", "how", "of", "translate", "harbour", "sort", "unlikely")
#: 1 − cosine of the worst prompt to sentence-transformers in float32.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-3, "float16": 1e-3}

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def prompts_of(corpora: Path | None, count: int, seed: int) -> list[str]:
    """Return prompts of all corpora alike, each corpus as often, or such of our own words."""
    draw = np.random.default_rng(seed)
    if corpora is None:
        lengths = np.minimum(draw.lognormal(3.2, 1.1, count), 400).astype(int) + 1
        return [" ".join(draw.choice(WORDS, length)) for length in lengths]
    found = load_corpora(corpora)
    if count >= sum(len(corpus.prompts) for corpus in found):
        return [prompt for corpus in found for prompt in corpus.prompts]
    each = -(-count // len(found))
    drawn = [
        corpus.prompts[index] for corpus in found for index in draw.integers(len(corpus.prompts), size=each)
    ]
    draw.shuffle(drawn)
    return drawn[:count]


@cache
def ours(device: str, precision: str, *, engine: str = "packed", tokenizer: str = "auto") -> TokenEncoder:
    """Return our encoder without a cache."""
    config = {"name": "minilm", "device": device, "precision": precision, "cache_mb": 0}
    made = load_encoder(EncoderConfig.model_validate({**config, "engine": engine, "tokenizer": tokenizer}))
    assert isinstance(made, TokenEncoder)
    return made


def openvino_precisions() -> tuple[str, ...]:
    """Return what OpenVINO computes in on this processor, the fastest last."""
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("float32", "bfloat16") if "BF16" in able else ("float32",)


@cache
def library(device: str, dtype: torch.dtype) -> SentenceTransformer:
    """Return sentence-transformers' own MiniLM."""
    return SentenceTransformer(
        str(packaged_minilm()), device=device, model_kwargs={"dtype": dtype}, local_files_only=True
    )


def library_encode(model: SentenceTransformer) -> Encode:
    """Return its `encode` with all defaults but the bar."""
    return lambda texts: np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=np.float32)


def worst(vectors: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the largest 1 − cosine."""
    return float(1 - np.einsum("ij,ij->i", vectors, exact, dtype=np.float64).min())


def set_threads(threads: int | None) -> int:
    """Give all ways so many CPU threads, if told, and return how many they have."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()
