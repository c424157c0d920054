"""Which engine runs which model, and that each gives what sentence-transformers gives."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import tiny_models
from support.hostile_texts import TEXTS

from coverage_lab.config import EncoderConfig, JobConfig, RayConfig, RunConfig
from coverage_lab.detect.load import resolve_config
from coverage_lab.encoders import load_encoder, resolve_precision, transformer
from coverage_lab.errors import ConfigError, MissingExtraError

#: Within the first 4,000 characters, at which the encoders cut and the library does not.
CUT = [text[:4_000] for text in TEXTS]

KINDS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "plain BERT": ("packed", lambda folder: tiny_models.save(folder, tiny_models.bert())),
    "16 tokens": ("packed", lambda folder: tiny_models.save(folder, tiny_models.bert(), window=16)),
    "epsilon": (
        "packed",
        lambda folder: tiny_models.save(folder, tiny_models.bert(layer_norm_eps=0.5, num_attention_heads=2)),
    ),
    "first token": (
        "sentence-transformers",
        lambda folder: tiny_models.save(folder, tiny_models.bert(), pooling="cls"),
    ),
    "prompt": (
        "sentence-transformers",
        lambda folder: tiny_models.save(folder, tiny_models.bert(), prompt="tell me: "),
    ),
    "not normalized": (
        "sentence-transformers",
        lambda folder: tiny_models.save(folder, tiny_models.bert(), normalize=False),
    ),
    "ReLU": (
        "sentence-transformers",
        lambda folder: tiny_models.save(folder, tiny_models.bert(hidden_act="relu")),
    ),
    "DistilBERT": (
        "sentence-transformers",
        lambda folder: tiny_models.save(folder, tiny_models.distilbert()),
    ),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("models")
    return {kind: make(made / kind.replace(" ", "-")) for kind, (_, make) in KINDS.items()}


def theirs(folder: Path) -> NDArray[np.float32]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(CUT, normalize_embeddings=True, show_progress_bar=False))


def test_the_kinds_differ(folders: dict[str, Path]) -> None:
    """Else the tests below could not tell a pooling or a prompt that is not respected."""
    plain = theirs(folders["plain BERT"])
    for kind in ("16 tokens", "epsilon", "first token", "prompt", "ReLU"):
        assert (theirs(folders[kind]) * plain).sum(axis=1).min() < 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_auto_chooses_and_agrees_with_the_library(kind: str, folders: dict[str, Path]) -> None:
    encoder = load_encoder(EncoderConfig(name="minilm", model=str(folders[kind]), device="cpu"))
    assert encoder.engine == KINDS[kind][0]
    np.testing.assert_allclose(encoder.encode(TEXTS), theirs(folders[kind]), atol=3e-6)


@pytest.mark.parametrize("kind", [kind for kind, (engine, _) in KINDS.items() if engine != "packed"])
@pytest.mark.parametrize("engine", ["packed", "openvino"])
def test_an_engine_by_name_that_cannot_is_an_error(kind: str, engine: str, folders: dict[str, Path]) -> None:
    config = EncoderConfig.model_validate(
        {"name": "minilm", "model": str(folders[kind]), "device": "cpu", "engine": engine}
    )
    with pytest.raises(ConfigError, match=rf"encoder\.engine: '{engine}' can't run") as caught:
        load_encoder(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "engine", ["packed", pytest.param("openvino", marks=pytest.mark.slow), "sentence-transformers"]
)
def test_each_engine_by_name_has_the_same_id_and_vectors(engine: str, folders: dict[str, Path]) -> None:
    folder = folders["plain BERT"]
    config = {"name": "minilm", "model": str(folder), "device": "cpu"}
    encoder = load_encoder(EncoderConfig.model_validate({**config, "engine": engine, "batch_tokens": 128}))
    usual = load_encoder(EncoderConfig.model_validate(config))
    assert (encoder.engine, encoder.name, encoder.dim) == (engine, usual.name, 32)
    assert encoder.id == usual.id
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors, theirs(folder), atol=3e-5)
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], vectors)
    assert encoder.encode([]).shape == (0, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "openvino", "precision": "float16"}, r"encoder\.precision: OpenVINO has no float16"),
        ({"compile": True}, r"encoder\.compile: only the packed engine on CUDA"),
        ({"engine": "sentence-transformers", "tokenizer": "nanotoken"}, r"encoder\.tokenizer"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    options: dict[str, object], message: str, folders: dict[str, Path]
) -> None:
    config = {"name": "minilm", "model": str(folders["plain BERT"]), "device": "cpu", **options}
    with pytest.raises(ConfigError, match=message):
        load_encoder(EncoderConfig.model_validate(config))


def test_openvino_that_is_missing_names_the_extra(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    config = EncoderConfig(name="minilm", model=str(folders["plain BERT"]), device="cpu", engine="openvino")
    with pytest.raises(MissingExtraError, match=r"openvino.*coverage-lab\[openvino\]"):
        load_encoder(config)


@pytest.mark.parametrize(
    ("has", "options", "expected", "in_gpu_actors"),
    [
        (True, {}, "bfloat16", "auto"),
        (False, {}, "float32", "auto"),
        (True, {"precision": "float32"}, "float32", "float32"),
        (True, {"engine": "sentence-transformers"}, "float32", "auto"),
        (True, {"model": "plain BERT"}, "float32", "auto"),
        (False, {"model": "plain BERT", "precision": "bfloat16"}, "bfloat16", "bfloat16"),
    ],
)
def test_precision_by_default_asks_the_processor(
    has: bool,
    options: dict[str, str],
    expected: str,
    in_gpu_actors: str,
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    if "model" in options:
        options = options | {"model": str(folders[options["model"]])}
    config = EncoderConfig.model_validate({"name": "minilm", "device": "cpu", **options})
    assert load_encoder(config).precision == resolve_precision(config) == expected
    run = RunConfig(encoder=config)
    assert resolve_config(run).encoder == config.model_copy(update={"precision": expected})
    # Actors with GPUs ask their own, unless they are kept from it; actors without one are not the driver's.
    with_gpus = RunConfig(
        encoder=config.model_copy(update={"device": "auto"}), job=JobConfig(ray=RayConfig(num_gpus=1.0))
    )
    assert resolve_config(with_gpus, on_ray=True).encoder.precision == in_gpu_actors
    kept_from_it = with_gpus.model_copy(update={"encoder": config})
    assert resolve_config(kept_from_it, on_ray=True).encoder.precision == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("the driver's GPU was asked"))
    assert resolve_config(run, on_ray=True).encoder.precision == expected


@pytest.mark.parametrize(
    ("capability", "varlen", "expected"),
    [((7, 5), True, "float32"), ((8, 0), True, "bfloat16"), ((9, 0), False, "float32")],
)
def test_a_gpu_that_packed_attention_can_not_run_on_keeps_to_float32(
    capability: tuple[int, int], varlen: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: found(name) if varlen or not name.endswith("varlen") else None,
    )
    assert transformer.precision_on("cuda", EncoderConfig(name="minilm")) == expected
