"""The packed forward on all cores of a CPU, or on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch

from coverage_lab.encoders.encoder import Precision
from coverage_lab.encoders.packed.attention import Attention, attention_of
from coverage_lab.encoders.packed.bert import PackedBert
from coverage_lab.encoders.packed.feed import Feed, HostFeed, PinnedFeed
from coverage_lab.encoders.packed.recognise import BertShape
from coverage_lab.encoders.tokens import Tokens
from coverage_lab.measures.ragged import bounded_runs

#: Tokens of a batch where the config names none. On a CPU the activations then stay in its cache.
BATCH_TOKENS = {"cpu": 4_096, "cuda": 65_536}


class PackedRunner:
    """Runs `PackedBert`.

    On a CPU a vector depends on its own text only, to the last bit: not on the other texts, their order or
    the number of threads. Each thread works on batches of its own with single-threaded operators, which needs
    no barrier inside an operator, and no product has a number of rows whose bits differ. On CUDA the library
    chooses products by shape, so another mix of texts may give other last bits.

    Parameters
    ----------
    shape, weights
        Of the model, as `PackedBert` takes them.
    device, precision
        Where and how the layers run.
    batch_tokens
        Most tokens of a batch.
    attention
        Replaces the device's own (`attention_of`).
    compile_with
        As `PackedBert` takes it.
    """

    engine: Literal["packed"] = "packed"

    def __init__(
        self,
        shape: BertShape,
        weights: Mapping[str, torch.Tensor],
        *,
        device: Literal["cpu", "cuda"],
        precision: Precision,
        batch_tokens: int | None = None,
        attention: Attention | None = None,
        compile_with: str | None = None,
    ) -> None:
        dtype: torch.dtype = getattr(torch, precision)
        self.device, self.precision, self.shape = device, precision, shape
        self.own_text_only = device == "cpu"
        self._batch_tokens = batch_tokens or BATCH_TOKENS[device]
        with torch.inference_mode():
            self._model = PackedBert(
                shape,
                weights,
                device=device,
                dtype=dtype,
                attention=attention or attention_of(device, dtype),
                rows=self._batch_tokens,
                compile_with=compile_with,
            )
        self._feed: Feed = HostFeed() if device == "cpu" else PinnedFeed()
        self._workers = torch.get_num_threads() if device == "cpu" else 1
        self._pool = _single_threaded(self._workers) if device == "cpu" else None

    def run(self, tokens: Tokens) -> torch.Tensor:
        """Return unit rows, ``(len(tokens), width)`` float32, of texts that ascend in length; not empty."""
        share = -(-len(tokens.ids) // self._workers)
        batches = [
            tokens.take(np.arange(start, stop))
            for start, stop in bounded_runs(tokens.offsets, min(self._batch_tokens, share))
        ]
        if self._pool is None:
            return torch.cat([self._forward(batch) for batch in batches])
        return torch.cat(list(self._pool.map(self._forward, batches)))

    def _forward(self, batch: Tokens) -> torch.Tensor:
        with torch.inference_mode():
            return self._model(*self._feed.send(batch))


def _single_threaded(workers: int) -> ThreadPoolExecutor:
    """Return a pool of threads, in each of which torch's operators use that thread only."""
    everywhere = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="packed-bert")
    ready = threading.Barrier(workers + 1)

    def limit() -> None:
        torch.set_num_threads(1)
        ready.wait()

    for _ in range(workers):
        pool.submit(limit)
    ready.wait()
    # The number is each thread's own, but the last one that was set is what new threads start with.
    torch.set_num_threads(everywhere)
    return pool
