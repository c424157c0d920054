"""Triton kernels without a GPU: a process of Triton's interpreter, and one that compiles for a GPU.

Triton decides at its first import which of the two it is, so each gets a process of its own; the tests send
NumPy arrays there and get NumPy arrays back.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

#: Small, since the interpreter spends its time on operations, not on their size; several tiles still fit in
#: the tests' shapes.
ROWS, KEYS, DEPTH = 32, 32, 64

#: What one block of an H100 may take of shared memory, in bytes.
SHARED_LIMIT = 227 * 1024


@contextmanager
def triton_process(*, interpret: bool, cache: Path) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of one process in which Triton interprets, or compiles."""
    told = {"TRITON_INTERPRET": "1" if interpret else "0", "TRITON_CACHE_DIR": str(cache)}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        pool.submit(_import_triton).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    with pool:
        yield pool


def _import_triton() -> None:
    import torch
    import triton  # noqa: F401

    torch.set_num_threads(1)


def novelty(vectors, offsets, history, history_offsets, dtype: str, blocks=(ROWS, KEYS, DEPTH)):
    """Return novelty, nearest and the matrices as rounded to `dtype`; outputs start as NaN and −99."""
    import torch
    from coverage_kernels.causal_novelty import triton_kernel

    assert triton_kernel.INTERPRETED
    kind = getattr(torch, dtype)
    rows = torch.from_numpy(np.array(vectors)).to(kind)
    past = None if history is None else torch.from_numpy(np.array(history)).to(kind)
    far = torch.full((len(rows),), torch.nan)
    nearest = torch.full((len(rows),), -99)
    triton_kernel.launch(
        rows, offsets, past, history_offsets, triton_kernel.Blocks(*blocks, 4, 2), far, nearest
    )
    return (
        far.numpy(),
        nearest.numpy(),
        rows.double().numpy(),
        None if past is None else past.double().numpy(),
    )


def novelty_from_host(vectors, offsets, history, history_offsets):
    """Return what the public function with the Triton backend returns."""
    from coverage_kernels.causal_novelty import causal_novelty

    return causal_novelty(
        vectors, offsets, history=history, history_offsets=history_offsets, backend="triton"
    )


def top2(vectors, centroids, blocks=(ROWS, KEYS, DEPTH)):
    """Return cell and the two largest products of float16 matrices; outputs start as NaN and −99."""
    import torch
    from coverage_kernels.nearest_cell import triton_kernel

    assert triton_kernel.INTERPRETED
    cell = torch.full((len(vectors),), -99, dtype=torch.int32)
    highest, second = torch.full((len(vectors),), torch.nan), torch.full((len(vectors),), torch.nan)
    rows, keys = torch.from_numpy(np.array(vectors)), torch.from_numpy(np.array(centroids))
    triton_kernel.launch(rows, keys, triton_kernel.Blocks(*blocks, 4, 2), cell, highest, second)
    return cell.numpy(), highest.numpy(), second.numpy()


def nearest(vectors, centroids, dtype: str = "float32", blocks=(ROWS, KEYS, DEPTH)):
    """Return cell, margin and rechecked of the op on tensors of `dtype`, and the vectors as rounded to it."""
    import torch
    from coverage_kernels.nearest_cell import triton_kernel

    rows = torch.from_numpy(np.array(vectors)).to(getattr(torch, dtype))
    found = triton_kernel.nearest_cell(
        rows, torch.from_numpy(np.array(centroids)), blocks=triton_kernel.Blocks(*blocks, 4, 2)
    )
    return *(part.numpy() for part in found), rows.double().numpy()


def nearest_from_host(vectors, centroids, parents):
    """Return what the public function with the Triton backend returns, as a plain tuple."""
    from coverage_kernels.nearest_cell import nearest_cell

    return tuple(nearest_cell(vectors, centroids, parents=parents, backend="triton"))


def on_tensors(vectors, history, centroids, parents, dtype: str):
    """Return both ops' answers for CPU tensors: what they are, their numbers, those of the CPU, tolerance."""
    import torch
    from coverage_kernels.causal_novelty import causal_novelty
    from coverage_kernels.nearest_cell import nearest_cell

    rows = torch.from_numpy(np.array(vectors)).to(getattr(torch, dtype))
    past, cells, levels = (torch.from_numpy(np.array(part)) for part in (history, centroids, parents))
    cut, past_cut = [0, 20, len(rows)], [0, 2, len(past)]
    # History of the same kind as the rows, and of another.
    options = [{"history": kind, "history_offsets": past_cut} for kind in (past.to(rows.dtype), past)]
    pairs = [
        (causal_novelty(rows, cut, **option, backend=backend) for backend in ("triton", "cpu"))
        for option in ({}, *options)
    ]
    pairs.append(
        nearest_cell(rows, cells, parents=levels, backend=backend)[:2] for backend in ("triton", "cpu")
    )
    return [
        (f"{type(one).__name__} on {one.device}", one.numpy(), other.numpy(), gap)
        for (answers, others), gap in zip(pairs, (2e-6, 2e-6, 2e-6, 3e-3), strict=True)
        for one, other in zip(answers, others, strict=True)
    ]


