"""The bucket stage on Ray actors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from coverage_lab.config import RunConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.load import load_judge
from coverage_lab.errors import ConfigError, CoverageLabError, MissingExtraError
from coverage_lab.jobs.bucket import work_bucket
from coverage_lab.jobs.ingest import Bucket
from coverage_lab.jobs.ray.scheduler import Failure, Job, run_jobs, without_text


class BucketActor:
    """Judges the accounts of one bucket after another.

    It loads encoder, atlas and scorecard itself, from the driver's config, and refuses to work where they
    are not the driver's: another machine may hold another model file.
    """

    _judge: Judge

    def __init__(
        self, config_json: str, expected: tuple[str | None, ...], threads: int, source_names: Sequence[str]
    ) -> None:
        self._config = RunConfig.model_validate_json(config_json)
        self._expected = expected
        self._threads = threads
        self._source_names = source_names

    def ready(self) -> None:
        """Load encoder and atlas, and check that they are the driver's."""
        with without_text():
            self._judge = load_judge(self._config, threads=self._threads)
        found = self._judge.ids
        if found != self._expected:
            raise ConfigError(
                f"a Ray worker loaded encoder, atlas and scorecard {found}, the driver {self._expected}"
            )

    def do(self, bucket: Bucket, part: str) -> str:
        """Work on one bucket; returns the device that the encoder ran on."""
        with without_text():
            work_bucket(
                bucket, Path(part), self._judge, source_names=self._source_names, threads=self._threads
            )
        return self._judge.device


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
            raise ConfigError(f"job.ray.address {address!r}: no cluster there ({_line(error)})") from error
    try:
        _check_resources(ray.cluster_resources(), config, threads)
        yield
    finally:
        if own:
            ray.shutdown()


def work_on_ray(
    todo: Sequence[tuple[Bucket, Path]],
    config: RunConfig,
    judge: Judge,
    *,
    source_names: Sequence[str],
    threads: int,
    done: Callable[[str], None],
    beat: Callable[[], None],
) -> None:
    """Work on buckets in Ray actors, inside `ray_cluster`. A bucket that fails doesn't stop the others.

    Parameters
    ----------
    todo : sequence of (bucket, part)
        On a file system that all workers see.
    judge : Judge
        The driver's: what the actors load must have the same ids.
    done : (device) -> None
        Called as each bucket is done.
    beat : () -> None
        Called every few seconds without news.

    Raises
    ------
    CoverageLabError
        What an actor raised, or in one line which buckets' actors were lost each time.
    """
    import ray

    wanted = config.job.ray
    actor = ray.remote(num_cpus=threads, num_gpus=wanted.num_gpus)(BucketActor)
    told = (config.model_dump_json(), judge.ids, threads, list(source_names))
    failures = run_jobs(
        [Job(part.name, (bucket, str(part.absolute()))) for bucket, part in todo],
        lambda: actor.remote(*told),
        actors=wanted.actors,
        retries=wanted.retries,
        start_timeout_s=wanted.start_timeout_s,
        done=done,
        beat=beat,
    )
    if failures:
        raise _undone(failures)


def _undone(failures: Mapping[str, Failure]) -> CoverageLabError:
    """Name the buckets that were given up, and the way out."""
    own = [(name, failure.error) for name, failure in sorted(failures.items()) if failure.error is not None]
    if own:
        name, error = own[0]
        others = sorted(failures.keys() - {name})
        more = f" (and {', '.join(others)} failed too)" if others else ""
        return type(error)(f"{name}: {error}{more}")
    lost = ", ".join(f"{name} ({failure.lost})" for name, failure in sorted(failures.items()))
    return CoverageLabError(
        f"--ray: the workers of {lost} were lost each time; all other buckets are done. Run the same command "
        "again with more memory for each worker or fewer job.ray.actors to do only these, or cut smaller "
        "ones (job.buckets, needs --overwrite)"
    )


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
