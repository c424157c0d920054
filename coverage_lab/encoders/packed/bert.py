"""The forward of a BERT over texts that lie one after the other: no padding, no wasted products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from coverage_lab.encoders.packed.attention import Attention, PackedLayout
from coverage_lab.encoders.packed.linear import LinearLayer, OneDnnLinear, PlainLinear, one_dnn_has
from coverage_lab.encoders.packed.recognise import BertShape

#: Fewest rows of a matrix product on a CPU. Below 12 rows float32 products take another path, whose last bits
#: differ.
MIN_ROWS = 16


@dataclass(frozen=True, eq=False)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, eq=False)
class _Layer:
    """One transformer layer; queries, keys and values come from one product."""

    qkv: LinearLayer
    output: LinearLayer
    output_norm: _Norm
    up: LinearLayer
    down: LinearLayer
    down_norm: _Norm

    def after_attention(self, mixed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        x = self.output_norm(self.output.plus(mixed, x))
        return self.down_norm(self.down.plus(self.up.gelu(x), x))


class PackedBert:
    """BERT with mean pooling and unit norm, on token ids without padding.

    Vectors are those of ``transformers.BertModel`` followed by the mean over a text's tokens and division by
    its norm. Embedding, pooling and norm are computed in float32, the layers in `dtype`.

    Parameters
    ----------
    shape
        Sizes.
    weights
        State of a ``transformers.BertModel``, by name.
    device, dtype
        Where and in which precision the layers run.
    attention
        `coverage_lab.encoders.packed.attention.grouped_attention` or another of its kind.
    rows
        Tokens of a usual batch, for which oneDNN lays its weights out.
    compile_with
        Backend of `torch.compile` for the part of a layer that follows attention; None compiles nothing.
    """

    def __init__(
        self,
        shape: BertShape,
        weights: Mapping[str, torch.Tensor],
        *,
        device: str,
        dtype: torch.dtype,
        attention: Attention,
        rows: int,
        compile_with: str | None = None,
    ) -> None:
        self.shape = shape
        self._device = device
        self._dtype = dtype
        self._attention = attention
        self._min_rows = MIN_ROWS if device == "cpu" else 0
        one_dnn = device == "cpu" and one_dnn_has(dtype) and compile_with is None

        def linear(*names: str) -> LinearLayer:
            weight, bias = (
                torch.cat([weights[f"{name}.{part}"] for name in names]).to(device, dtype)
                for part in ("weight", "bias")
            )
            return OneDnnLinear(weight, bias, rows=rows) if one_dnn else PlainLinear(weight, bias)

        def norm(name: str, kind: torch.dtype = dtype) -> _Norm:
            weight, bias = (weights[f"{name}.{part}"].to(device, kind) for part in ("weight", "bias"))
            return _Norm(weight, bias, shape.epsilon)

        # All tokens are of type 0, so its row is part of every word's.
        types = weights["embeddings.token_type_embeddings.weight"]
        self._words = (weights["embeddings.word_embeddings.weight"].float() + types[0].float()).to(device)
        self._places = weights["embeddings.position_embeddings.weight"].float().to(device)
        self._norm = norm("embeddings.LayerNorm", torch.float32)
        self._layers = []
        for index in range(shape.layers):
            own = f"encoder.layer.{index}"
            self._layers.append(
                _Layer(
                    qkv=linear(*(f"{own}.attention.self.{name}" for name in ("query", "key", "value"))),
                    output=linear(f"{own}.attention.output.dense"),
                    output_norm=norm(f"{own}.attention.output.LayerNorm"),
                    up=linear(f"{own}.intermediate.dense"),
                    down=linear(f"{own}.output.dense"),
                    down_norm=norm(f"{own}.output.LayerNorm"),
                )
            )
        self._rest = [
            layer.after_attention
            if compile_with is None
            else torch.compile(layer.after_attention, backend=compile_with, dynamic=True)
            for layer in self._layers
        ]

    def __call__(self, ids: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        """Return unit rows, ``(n, width)`` float32, on the model's device.

        Parameters
        ----------
        ids
            Token ids, int32, ``(tokens,)``, on the model's device; texts ascend in length.
        layout
            Where each text lies.
        """
        tokens, shape = len(ids), self.shape
        lengths = torch.from_numpy(layout.lengths).to(self._device, non_blocking=True)
        place = torch.arange(tokens, device=self._device, dtype=torch.int32) - torch.repeat_interleave(
            layout.starts[:-1], lengths, output_size=tokens
        )
        if tokens < self._min_rows:
            spare = self._min_rows - tokens
            ids, place = functional.pad(ids, (0, spare)), functional.pad(place, (0, spare))
        x = self._norm(functional.embedding(ids, self._words) + functional.embedding(place, self._places))
        x = x.to(self._dtype)
        for layer, rest in zip(self._layers, self._rest, strict=True):
            qkv = layer.qkv(x).view(len(x), 3, shape.heads, shape.width // shape.heads)
            x = rest(self._attention(qkv, layout).view(len(x), shape.width), x)
        # `unsafe` leaves out the check that the lengths add up, for which the host would wait for the device.
        means = torch.segment_reduce(x[:tokens].float(), "mean", lengths=lengths, axis=0, unsafe=True)
        return functional.normalize(means)
