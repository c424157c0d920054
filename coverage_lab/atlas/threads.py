"""How many threads FAISS works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss

#: Fewer inner products than this take one thread. FAISS' threads wait for each other by spinning: on a busy
#: machine that turns milliseconds of work into minutes.
_WORTH_SHARING = 2**22


@contextmanager
def faiss_threads(threads: int | None, *, products: int) -> Iterator[None]:
    """Give FAISS `threads` inside the block; when None, all, or one for few inner products."""
    before = faiss.omp_get_max_threads()
    wanted = threads if threads is not None else 1 if products < _WORTH_SHARING else before
    faiss.omp_set_num_threads(wanted)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
