"""One thread for NumPy's products: windows of prompts share the cores already.

Threads of a BLAS wait for each other by spinning. With those of several windows on the same cores, encoding
took six times as long.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def one_blas_thread() -> OneBlasThread:
    """Return the one block of this process: two would each put back what the other had set."""
    return OneBlasThread()


class OneBlasThread(AbstractContextManager[None]):
    """Holds NumPy's BLAS to one thread while any thread of the process is inside.

    The last one that leaves puts back what was before the first.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._inside = 0
        self._before = ExitStack()
        # Looks through all libraries of the process, which takes longer than many a product.
        self._controller = ThreadpoolController()

    def __enter__(self) -> None:
        with self._turn:
            if self._inside == 0:
                self._before.enter_context(self._controller.limit(limits=1, user_api="blas"))
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._turn:
            self._inside -= 1
            if self._inside == 0:
                self._before.close()
