"""Which encoder a config means on this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from typing import Literal

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders.encoder import Encoder, Precision
from coverage_lab.errors import ConfigError, MissingExtraError
from coverage_lab.progress import Progress, silent

_log = logging.getLogger(__name__)


def resolve_name(config: EncoderConfig) -> Literal["static", "minilm"]:
    """Say which encoder `config` means on this machine.

    ``auto`` is ``minilm`` where a model or CUDA is asked for by name, or where torch finds CUDA, and
    ``static`` elsewhere. Torch is imported only where the installed build could find CUDA.

    Raises
    ------
    ConfigError
        ``cascade``, which is two encoders.
    """
    if config.name == "cascade":
        raise ConfigError(
            "encoder.name: 'cascade' is two encoders and only `run` and `serve` judge with both; "
            "expected 'static' or 'minilm' here"
        )
    if config.name != "auto":
        return config.name
    if config.model is not None or config.device == "cuda":
        return "minilm"
    if config.device == "cpu":
        return "static"
    return "minilm" if _torch_finds_cuda() else "static"


def resolve_precision(config: EncoderConfig) -> Precision:
    """Say which precision of the transformer `config` means on this machine.

    Raises
    ------
    MissingExtraError
        Torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "encoders", "the MiniLM encoder") from error
    from coverage_lab.encoders.transformer import precision_on

    return precision_on("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu", config)


def load_encoder(
    config: EncoderConfig, *, threads: int | None = None, progress: Progress = silent
) -> Encoder:
    """Load the encoder that `config` means.

    Parameters
    ----------
    config
        All but `name` and `tokenizer` are for ``minilm``; the static encoder is float32 on the CPU.
    threads
        CPU threads for the whole process from now on; the libraries' own choice when None.
    progress
        Told about the distillation that the first use of the static encoder on a machine needs.

    Raises
    ------
    ConfigError
        An option that the encoder can't honour, CUDA asked for where there is none, a model that can't be
        loaded, or weights that are not the ones expected.
    MissingExtraError
        The encoder's libraries are not installed.
    """
    name = resolve_name(config)
    if config.name == "auto":
        _log.info("encoder.name: auto chose %s", name)
    if name == "minilm":
        from coverage_lab.encoders.transformer import load_transformer

        return load_transformer(config, threads=threads)
    _check_static_options(config)
    from coverage_lab.encoders.static import load_static

    return load_static(threads=threads, tokenizer=config.tokenizer, progress=progress)


def _check_static_options(config: EncoderConfig) -> None:
    """Refuse what was asked of the static encoder by name but would be ignored.

    Under ``auto`` the same options are for the machines where ``auto`` means ``minilm``.
    """
    if config.name != "static":
        return
    if config.model is not None:
        raise ConfigError("encoder.model: the static encoder has no other model; use encoder.name = 'minilm'")
    if config.device == "cuda":
        raise ConfigError("encoder.device: the static encoder runs on the CPU, got 'cuda'")
    if config.precision not in ("auto", "float32"):
        raise ConfigError(f"encoder.precision: the static encoder is float32, got '{config.precision}'")
    if config.engine != "auto":
        raise ConfigError(f"encoder.engine: the static encoder has no other engine, got '{config.engine}'")
    if config.compile:
        raise ConfigError("encoder.compile: the static encoder has nothing to compile")


def _torch_finds_cuda() -> bool:
    if importlib.util.find_spec("torch") is None or importlib.metadata.version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()
