"""The bucket stage on Ray actors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coverage_lab.config import RunConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.load import load_judge
from coverage_lab.errors import ConfigError, CoverageLabError
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
                bucket,
                Path(part),
                self._judge,
                source_names=self._source_names,
                threads=self._threads,
                campaigns=self._config.campaigns.enabled,
            )
        return self._judge.device


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
    arguments = (config.model_dump_json(), judge.ids, threads, list(source_names))
    failures = run_jobs(
        [Job(part.name, (bucket, str(part.absolute()))) for bucket, part in todo],
        lambda: actor.remote(*arguments),
        actors=wanted.actors,
        retries=wanted.retries,
        start_timeout_s=wanted.start_timeout_s,
        done=done,
        beat=beat,
    )
    if failures:
        raise _failed_buckets(failures)


def _failed_buckets(failures: Mapping[str, Failure]) -> CoverageLabError:
    """Name the buckets that were given up, and what to do about it."""
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
