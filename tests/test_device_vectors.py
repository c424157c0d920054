"""Vectors that stay on the device: the same states as by way of the host, in Triton's interpreter."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from support import interpreter
from support.hostile_texts import TEXTS
from support.traced import HashEncoder, tiny_atlas, traffic, wide_atlas

from coverage_lab.accounts import AccountStates, trace_prompts
from coverage_lab.atlas import default_atlas
from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import Encoder, load_encoder, stays_on_device
from coverage_lab.errors import ConfigError

triton_needed = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None,
    reason="torch or triton is not installed (the `test` extra has both on Linux x86-64)",
)


def _cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


#: Accounts of 1 to 40 prompts, some sent twice, some by two accounts.
WORDS = [*TEXTS, "plant", "a plant", "a green plant", "plant"]
ROWS = [
    (f"account {account:02d}", second, text, None)
    for account, size in enumerate([1, 2, 40, 3, 17, 33])
    for second, text in enumerate(WORDS[account : account + size])
]


def minilm(**options: object) -> Encoder:
    return load_encoder(EncoderConfig.model_validate({"name": "minilm", **options}))


def check(states: AccountStates, host: AccountStates, *, novelty: float) -> None:
    assert states.account_ids == host.account_ids
    for name in ("offsets", "timestamps", "digests", "cells", "structure_sums", "opening_sums"):
        np.testing.assert_array_equal(getattr(states, name), getattr(host, name), err_msg=name)
    np.testing.assert_allclose(states.vector_sums, host.vector_sums, rtol=0, atol=1e-12)
    np.testing.assert_allclose(states.novelty, host.novelty, rtol=0, atol=novelty)
    assert np.isnan(states.novelty[states.offsets[:-1]]).all()


@triton_needed
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-6), ("bfloat16", 1e-3)])
@pytest.mark.parametrize("block", [16, 1 << 17])
def test_states_are_those_of_vectors_on_the_host(interpreted, precision, tolerance, block):
    """Packed MiniLM on torch's CPU device with the attention replaced; the kernels are the GPU's."""
    host = trace_prompts(traffic(ROWS), minilm(device="cpu", precision=precision), wide_atlas())
    states, fetched = interpreted.submit(interpreter.states_on_device, ROWS, precision, block).result()
    assert fetched == 0, "vectors were brought to the host"
    check(states, host, novelty=tolerance)
    if precision == "bfloat16":
        assert not np.array_equal(states.novelty, host.novelty, equal_nan=True), "rows were not rounded"


@triton_needed
def test_no_prompt_gives_no_state(interpreted):
    states, _ = interpreted.submit(interpreter.states_on_device, [], "float32", 16).result()
    assert states.account_ids == ()


@triton_needed
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("cells", "encoder.device: on 'cpu' the kernels give other cells than on the host"),
        ("novelty", "encoder.device: on 'cpu' the kernels give other novelty in float32 than on the host"),
        ("overflow", "vectors: row 3 is not finite"),
        ("memory", "encoder.device: the GPU's memory is full with the vectors of "),
        ("length", "vectors: expected shape (n, 16), got ("),
    ],
)
def test_what_goes_wrong_on_the_device_is_said(interpreted, broken, said):
    message = interpreted.submit(interpreter.broken_device, ROWS, broken).result()
    assert message.startswith(said)
    assert "\n" not in message


def test_only_token_encoders_on_a_gpu_leave_vectors_there():
    assert not stays_on_device(HashEncoder())
    encoder = minilm(device="cpu", precision="float32")
    assert not stays_on_device(encoder)
    encoder.device = "cuda"
    assert stays_on_device(encoder)
    plain = minilm(device="cpu", engine="sentence-transformers")
    plain.device = "cuda"
    assert not stays_on_device(plain)


def test_without_a_gpu_nothing_falls_back(monkeypatch):
    """No device, no Triton: the error says so, and the host is not used in its place."""
    pytest.importorskip("torch")
    from coverage_kernels import backends

    monkeypatch.setattr(backends, "_DRIVER_FILES", ())
    encoder = minilm(device="cpu", precision="float32")
    encoder.device = "cuda"
    with pytest.raises(ConfigError, match=r"encoder\.device: 'cuda' needs our kernels; .*no NVIDIA driver"):
        trace_prompts(traffic(ROWS), encoder, wide_atlas())


@pytest.mark.gpu
@pytest.mark.skipif(not _cuda(), reason="no CUDA device")
def test_a_gpu_gives_the_states_of_its_vectors_on_the_host(monkeypatch):
    from coverage_lab.accounts import trace

    encoder, atlas = minilm(device="cuda"), default_atlas("minilm")
    states = trace_prompts(traffic(ROWS), encoder, atlas)
    monkeypatch.setattr(trace, "stays_on_device", lambda encoder: False)
    check(states, trace_prompts(traffic(ROWS), encoder, atlas), novelty=2e-3)


def test_the_wide_atlas_is_no_larger_than_the_interpreter_likes():
    assert wide_atlas().dim == 384
    assert wide_atlas().sizes == tiny_atlas().sizes
