"""From a config to a loaded judge: encoder, atlas and scorecard that belong together."""

from __future__ import annotations

import os
from typing import Literal

from coverage_lab.atlas import Atlas, check_encoder, default_atlas, load_atlas
from coverage_lab.config import EncoderConfig, RunConfig
from coverage_lab.detect.judge import Judge
from coverage_lab.detect.scorecard import Scorecard, default_scorecard, load_scorecard
from coverage_lab.encoders import load_encoder, resolve_name
from coverage_lab.errors import ConfigError
from coverage_lab.progress import Progress, silent


def threads_of(config: RunConfig) -> int:
    """Threads that one worker takes: `job.threads`, or the cores this process may use."""
    if config.job.threads is not None:
        return config.job.threads
    # Not every system can say which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settled(config: RunConfig, *, on_ray: bool = False) -> RunConfig:
    """Settle at the entrance what a worker could take another way: `auto` and relative paths.

    Parameters
    ----------
    on_ray : bool
        The work is done in actors: whether they get GPUs (`job.ray.num_gpus`) decides what `auto` is,
        not what this machine has.
    """
    absolute = {"path": config.atlas.path.resolve()} if config.atlas.path is not None else {}
    config = config.model_copy(update={"atlas": config.atlas.model_copy(update=absolute)})
    if config.detect.scorecard is not None:
        scorecard = {"scorecard": config.detect.scorecard.resolve()}
        config = config.model_copy(update={"detect": config.detect.model_copy(update=scorecard)})
    if config.encoder.name != "auto":
        return config
    if on_ray:
        name: Literal["static", "minilm"] = "minilm" if config.job.ray.num_gpus > 0 else "static"
    else:
        name = resolve_name(config.encoder)
    # What the other keys ask of minilm is nothing to the static encoder.
    encoder = (
        config.encoder.model_copy(update={"name": name}) if name == "minilm" else EncoderConfig(name=name)
    )
    return config.model_copy(update={"encoder": encoder})


def load_judge(config: RunConfig, *, threads: int, progress: Progress = silent) -> Judge:
    """Load what a run judges with, and check that the parts belong together.

    Raises
    ------
    AtlasError
        The atlas was built with another encoder.
    ConfigError
        `detect.scorecard` belongs to another atlas.
    """
    atlas = load_atlas(config.atlas.path) if config.atlas.path is not None else None
    encoder = load_encoder(config.encoder, threads=threads, progress=progress)
    if atlas is None:
        atlas = default_atlas(encoder.name)
    check_encoder(atlas, encoder)
    return Judge(
        encoder=encoder,
        atlas=atlas,
        scorecard=_scorecard(config, atlas),
        config=config.detect,
        config_id=config.digest(),
    )


def _scorecard(config: RunConfig, atlas: Atlas) -> Scorecard | None:
    if config.detect.scorecard is not None:
        card = load_scorecard(config.detect.scorecard)
        if card.atlas_id != atlas.id:
            raise ConfigError(
                f"detect.scorecard {config.detect.scorecard}: made for atlas {card.atlas_id[:12]}, "
                f"this run's is {atlas.id[:12]}"
            )
        return card
    if config.atlas.path is None:
        return default_scorecard(atlas.encoder_name)
    return None
