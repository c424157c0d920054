"""Batches on their way to the device."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from coverage_lab.encoders.packed.attention import PackedLayout
from coverage_lab.encoders.tokens import Tokens


class Feed(Protocol):
    """Brings one batch to the model's device."""

    def send(self, batch: Tokens) -> tuple[torch.Tensor, PackedLayout]:
        """Return ids and layout; texts of the batch ascend in length."""
        ...


class HostFeed:
    """For a model on the CPU: nothing is copied."""

    def send(self, batch: Tokens) -> tuple[torch.Tensor, PackedLayout]:
        """Return ids and layout."""
        starts = torch.from_numpy(batch.offsets.astype(np.int32))
        return torch.from_numpy(batch.ids), _layout(batch, starts)


class PinnedFeed:
    """For a model on CUDA: two page-locked buffers and a stream of its own.

    While the model runs one batch, the next is copied; a buffer is written again only after its copy is done.
    Starts and ids of a batch go in one copy.
    """

    def __init__(self) -> None:
        stream: Any = torch.cuda.Stream
        self._stream = stream()
        self._buffers = [torch.empty(0, dtype=torch.int32) for _ in range(2)]
        event: Any = torch.cuda.Event
        self._copied = [event() for _ in range(2)]
        self._turn = 0

    def send(self, batch: Tokens) -> tuple[torch.Tensor, PackedLayout]:
        """Return ids and layout, ready on the current stream."""
        starts, total = len(batch.offsets), len(batch.offsets) + len(batch.ids)
        turn, self._turn = self._turn, 1 - self._turn
        self._copied[turn].synchronize()
        if len(self._buffers[turn]) < total:
            self._buffers[turn] = torch.empty(2 * total, dtype=torch.int32, pin_memory=True)
        host = self._buffers[turn][:total].numpy()
        host[:starts], host[starts:] = batch.offsets, batch.ids
        current = torch.cuda.current_stream()
        with torch.cuda.stream(self._stream):
            sent = self._buffers[turn][:total].to("cuda", non_blocking=True)
            self._copied[turn].record(self._stream)
        current.wait_event(self._copied[turn])
        sent.record_stream(current)
        return sent[starts:], _layout(batch, sent[:starts])


def _layout(batch: Tokens, starts: torch.Tensor) -> PackedLayout:
    lengths = batch.lengths
    return PackedLayout(lengths=lengths, starts=starts, longest=int(lengths[-1]))
