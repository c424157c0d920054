"""MiniLM, or another sentence-transformers model: loading it, and the engine that runs it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders.encoder import Engine, Precision
from coverage_lab.encoders.packaged import MAX_CHARACTERS, file_sha256, packaged_minilm
from coverage_lab.encoders.packed.recognise import BertShape, recognise
from coverage_lab.encoders.tokenizer import limit_tokenizer_threads, load_tokenizer
from coverage_lab.encoders.unit import unit_rows
from coverage_lab.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from coverage_lab.encoders.token_encoder import Runner, TokenEncoder

_log = logging.getLogger(__name__)

_RECIPE = f"sentence-transformers; first {MAX_CHARACTERS} characters; unit norm in float32"

#: What makes the vectors, of all that a model folder holds. Never a pickle.
_MODEL_FILES = ("*.safetensors", "*config.json", "modules.json", "tokenizer.json", "vocab.txt", "*.model")
_OTHER_RUNTIMES = ("onnx/*", "openvino/*")
_NO_PART_OF_THE_VECTORS = ("data_config.json", "generation_config.json")


class TransformerEncoder:
    """Any sentence-transformers model as an `Encoder`, through that library.

    A prompt is cut to its first 4,000 characters, then to the model's own window. The model's default prompt,
    its pooling and what else its modules do are the library's.

    Padding makes a vector depend on its batch in the last bits (1e-6 in float32), so equal calls
    give equal bytes, and the same texts in another order give the same bytes too; another mix of texts
    agrees within that tolerance. `id` names model and recipe, not engine or precision: bfloat16 and float32
    vectors agree to cosine 0.999, which `atlas.check_encoder` checks on the machine itself.
    """

    engine: Engine = "sentence-transformers"

    def __init__(
        self, model: Any, *, name: str, identity: str, device: str, precision: Precision, batch_size: int
    ) -> None:
        self._model = model
        self._batch_size = batch_size
        self.name = name
        self.device = device
        self.precision = precision
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


def load_transformer(config: EncoderConfig, *, threads: int | None) -> TransformerEncoder | TokenEncoder:
    """Load the packaged MiniLM (`config.model` None), a local folder, or a model of the Hugging Face hub.

    A hub model is downloaded where the library may (``HF_HUB_OFFLINE=1`` forbids it). Weights are
    safetensors only and no code of the model's is run.

    Engine ``auto`` is ``packed`` where `recognise` knows the model for one that the packed forward computes
    exactly, and ``sentence-transformers`` elsewhere and for float32 on CUDA, which has no variable-length
    attention.

    Raises
    ------
    ConfigError
        No CUDA for ``device="cuda"``, unknown weights, a model that can't be loaded, or an engine by name
        that can't run the model on that device and in that precision.
    MissingExtraError
        A library that the choice needs is not installed.
    """
    try:
        import torch
        from sentence_transformers import SentenceTransformer  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "sentence-transformers and torch", "transformer", "the MiniLM encoder"
        ) from error
    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise ConfigError("encoder.device: 'cuda' was asked for, but torch finds no CUDA device")
    if threads is not None:
        torch.set_num_threads(threads)
        limit_tokenizer_threads(threads)
    device: Literal["cpu", "cuda"] = "cuda" if cuda and config.device != "cpu" else "cpu"
    precision = precision_on(device, config)
    folder = packaged_minilm() if config.model is None else _model_folder(config.model)
    name = "minilm" if config.model is None else Path(config.model).name
    if not _plain_only(config, device, precision):
        model = _load(config.model, folder, device="cpu", precision="float32")
        shape = recognise(model)
        if isinstance(shape, BertShape):
            runner = _runner(config, model, shape, device=device, precision=precision)
            _log.info("encoder.engine: %s, %s on %s", runner.engine, precision, device)
            from coverage_lab.encoders.token_encoder import TokenEncoder

            return TokenEncoder(
                runner,
                load_tokenizer(
                    config.tokenizer, model.tokenizer.backend_tokenizer.to_str(), window=shape.window
                ),
                name=name,
                identity=_identity(folder),
                cache_bytes=config.cache_mb << 20,
            )
        if config.engine != "auto":
            raise ConfigError(f"encoder.engine: '{config.engine}' can't run '{name}': it has {shape}")
        _log.info("encoder.engine: auto chose sentence-transformers for '%s': it has %s", name, shape)
    if config.tokenizer == "nanotoken":
        raise ConfigError(
            "encoder.tokenizer: the engine sentence-transformers uses the model's own, got 'nanotoken'"
        )
    if config.compile:
        raise ConfigError("encoder.compile: the engine sentence-transformers compiles nothing")
    return TransformerEncoder(
        _load(config.model, folder, device=device, precision=precision),
        name=name,
        identity=_identity(folder),
        device=device,
        precision=precision,
        batch_size=config.batch_size,
    )


def precision_on(device: Literal["cpu", "cuda"], config: EncoderConfig) -> Precision:
    """Return the precision that `config` means on a device.

    ``auto`` is what the device is fast in for the packaged MiniLM, whose atlas was checked in it, and
    float32 for other models, for the engine sentence-transformers, and where the packed engine can't run on
    the GPU.
    """
    if config.precision != "auto":
        return config.precision
    if config.model is not None or config.engine == "sentence-transformers":
        return "float32"
    import torch

    if device == "cuda":
        return "bfloat16" if _has_varlen_attention() else "float32"
    # Every processor with AMX has AVX512-BF16 too.
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def _has_varlen_attention() -> bool:
    """Whether the GPU and torch have what the packed engine needs: FlashAttention runs from Ampere on."""
    import torch

    found = importlib.util.find_spec("torch.nn.attention.varlen") is not None
    return found and torch.cuda.get_device_capability() >= (8, 0)


def _plain_only(config: EncoderConfig, device: Literal["cpu", "cuda"], precision: Precision) -> bool:
    """Return whether sentence-transformers it is, whatever the model.

    Raises
    ------
    ConfigError
        Another engine was asked for by name and can't be.
    """
    if config.engine == "openvino" and device == "cuda":
        raise ConfigError("encoder.engine: 'openvino' runs on the CPU; set encoder.device = 'cpu'")
    if config.compile and (device == "cpu" or config.engine == "openvino"):
        raise ConfigError("encoder.compile: only the packed engine on CUDA compiles")
    if config.engine == "auto" and device == "cuda" and precision == "float32":
        _log.info("encoder.engine: auto chose sentence-transformers: float32 on CUDA")
        return True
    return config.engine == "sentence-transformers"


def _load(
    model: str | None, folder: Path, *, device: Literal["cpu", "cuda"], precision: Precision
) -> SentenceTransformer:
    import torch
    from sentence_transformers import SentenceTransformer

    with quiet_transformers():
        try:
            return SentenceTransformer(
                str(folder),
                device=device,
                model_kwargs={"dtype": getattr(torch, precision), "use_safetensors": True},
                local_files_only=True,
                trust_remote_code=False,
            )
        except Exception as error:  # whatever the model's files make torch, tokenizers or safetensors raise
            raise ConfigError(_cannot_load(model, error)) from error


def _runner(
    config: EncoderConfig,
    model: SentenceTransformer,
    shape: BertShape,
    *,
    device: Literal["cpu", "cuda"],
    precision: Precision,
) -> Runner:
    import torch

    bert = model[0].auto_model
    if config.engine == "openvino":
        from coverage_lab.encoders.openvino import OpenVinoRunner

        with quiet_transformers():
            return OpenVinoRunner(
                shape,
                bert,
                precision=precision,
                batch_tokens=config.batch_tokens,
                threads=torch.get_num_threads(),
            )
    from coverage_lab.encoders.packed.runner import PackedRunner

    return PackedRunner(
        shape,
        bert.state_dict(),
        device=device,
        precision=precision,
        batch_tokens=config.batch_tokens,
        compile_with="inductor" if config.compile else None,
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
