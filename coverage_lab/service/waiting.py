"""One request is worked on at a time; a few may wait, the rest are told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from coverage_lab.service.refusal import RefusalError

RETRY_SECONDS: Final = 5

_T = TypeVar("_T")


class WaitingRoom:
    """Places of an event loop's requests, and the thread that works on them in turn.

    Parameters
    ----------
    max_waiting : int
        Places besides that of the request that is worked on.
    """

    def __init__(self, max_waiting: int) -> None:
        self._free = max_waiting + 1
        # One thread for all requests: the numerical libraries keep a pool for each thread that calls them.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises
        ------
        RefusalError
            503: there is none.
        """
        if self._free == 0:
            raise RefusalError(
                503,
                "busy",
                f"too many requests are waiting; try again in {RETRY_SECONDS} s",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def work(self, task: Callable[[], _T]) -> _T:
        """Run `task` when those before it are done."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, task)
