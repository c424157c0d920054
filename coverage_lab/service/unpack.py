"""Bodies that come compressed: unpacked piece by piece, so that a small one can't fill the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from coverage_lab.service.refusal import RefusalError

#: What `Content-Encoding` may say besides `identity`.
CODINGS: Final = ("gzip", "zstd")
#: Bytes of a piece: what is unpacked before somebody looks at how much it is by now.
PIECE: Final = 256 * 1024


def pieces(packed: bytes, coding: str) -> Iterator[bytes]:
    """Unpack a body, `PIECE` bytes at a time.

    Parameters
    ----------
    packed : bytes
    coding : str
        One of `CODINGS`.

    Raises
    ------
    RefusalError
        400: it is not whole, or not of this coding.
    """
    try:
        with pa.input_stream(pa.BufferReader(packed), compression=coding) as stream:
            while piece := stream.read(PIECE):
                yield piece
    except (OSError, pa.ArrowException):
        raise RefusalError(
            400, "invalid_encoding", f"expected a body in {coding}, as its Content-Encoding says"
        ) from None
