"""From a config to a loaded judge: encoder, atlas and scorecard that belong together."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from coverage_lab.atlas import Atlas, check_encoder, default_atlas, load_atlas
from coverage_lab.config import EncoderConfig, RunConfig
from coverage_lab.detect.judge import Judge
from coverage_lab.detect.scorecard import Scorecard, default_scorecard, load_scorecard
from coverage_lab.encoders import load_encoder, resolve_name, resolve_precision
from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress, silent


def threads_of(config: RunConfig) -> int:
    """Threads that one worker takes: `job.threads`, or the cores this process may use."""
    if config.job.threads is not None:
        return config.job.threads
    # Not every system can say which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_config(config: RunConfig, *, on_ray: bool = False) -> RunConfig:
    """Replace `auto` and relative paths by what they mean here, so that every worker takes the same.

    Parameters
    ----------
    on_ray : bool
        The work is done in Ray actors: `auto` goes by whether they get GPUs (`job.ray.num_gpus`), not by
        what this machine has.
    """
    absolute = {"path": config.atlas.path.resolve()} if config.atlas.path is not None else {}
    config = config.model_copy(update={"atlas": config.atlas.model_copy(update=absolute)})
    if config.detect.scorecard is not None:
        scorecard = {"scorecard": config.detect.scorecard.resolve()}
        config = config.model_copy(update={"detect": config.detect.model_copy(update=scorecard)})
    first = config.cascade
    given = {"atlas": first.atlas, "scorecard": first.scorecard}
    paths = {key: path.resolve() for key, path in given.items() if path is not None}
    config = config.model_copy(update={"cascade": first.model_copy(update=paths)})
    on_gpus = on_ray and config.job.ray.num_gpus > 0
    return config.model_copy(update={"encoder": _resolve_encoder(config.encoder, on_ray, on_gpus)})


def _resolve_encoder(encoder: EncoderConfig, on_ray: bool, on_gpus: bool) -> EncoderConfig:
    if encoder.name == "auto":
        if on_ray:
            name: Literal["static", "minilm"] = "minilm" if on_gpus else "static"
        else:
            name = resolve_name(encoder)
        # What the other keys ask of minilm is nothing to the static encoder.
        encoder = encoder.model_copy(update={"name": name}) if name == "minilm" else EncoderConfig(name=name)
    if encoder.name == "static" or encoder.precision != "auto":
        return encoder
    if on_gpus and encoder.device != "cpu":
        return encoder  # the driver need not have a GPU: each actor asks its own
    here = encoder.model_copy(update={"device": "cpu"}) if on_ray else encoder
    return encoder.model_copy(update={"precision": resolve_precision(here)})


def load_judge(config: RunConfig, *, threads: int, progress: Progress = silent) -> Judge:
    """Load what a run judges with, and check that the parts belong together.

    Of a cascade both stages, so that what is wrong with the second ends a run before any work.

    Raises
    ------
    AtlasError
        An atlas was built with another encoder.
    ConfigError
        A scorecard belongs to another atlas, or a stage of a cascade has none.
    """
    if config.encoder.name != "cascade":
        return _load_stage(
            config, config.encoder, config.atlas.path, "detect.scorecard", threads=threads, progress=progress
        )
    second = config.encoder.model_copy(update={"name": "minilm"})
    stages = (
        _load_stage(
            config,
            EncoderConfig(name="static"),
            config.cascade.atlas,
            "cascade.scorecard",
            threads=threads,
            progress=progress,
        ),
        _load_stage(
            config, second, config.atlas.path, "detect.scorecard", threads=threads, progress=progress
        ),
    )
    for stage, key in zip(stages, ("cascade.scorecard", "detect.scorecard"), strict=True):
        if stage.scorecard is None:
            raise ConfigError(
                f"{key}: a cascade escalates by p-value and needs a scorecard made for atlas "
                f"{stage.atlas.id[:12]}, got none"
            )
    return replace(stages[0], second=stages[1], escalate_p=config.cascade.escalate_p)


def _load_stage(
    config: RunConfig,
    encoder_config: EncoderConfig,
    atlas_path: Path | None,
    scorecard_key: Literal["detect.scorecard", "cascade.scorecard"],
    *,
    threads: int,
    progress: Progress,
) -> Judge:
    """Load one stage; `scorecard_key` names the key that may hold its scorecard's path."""
    atlas = load_atlas(atlas_path) if atlas_path is not None else None
    encoder = load_encoder(encoder_config, threads=threads, progress=progress)
    if atlas is None:
        atlas = default_atlas(encoder.name)
    check_encoder(atlas, encoder)
    scorecard_path = (
        config.detect.scorecard if scorecard_key == "detect.scorecard" else config.cascade.scorecard
    )
    return Judge(
        encoder=encoder,
        atlas=atlas,
        scorecard=_scorecard(scorecard_path, scorecard_key, atlas, ships=atlas_path is None),
        config=config.detect,
        config_id=config.digest(),
        show_openings=config.report.show_openings,
    )


def _scorecard(path: Path | None, key: str, atlas: Atlas, *, ships: bool) -> Scorecard | None:
    if path is not None:
        card = load_scorecard(path)
        if card.atlas_id != atlas.id:
            raise ConfigError(
                f"{key} {path}: made for atlas {card.atlas_id[:12]}, this run's is {atlas.id[:12]}"
            )
        return card
    return default_scorecard(atlas.encoder_name) if ships else None
