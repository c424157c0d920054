"""The packed MiniLM against sentence-transformers, and what its vectors may depend on."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.hostile_texts import TEXTS

from coverage_lab.atlas import default_atlas
from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import load_encoder
from coverage_lab.encoders.packaged import packaged_minilm
from coverage_lab.encoders.packed.attention import (
    PackedLayout,
    attention_of,
    grouped_attention,
    varlen_attention,
)
from coverage_lab.encoders.packed.bert import PackedBert
from coverage_lab.encoders.packed.recognise import BertShape, recognise
from coverage_lab.encoders.token_encoder import TokenEncoder
from coverage_lab.encoders.tokens import Tokens
from coverage_lab.errors import ConfigError

#: Of every length up to 60 words, beside the hostile ones.
LADDER = [
    " ".join(("plant", "river", "proof", "engine", "how", "of")[(n * k) % 6] for k in range(n))
    for n in range(61)
]
PROMPTS = [*TEXTS, *LADDER]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def library():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(packaged_minilm()), device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def exact(library) -> NDArray[np.float32]:
    return np.asarray(library.encode([text[:4_000] for text in PROMPTS], show_progress_bar=False))


def load(**options: object) -> TokenEncoder:
    made = load_encoder(
        EncoderConfig.model_validate({"name": "minilm", "device": "cpu", "precision": "float32", **options})
    )
    assert isinstance(made, TokenEncoder)
    assert made.engine == "packed"
    return made


@pytest.fixture(scope="module")
def packed() -> TokenEncoder:
    return load(cache_mb=0)


@pytest.fixture(scope="module")
def half() -> TokenEncoder:
    return load(precision="bfloat16", cache_mb=0)


def test_the_id_is_that_of_the_shipped_atlas(packed: TokenEncoder) -> None:
    assert packed.id == default_atlas("minilm").encoder_id


@pytest.mark.parametrize(
    ("name", "mean", "worst"),
    [("packed", 1 - 1e-6, 1 - 1e-5), pytest.param("half", 0.9999, 0.999, marks=pytest.mark.slow)],
)
def test_agrees_with_sentence_transformers(
    name: str, mean: float, worst: float, exact: NDArray[np.float32], request: pytest.FixtureRequest
) -> None:
    vectors = request.getfixturevalue(name).encode(PROMPTS)
    cosines = np.einsum("ij,ij->i", vectors, exact, dtype=np.float64)
    assert cosines.mean() >= mean
    assert cosines.min() >= worst
    atlas = default_atlas("minilm")
    same = (atlas.assign(vectors) == atlas.assign(exact)).mean(axis=0)
    # The benchmark asks this of the corpora; of 81 texts one may lie on a border.
    assert same.min() >= (1.0 if name == "packed" else 0.98)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_vector_depends_on_its_own_text_only(precision: str) -> None:
    """To the last bit: other texts, their order, batches, threads and the cache change nothing."""
    vectors = load(precision=precision, cache_mb=0).encode(PROMPTS)
    small = load(precision=precision, cache_mb=0, batch_tokens=64)
    np.testing.assert_array_equal(np.vstack([small.encode([text]) for text in PROMPTS]), vectors)
    np.testing.assert_array_equal(small.encode(PROMPTS[::-1])[::-1], vectors)
    torch.set_num_threads(3)
    try:
        three = load(precision=precision, batch_tokens=512)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(three.encode(PROMPTS[::2]), vectors[::2])
    np.testing.assert_array_equal(three.encode(PROMPTS), vectors)
    assert three.encoded == len(set(three.tokenize(PROMPTS).digests())) < len(PROMPTS)


def test_equal_ids_are_computed_once(packed: TokenEncoder, exact: NDArray[np.float32]) -> None:
    long = "harbour " * 400
    before = packed.encoded
    vectors = packed.encode([PROMPTS[0], PROMPTS[0].upper(), long, long + "beyond the window", PROMPTS[0]])
    assert packed.encoded - before == 2
    np.testing.assert_array_equal(vectors[[1, 4]], vectors[[0, 0]])
    np.testing.assert_array_equal(vectors[3], vectors[2])
    np.testing.assert_allclose(vectors[0], exact[0], atol=1e-6)


@pytest.mark.slow
def test_the_cache_answers_and_is_bounded() -> None:
    encoder = load(cache_mb=1)
    first = encoder.encode(TEXTS)
    asked = encoder.encoded
    np.testing.assert_array_equal(encoder.encode(TEXTS), first)
    assert encoder.encoded == asked
    none = load(cache_mb=0)
    none.encode(TEXTS)
    none.encode(TEXTS)
    assert none.encoded == 2 * asked


def test_windows_are_in_order_and_leave_tensors(
    packed: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_window", 8)
    whole = packed.encode(PROMPTS)
    windows = list(packed.encode_windows(PROMPTS))
    assert [row for rows, _ in windows for row in rows] == list(range(len(PROMPTS)))
    np.testing.assert_array_equal(torch.cat([window for _, window in windows]).numpy(), whole)
    tensor = packed.encode_tensor(packed.tokenize(PROMPTS))
    assert (tensor.dtype, str(tensor.device)) == (torch.float32, "cpu")
    np.testing.assert_array_equal(tensor.numpy(), whole)
    assert packed.encode_tensor(packed.tokenize([])).shape == (0, 384)


@pytest.mark.parametrize("length", [0, 257])
def test_tokens_that_the_model_cannot_take_are_refused(length: int, packed: TokenEncoder) -> None:
    tokens = Tokens(np.ones(length, dtype=np.int32), np.array([0, length], dtype=np.int64))
    with pytest.raises(ValueError, match="expected 1 to 256 of each text"):
        packed.encode_tensor(tokens)


def test_an_error_while_tokenizing_surfaces_without_text(
    packed: TokenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(texts: object) -> Tokens:
        raise RuntimeError("tokenizer broke")

    monkeypatch.setattr(packed._tokenizer, "tokenize", fail)
    with pytest.raises(RuntimeError, match="tokenizer broke"):
        packed.encode(TEXTS)
    assert not [thread for thread in threading.enumerate() if thread.name == "tokenize-ahead"]


def test_worker_threads_end_with_the_encoder() -> None:
    def alive() -> int:
        return sum(thread.name.startswith("packed-bert") for thread in threading.enumerate())

    before = alive()
    encoder = load()
    encoder.encode(TEXTS[:3])
    assert alive() == before + 1
    del encoder
    gc.collect()
    deadline = time.monotonic() + 10
    while alive() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() == before


@pytest.mark.slow
def test_the_tokenizer_changes_no_vector(packed: TokenEncoder) -> None:
    fast, reference = (load(tokenizer=name, cache_mb=0) for name in ("nanotoken", "tokenizers"))
    assert (fast.tokenizer, reference.tokenizer, packed.tokenizer) == ("nanotoken", "tokenizers", "nanotoken")
    np.testing.assert_array_equal(fast.encode(PROMPTS), reference.encode(PROMPTS))


def _layout(lengths: list[int]) -> PackedLayout:
    starts = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int32)
    return PackedLayout(lengths=np.array(lengths), starts=starts, longest=max(lengths))


def masked_attention(qkv: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
    """All tokens at once in float64, other texts masked: the definition."""
    owner = torch.repeat_interleave(torch.arange(len(layout.lengths)), torch.from_numpy(layout.lengths))
    query, key, value = qkv[: len(owner)].double().permute(1, 2, 0, 3)
    scores = query @ key.transpose(1, 2) / qkv.shape[-1] ** 0.5
    scores = scores.masked_fill(owner[:, None] != owner[None, :], -torch.inf)
    mixed = torch.zeros(qkv.shape[0], *qkv.shape[2:], dtype=torch.float64)
    mixed[: len(owner)] = (scores.softmax(-1) @ value).transpose(0, 1)
    return mixed.to(qkv.dtype)


@pytest.mark.parametrize("lengths", [[1], [1, 1, 2, 7, 7, 7, 31], [63], [5] * 9])
@pytest.mark.parametrize("spare", [0, 3])
def test_grouped_attention_is_attention_within_each_text(lengths: list[int], spare: int) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    qkv = torch.randn(sum(lengths) + spare, 3, 4, 8, generator=generator)
    layout = _layout(lengths)
    torch.testing.assert_close(grouped_attention(qkv, layout), masked_attention(qkv, layout))


@pytest.fixture(scope="module")
def model(library) -> tuple[BertShape, dict[str, torch.Tensor]]:
    shape = recognise(library)
    assert isinstance(shape, BertShape)
    return shape, library[0].auto_model.state_dict()


def _sorted_batch(packed: TokenEncoder) -> tuple[torch.Tensor, PackedLayout, NDArray[np.int64]]:
    tokens = packed.tokenize(PROMPTS[:12])
    order = np.argsort(tokens.lengths, kind="stable")
    batch = tokens.take(order)
    return torch.from_numpy(batch.ids), _layout(batch.lengths.tolist()), order


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("compile_with", [None, "eager"])
def test_the_forward_with_the_attention_replaced(
    dtype: torch.dtype, compile_with: str | None, model, packed: TokenEncoder, exact: NDArray[np.float32]
) -> None:
    """The code that runs on CUDA, its products and torch.compile included; attention is the definition's."""
    ids, layout, order = _sorted_batch(packed)
    forward = PackedBert(
        model[0],
        model[1],
        device="cpu",
        dtype=dtype,
        attention=masked_attention,
        rows=256,
        compile_with=compile_with,
    )
    with torch.inference_mode():
        vectors = forward(ids, layout).numpy()
    assert (vectors * exact[:12][order]).sum(axis=1).min() > (0.99999 if dtype == torch.float32 else 0.999)


