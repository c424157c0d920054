"""Which fast path an op takes: a backend asked for by name fails loudly, `auto` logs its choice once."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

logger = logging.getLogger(__name__)

#: Of the ops that are written in Triton.
TritonBackend = Literal["auto", "cpu", "triton"]
#: Of the ops that are written for CuPy.
CupyBackend = Literal["auto", "cpu", "cupy"]

_Gpu = TypeVar("_Gpu", bound=str)

#: Present where an NVIDIA driver is (the second under WSL). Importing torch only to learn that there is no
#: GPU would cost each CPU worker seconds and hundreds of megabytes.
_DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def chosen(backend: str, gpu: _Gpu, *, op: str) -> Literal["cpu"] | _Gpu:
    """Return the backend that an op is to use.

    Parameters
    ----------
    backend : str
        'auto', 'cpu' or the op's GPU backend.
    gpu : str
        Name of the op's GPU backend: 'triton' or 'cupy'.
    op : str
        What the log calls the op.

    Returns
    -------
    str
        'cpu' or `gpu`. 'auto' gives `gpu` where it can run, and logs which and why, once a process and op.

    Raises
    ------
    ValueError
        There is no such backend.
    RuntimeError
        The GPU backend was asked for by name and can't run here.
    """
    if backend == "cpu":
        return "cpu"
    if backend == "auto":
        return gpu if _automatic(gpu, op) else "cpu"
    if backend != gpu:
        raise ValueError(f"backend: expected 'auto', 'cpu' or '{gpu}', got '{backend}'")
    lacking = _lacking(gpu)
    if lacking is not None:
        raise RuntimeError(f"backend: '{gpu}' was asked for, but {lacking}")
    return gpu


@cache
def _automatic(gpu: str, op: str) -> bool:
    lacking = _lacking(gpu)
    if lacking is None:
        logger.info("%s: backend %s", op, gpu)
    else:
        logger.info("%s: backend cpu, since %s", op, lacking)
    return lacking is None


def _lacking(gpu: str) -> str | None:
    """Return why the GPU backend can't run here; None where it can."""
    if gpu == "triton" and os.environ.get("TRITON_INTERPRET") == "1":
        return _missing("torch", "triton")
    if not any(file.exists() for file in _DRIVER_FILES):
        return "there is no NVIDIA driver on this machine"
    missing = _missing("torch", "triton") if gpu == "triton" else _missing("cupy")
    if missing is not None:
        return missing
    if gpu == "triton":
        return None if importlib.import_module("torch").cuda.is_available() else "torch finds no CUDA device"
    return _no_cupy_device(importlib.import_module("cupy"))


def _missing(*libraries: str) -> str | None:
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            return f"{library} is not installed: pip install 'coverage-lab[gpu]'"
    return None


def _no_cupy_device(cupy: ModuleType) -> str | None:
    runtime: Any = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return f"CuPy can't use the CUDA device ({error})"
    return None if count else "CuPy finds no CUDA device"