def states_on_device(rows, precision: str, block: int):
    """Trace traffic with vectors that stay on torch's device; also how many went to the host."""
    from unittest.mock import patch

    from coverage_lab.accounts import device_vectors, trace
    from support import traced

    encoder, fetched = _encoder(precision), []
    with (
        patch.object(trace, "stays_on_device", lambda encoder: True),
        patch.object(device_vectors, "BLOCK", block),
        patch.object(encoder, "encode", fetched.append),
    ):
        states = trace.trace_prompts(traced.traffic(rows), encoder, traced.wide_atlas())
    return states, len(fetched)


def broken_device(rows, broken: str) -> str:
    """Return what tracing says on a device that is broken somehow."""
    from unittest.mock import patch

    import torch
    from coverage_kernels.causal_novelty import triton_kernel as novelty_kernel
    from coverage_kernels.nearest_cell import triton_kernel as cell_kernel

    from coverage_lab.accounts import device_vectors, trace
    from coverage_lab.errors import CoverageLabError
    from support import traced

    encoder, atlas = _encoder("float32"), traced.tiny_atlas() if broken == "length" else traced.wide_atlas()
    windows = encoder.encode_windows

    def spoilt(texts):
        for span, window in windows(texts):
            if broken == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory")
            if broken == "overflow":
                window = window.clone()
                window[3] = torch.nan
            yield span, window

    def off_by_one(rows, centroids):
        cell, margin, rechecked = cells(rows, centroids)
        return cell.roll(1), margin, rechecked

    def too_far(*given, **options):
        far, nearest = novelty(*given, **options)
        return far + 1e-3, nearest

    cells, novelty = cell_kernel.nearest_cell, novelty_kernel.causal_novelty
    device_vectors._centroids.cache_clear()
    with (
        patch.object(trace, "stays_on_device", lambda encoder: True),
        patch.object(encoder, "encode_windows", spoilt),
        patch.object(cell_kernel, "nearest_cell", off_by_one if broken == "cells" else cells),
        patch.object(novelty_kernel, "causal_novelty", too_far if broken == "novelty" else novelty),
    ):
        try:
            trace.trace_prompts(traced.traffic(rows), encoder, atlas)
        except CoverageLabError as error:
            return str(error)
        finally:
            device_vectors._centroids.cache_clear()
    return "nothing"


def _encoder(precision: str):
    from coverage_lab.config import EncoderConfig
    from coverage_lab.encoders import load_encoder

    options = {"name": "minilm", "device": "cpu", "precision": precision}
    return load_encoder(EncoderConfig.model_validate(options))


def compiled(op: str, dtype: str, capability: int = 90) -> dict[str, object]:
    """Compile an op's kernel with its own tile for a GPU that need not be here."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if op == "novelty":
        import torch
        from coverage_kernels.causal_novelty import triton_kernel

        kernel = triton_kernel.novelty_kernel
        kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
        blocks = triton_kernel.default_blocks(kind)
        constants = {"HISTORY": True, "WIDEN": False}
        integers = ["*tiles", "*starts", "*history_starts", "*history_ends", "*nearest_row"]
        matrices, floats = ["vectors", "history"], ["novelty"]
    else:
        from coverage_kernels.nearest_cell import triton_kernel as top2_module

        kernel, blocks, constants = top2_module.top2_kernel, top2_module.DEFAULT, {}
        integers, matrices, floats = [], ["vectors", "centroids"], ["highest", "second"]
    constants |= {"DIM": 384, "ROWS": blocks.rows, "KEYS": blocks.keys, "DEPTH": blocks.depth}
    types = {name[1:]: "*i64" for name in integers}
    types |= dict.fromkeys(matrices, f"*{dtype}") | dict.fromkeys(floats, "*fp32")
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "*i32" if name == "cell" else "i32") for name in kernel.arg_names}
    aligned = [["tt.divisibility", 16]]
    attributes = {
        (place,): aligned
        for place, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name.endswith("_stride")
    }
    made = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": blocks.warps, "num_stages": blocks.stages},
    )
    return {
        "shared": made.metadata.shared,
        "ttir": made.asm["ttir"],
        "ptx": made.asm["ptx"],
        "bytes": len(made.asm["cubin"]),
    }