def test_varlen_attention_gives_torch_what_it_expects(
    model, packed: TokenEncoder, exact: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CUDA kernel is replaced by the definition, the rest is the path as it runs there."""
    import torch.nn.attention.varlen as varlen

    def on_cpu(query, key, value, starts_q, starts_k, longest_q, longest_k):
        assert starts_q.dtype == starts_k.dtype == torch.int32
        lengths = starts_q.diff()
        assert longest_q == longest_k == int(lengths.max())
        return masked_attention(torch.stack([query, key, value], dim=1), _layout(lengths.tolist()))

    monkeypatch.setattr(varlen, "varlen_attn", on_cpu)
    ids, layout, order = _sorted_batch(packed)
    forward = PackedBert(
        model[0], model[1], device="cpu", dtype=torch.float32, attention=varlen_attention, rows=256
    )
    with torch.inference_mode():
        vectors = forward(ids, layout).numpy()
    np.testing.assert_allclose(vectors, exact[:12][order], atol=1e-6)


def test_float32_on_cuda_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'packed' on CUDA needs"):
        attention_of("cuda", torch.float32)
    assert attention_of("cuda", torch.bfloat16) is varlen_attention
    assert attention_of("cpu", torch.bfloat16) is grouped_attention


def test_model_flops_are_those_that_torch_counts(model, packed: TokenEncoder) -> None:
    """Oracle: torch's FLOP counter on transformers' BERT, one text without padding."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModel

    bert = AutoModel.from_pretrained(packaged_minilm(), attn_implementation="eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        bert(input_ids=torch.ones((1, 50), dtype=torch.int64))
    pooler = 2 * 384 * 384
    assert counter.get_total_flops() - pooler == model[0].flops(50, 50 * 50)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("options", [{}, {"compile": True}, {"precision": "float16"}])
def test_cuda_agrees(options: dict[str, object], exact: NDArray[np.float32]) -> None:
    encoder = load(**{"device": "cuda", "precision": "bfloat16", "batch_tokens": 512, **options})
    vectors = encoder.encode(PROMPTS)
    assert (vectors * exact).sum(axis=1).min() >= 0.999
    np.testing.assert_array_equal(encoder.encode(PROMPTS), vectors)
    assert encoder.encode_tensor(encoder.tokenize(PROMPTS)).device.type == "cuda"
