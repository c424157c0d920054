"""The bucket stage on Ray actors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coverage_lab.config import RunConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.load import load_judge
from coverage_lab.errors import ConfigError, CoverageLabError, MissingExtraError
from coverage_lab.jobs.bucket import work_bucket


class BucketActor:
    """Holds an encoder and an atlas, and works on one bucket after the other.

    It loads them itself, from the same config as the driver, and refuses to work when what it loaded
    is not what the driver has: another machine may hold another model file.
    """

    def __init__(self, config_json: str, expected: tuple[str | None, ...], threads: int) -> None:
        self._threads = threads
        self._judge: Judge = load_judge(RunConfig.model_validate_json(config_json), threads=threads)
        found = self._judge.ids
        if found != expected:
            raise ConfigError(
                f"a Ray worker loaded encoder, atlas and scorecard {found}, the driver {expected}"
            )

    def work(self, bucket: str, part: str, source_names: Sequence[str]) -> str:
        """Work on one bucket; returns the device that the encoder ran on."""
        work_bucket(Path(bucket), Path(part), self._judge, source_names=source_names, threads=self._threads)
        return self._judge.device


@contextmanager
def ray_cluster(config: RunConfig, *, threads: int) -> Iterator[None]:
    """Connect to the cluster of the config, or start a local one, for as long as the block lasts.

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
    address = config.job.ray.address
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(
                address=address,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"job.ray.address {address!r}: no cluster there ({_line(error)})") from error
    try:
        _check_resources(ray.cluster_resources(), config, threads)
        yield
    finally:
        if own:
            ray.shutdown()


def work_on_ray(
    todo: Sequence[tuple[Path, Path]],
    config: RunConfig,
    judge: Judge,
    *,
    source_names: Sequence[str],
    threads: int,
) -> Iterator[str]:
    """Work on buckets in Ray actors, inside `ray_cluster`; yields the device of each as it is done.

    Parameters
    ----------
    todo : sequence of (bucket, part)
        On a file system that all workers see.
    judge : Judge
        The driver's: what the actors load must have the same ids.

    Raises
    ------
    CoverageLabError
        What an actor raised, or in one line that actors were lost.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.actor_pool import ActorPool

    wanted = config.job.ray
    actor = ray.remote(num_cpus=threads, num_gpus=wanted.num_gpus, max_restarts=1, max_task_retries=1)(
        BucketActor
    )
    expected = judge.ids
    actors = [
        actor.remote(config.model_dump_json(), expected, threads)
        for _ in range(min(wanted.actors, max(len(todo), 1)))
    ]
    pool: Any = ActorPool(actors)
    jobs = [(str(bucket.resolve()), str(part.resolve())) for bucket, part in todo]
    try:
        # ActorPool hands an actor its next bucket only when it is idle: nothing piles up.
        yield from pool.map_unordered(lambda free, job: free.work.remote(*job, list(source_names)), jobs)
    except RayTaskError as error:
        if isinstance(error.cause, CoverageLabError):
            raise error.cause from None
        raise CoverageLabError(f"--ray: a worker failed: {_line(error.cause)}") from error
    except RayError as error:
        raise CoverageLabError(f"--ray: a worker was lost: {_line(error)}") from error


def _line(error: object) -> str:
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
