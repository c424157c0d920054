"""A recognised BERT through OpenVINO, on Intel's and other CPUs."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import torch

from coverage_lab.encoders.batches import padded_batches
from coverage_lab.encoders.encoder import Precision
from coverage_lab.encoders.packed.recognise import BertShape
from coverage_lab.encoders.tokens import Tokens
from coverage_lab.errors import ConfigError, MissingExtraError

#: Positions of a batch, padding included, where the config names no other number.
BATCH_TOKENS = 2_048

_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class _UnitMean(torch.nn.Module):
    """BERT, mean over the tokens that are no padding, unit norm: what OpenVINO converts."""

    def __init__(self, bert: torch.nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return unit rows."""
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).to(states.dtype)
        return torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1))


class OpenVinoRunner:
    """Runs a BERT in OpenVINO: batches of texts of similar length, padded to the longest.

    As many batches run side by side as OpenVINO finds best for the threads.

    Parameters
    ----------
    shape, bert
        A recognised model.
    precision
        Of the layers; OpenVINO refuses what the processor has not.
    batch_tokens
        Most positions of a batch, padding included.
    threads
        CPU threads.
    """

    engine: Literal["openvino"] = "openvino"
    device: Literal["cpu"] = "cpu"
    own_text_only = False

    def __init__(
        self,
        shape: BertShape,
        bert: torch.nn.Module,
        *,
        precision: Precision,
        batch_tokens: int | None = None,
        threads: int,
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("openvino", "openvino", "encoder.engine = 'openvino'") from error
        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        needed = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}[precision]
        if needed not in able:
            raise ConfigError(
                f"encoder.precision: OpenVINO has no {precision} on this processor, only {', '.join(able)}"
            )
        self.shape, self.precision = shape, precision
        self._batch_tokens = batch_tokens or BATCH_TOKENS
        example = torch.ones((2, 8), dtype=torch.int64)
        # Some padding, or the trace could leave the mask out.
        mask = example.tril(6)
        with torch.no_grad(), warnings.catch_warnings():
            # Of branches that don't depend on the texts.
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(
                _UnitMean(bert.eval()),
                example_input={"ids": example, "mask": mask},
                input=[("ids", [-1, -1], np.int64), ("mask", [-1, -1], np.int64)],
            )
        compiled = core.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self._queue: Any = openvino.AsyncInferQueue(compiled)

    def run(self, tokens: Tokens) -> torch.Tensor:
        """Return unit rows, ``(len(tokens), width)`` float32, of texts that ascend in length; not empty."""
        vectors = np.empty((len(tokens), self.shape.width), dtype=np.float32)

        def keep(request: Any, rows: slice) -> None:
            vectors[rows] = request.get_output_tensor(0).data

        self._queue.set_callback(keep)
        for start, stop in padded_batches(tokens.lengths, self._batch_tokens):
            ids, mask = padded(tokens.take(np.arange(start, stop)))
            self._queue.start_async({"ids": ids, "mask": mask}, slice(start, stop))
        self._queue.wait_all()
        return torch.from_numpy(vectors)


def padded(tokens: Tokens) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return ids and mask, int64 ``(n, longest)``; 0 where there is no token."""
    lengths = tokens.lengths
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = tokens.ids
    return ids, mask.astype(np.int64)
