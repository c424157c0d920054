"""Hypothesis profiles, shared fixtures, what `--all` may not skip, and how workers divide the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from hypothesis import settings
from support import interpreter

# These machines are shared, so no example has a deadline. `scripts/test --all` takes the profile ci.
settings.register_profile("dev", deadline=None, max_examples=25)
settings.register_profile("ci", deadline=None, max_examples=200)
settings.load_profile("dev")

#: Modules that run on one worker, one after the other, and why.
TOGETHER = {
    # Each starts a Ray cluster, which takes all cores: two at once would be too slow to answer in time.
    "test_run.py": "ray",
    "test_faults.py": "ray",
    "test_ray_job.py": "ray",
    "test_state_s3.py": "ray",
    # They share a process of Triton's interpreter, which takes longer to start than most of their tests.
    "test_device_vectors.py": "triton",
    "test_kernel_nearest_cell.py": "triton",
    "test_kernel_novelty.py": "triton",
    "test_kernel_tensors.py": "triton",
}
#: Modules that take longest: begun first, so that no worker is left alone with one in the end.
FIRST = ("test_run.py", "test_docs_run.py", "test_daily_state.py", "test_benchmark.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nothing-skips", action="store_true", help="a skipped test fails, but for want of a GPU or of root"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have workers begin with what takes longest; a process alone keeps the order of the files."""
    if hasattr(config, "workerinput"):
        places = {name: place for place, name in enumerate(FIRST)}
        items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker whole modules, so that each module's fixtures are made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Modules(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.split("::")[0].rpartition("/")[2]
            return TOGETHER.get(module, module)

    config.option.loadscopereorder = False
    return Modules(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let a skip fail where everything is installed: what nobody sees skipped is not tested."""
    report = yield
    if not report.skipped or hasattr(report, "wasxfail") or not item.config.getoption("--nothing-skips"):
        return report
    if item.get_closest_marker("gpu") or (item.get_closest_marker("root") and os.geteuid() != 0):
        return report
    report.outcome = "failed"
    report.longrepr = f"skipped, though everything is to run: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """A process of Triton's interpreter (`support.interpreter`)."""
    with interpreter.triton_process(interpret=True, cache=tmp_path_factory.mktemp("triton")) as pool:
        yield pool
