"""Connecting to a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from coverage_lab.config import RunConfig
from coverage_lab.errors import ConfigError, MissingExtraError


@contextmanager
def ray_cluster(config: RunConfig, *, threads: int) -> Iterator[None]:
    """Connect to the cluster of the config or of RAY_ADDRESS, or start a local one, while the block lasts.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    ConfigError
        The cluster can't be reached, or has fewer CPUs or GPUs than the actors ask for, so that they
        would wait for ever.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "--ray") from error
    # Left alone, Ray would join whichever cluster was last started on this machine, whoever's it is. A job
    # handed over by `ray job submit` is told where it is by the environment.
    address = config.job.ray.address or os.environ.get("RAY_ADDRESS") or "local"
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"job.ray.address {address!r}: no cluster there ({_last_line(error)})"
            ) from error
    try:
        _check_resources(ray.cluster_resources(), config, threads)
        yield
    finally:
        if own:
            ray.shutdown()


def _last_line(error: object) -> str:
    """Last line of what may be a whole traceback of another process."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def _check_resources(cluster: dict[str, float], config: RunConfig, threads: int) -> None:
    actors, gpus = config.job.ray.actors, config.job.ray.num_gpus
    for name, each in (("CPU", float(threads)), ("GPU", gpus)):
        have = cluster.get(name, 0.0)
        if each * actors > have + 1e-9:
            raise ConfigError(
                f"job.ray: {actors} actors with {each:g} {name} each need {each * actors:g} {name}, "
                f"the cluster has {have:g}; lower job.ray.actors, job.threads or job.ray.num_gpus"
            )
