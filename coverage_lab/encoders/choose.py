"""Which encoder a config means on this machine."""

from __future__ import annotations

import logging
from typing import Literal

from coverage_lab.config import EncoderConfig
from coverage_lab.encoders.encoder import Encoder, Precision
from coverage_lab.errors import ConfigError, MissingExtraError
from coverage_lab.progress import Progress, silent

_log = logging.getLogger(__name__)


def resolve_name(config: EncoderConfig) -> Literal["static", "minilm"]:
    """Say which encoder `config` means on this machine.

    ``auto`` is ``static`` on every machine, since no transformer has been better in detection, and ``minilm``
    only where a model is named, which the static encoder has none of.

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
    return "static" if config.model is None else "minilm"


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
        raise MissingExtraError("torch", "transformer", "the MiniLM encoder") from error
    from coverage_lab.encoders.transformer import precision_on

    return precision_on("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu", config)


def load_encoder(
    config: EncoderConfig, *, threads: int | None = None, progress: Progress = silent
) -> Encoder:
    """Load the encoder that `config` means.

    Parameters
    ----------
    config
        All but `name` and `device` are for ``minilm``; the static encoder is float32, and on the CPU unless
        ``cuda`` is asked for.
    threads
        CPU threads for the whole process from now on; the libraries' own choice when None.
    progress
        Told about the table that the first use of the static encoder on a machine needs.

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

    device: Literal["cpu", "cuda"] = "cuda" if config.device == "cuda" else "cpu"
    return load_static(threads=threads, device=device, progress=progress)


def _check_static_options(config: EncoderConfig) -> None:
    """Refuse what was asked of the static encoder but would be ignored."""
    if config.model is not None:
        raise ConfigError("encoder.model: the static encoder has no other model; use encoder.name = 'minilm'")
    if config.precision not in ("auto", "float32"):
        raise ConfigError(f"encoder.precision: the static encoder is float32, got '{config.precision}'")
    if config.engine != "auto":
        raise ConfigError(f"encoder.engine: the static encoder has no other engine, got '{config.engine}'")
    if config.tokenizer != "auto":
        raise ConfigError(f"encoder.tokenizer: the static encoder has its own, got '{config.tokenizer}'")
    if config.compile:
        raise ConfigError("encoder.compile: the static encoder has nothing to compile")
