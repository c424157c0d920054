"""Attention over texts that lie one after the other without padding: the replaceable part of the forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coverage_lab.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class PackedLayout:
    """Where the texts of one batch lie.

    Attributes
    ----------
    lengths : (n,) int64
        Tokens of each text, on the host, ascending.
    starts : (n + 1,) int32
        Where each text starts, and the end of the last, on the model's device.
    longest : int
        Tokens of the longest.
    """

    lengths: NDArray[np.int64]
    starts: torch.Tensor
    longest: int


#: Queries, keys and values in one tensor, ``(tokens, 3, heads, head_dim)``, to the mixed values,
#: ``(tokens, heads, head_dim)``: softmax(q kᵀ / √head_dim) v within each text.
Attention = Callable[["torch.Tensor", PackedLayout], "torch.Tensor"]


def grouped_attention(qkv: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
    """Run scaled-dot-product attention once for each length: texts of one length need no padding.

    Works on every device and in every precision. Tokens beyond the last text, if any, get zeros.
    """
    from torch.nn.functional import scaled_dot_product_attention

    heads, head_dim = qkv.shape[2:]
    mixed = qkv.new_zeros((len(qkv), heads, head_dim))
    start = 0
    for length, texts in zip(*np.unique(layout.lengths, return_counts=True), strict=True):
        stop = start + int(length) * int(texts)
        query, key, value = (
            qkv[start:stop].view(int(texts), int(length), 3, heads, head_dim).permute(2, 0, 3, 1, 4)
        )
        answer = scaled_dot_product_attention(query, key, value)
        mixed[start:stop].view(int(texts), int(length), heads, head_dim).copy_(answer.transpose(1, 2))
        start = stop
    return mixed


def varlen_attention(qkv: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
    """Run torch's variable-length attention (FlashAttention) over all texts at once; CUDA, half precision."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = qkv.unbind(1)
    starts, longest = layout.starts, layout.longest
    mixed = varlen_attn(query, key, value, starts, starts, longest, longest)
    assert not isinstance(mixed, tuple)  # it is one only where more than the values is asked for
    return mixed


def attention_of(device: str, dtype: torch.dtype) -> Attention:
    """Return the attention of that device: `varlen_attention` on CUDA, `grouped_attention` on a CPU.

    Raises
    ------
    ConfigError
        float32 on CUDA, which FlashAttention has not, or a torch without variable-length attention.
    """
    import torch

    if device != "cuda":
        return grouped_attention
    if dtype == torch.float32:
        raise ConfigError(
            "encoder.engine: 'packed' on CUDA needs encoder.precision 'bfloat16' or 'float16', got 'float32'"
        )
    try:
        import torch.nn.attention.varlen
    except ImportError as error:
        raise ConfigError(
            f"encoder.engine: 'packed' on CUDA needs torch.nn.attention.varlen (torch 2.10 or newer), "
            f"got torch {torch.__version__}"
        ) from error
    return varlen_attention
