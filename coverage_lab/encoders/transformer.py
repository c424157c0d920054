"""MiniLM, or another sentence-transformers model, through the library of that name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coverage_lab.encoders.packaged import MAX_CHARACTERS, file_sha256, packaged_minilm
from coverage_lab.encoders.unit import unit_rows
from coverage_lab.errors import ConfigError, MissingExtraError

_RECIPE = f"sentence-transformers; first {MAX_CHARACTERS} characters; unit norm in float32"

#: What makes the vectors, of all that a model folder holds. Never a pickle.
_MODEL_FILES = ("*.safetensors", "*config.json", "modules.json", "tokenizer.json", "vocab.txt", "*.model")
_OTHER_RUNTIMES = ("onnx/*", "openvino/*")
_NO_PART_OF_THE_VECTORS = ("data_config.json", "generation_config.json")


class TransformerEncoder:
    """A sentence-transformers model as an `Encoder`.

    A prompt is cut to its first 4,000 characters, then to the model's own window (256 tokens for MiniLM).
    Padding makes a vector depend on its batch in the last bits (1e-6 in float32), so equal calls
    give equal bytes, and the same texts in another order give the same bytes too; another mix of texts
    agrees within that tolerance. `id` names model and recipe, not the precision: bfloat16 and float32
    vectors agree to cosine 0.999, which `atlas.check_encoder` checks on the machine itself.
    """

    def __init__(self, model: Any, *, name: str, identity: str, device: str, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size
        self.name = name
        self.device = device
        self.id = identity
        # Asked of a vector, since the library renamed its method between versions 5 and 6.
        self.dim = int(model.encode(["."], show_progress_bar=False).shape[1])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape ``(len(texts), dim)``."""
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        cut = [text[:MAX_CHARACTERS] for text in texts]
        # The library sorts by length, ties in the order given; a total order makes the batches the same
        # whatever order the texts come in.
        order = sorted(range(len(cut)), key=lambda i: (len(cut[i]), cut[i]))
        raw = self._model.encode(
            [cut[i] for i in order],
            batch_size=self._batch_size,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        vectors = np.empty((len(cut), self.dim), dtype=np.float32)
        vectors[order] = raw
        return unit_rows(vectors)


def load_transformer(
    model: str | None,
    *,
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["float32", "bfloat16", "float16"],
    batch_size: int,
    threads: int | None,
) -> TransformerEncoder:
    """Load the packaged MiniLM (`model` None), a local folder, or a model of the Hugging Face hub.

    A hub model is downloaded where the library may (``HF_HUB_OFFLINE=1`` forbids it). Weights are
    safetensors only and no code of the model's is run.

    Raises
    ------
    ConfigError
        No CUDA for ``device="cuda"``, unknown weights, or a model that can't be loaded.
    MissingExtraError
        torch or sentence-transformers is not installed.
    """
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            "sentence-transformers and torch", "encoders", "the MiniLM encoder"
        ) from error
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise ConfigError("encoder.device: 'cuda' was asked for, but torch finds no CUDA device")
    if threads is not None:
        torch.set_num_threads(threads)
    folder = packaged_minilm() if model is None else _model_folder(model)
    chosen = device if device != "auto" else "cuda" if cuda else "cpu"
    with quiet_transformers():
        try:
            loaded = SentenceTransformer(
                str(folder),
                device=chosen,
                model_kwargs={"dtype": getattr(torch, precision), "use_safetensors": True},
                local_files_only=True,
                trust_remote_code=False,
            )
        except Exception as error:  # whatever the model's files make torch, tokenizers or safetensors raise
            raise ConfigError(_cannot_load(model, error)) from error
    return TransformerEncoder(
        loaded,
        name="minilm" if model is None else Path(model).name,
        identity=_identity(folder),
        device=chosen,
        batch_size=batch_size,
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' loading bars and reports off the terminal inside the block."""
    from transformers.utils import logging as reports

    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()


def _model_folder(model: str) -> Path:
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(
                    model, allow_patterns=list(_MODEL_FILES), ignore_patterns=list(_OTHER_RUNTIMES)
                )
            )
        except Exception as error:  # not a name, not in the cache, no network, no such model
            raise ConfigError(_cannot_load(model, error)) from error
    if not any(folder.rglob("*.safetensors")):
        raise ConfigError(f"encoder.model: '{model}' has no safetensors weights")
    return folder


def _cannot_load(model: str | None, error: Exception) -> str:
    first_line = (str(error).strip().splitlines() or [""])[0]
    which = model or "packaged MiniLM"
    return f"encoder.model: '{which}' can't be loaded ({type(error).__name__}: {first_line:.200})"


def _identity(folder: Path) -> str:
    """Hash the files that make the vectors, not what a version of the library calls them."""
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for pattern in _MODEL_FILES
        for path in folder.rglob(pattern)
        if path.relative_to(folder).parts[0] not in ("onnx", "openvino")
        and path.name not in _NO_PART_OF_THE_VECTORS
    }
    recipe = json.dumps({"files": files, "recipe": _RECIPE}, sort_keys=True)
    return hashlib.sha256(recipe.encode()).hexdigest()
