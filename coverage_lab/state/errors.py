"""What Delta Lake and the storage raise, in one clear line without keys, queries or answers of the store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from coverage_lab.errors import CoverageLabError, OutputError

#: What a storage says somewhere in its chain of causes -> what to do. The first that fits is told.
_KNOWN = (
    (r"No space left|StorageFull", "the disk is full; free some space and run it again"),
    (r"NoSuchBucket|ContainerNotFound|bucket does not exist", "there is no such bucket; make it first"),
    # Without keys the address of the cloud's own machines is asked for some, which outside answers anything.
    (
        r"169\.254\.169\.254|metadata\.google\.internal|Missing (AccessKeyId|SecretAccessKey)",
        "no keys for the store were found in the environment",
    ),
    (
        r"401 Unauthorized|403 Forbidden|necessary privileges|Unauthenticated",
        "the store refuses: the keys in the environment are wrong or expired, or may not do this",
    ),
    (r"URL scheme is not allowed", "its endpoint is not https; AWS_ALLOW_HTTP=true allows that"),
    (
        r"error sending request|tcp connect|dns error|operation timed out",
        "the store can't be reached; check its endpoint and the network, and run it again",
    ),
)
_CAUSE = re.compile(r"^[\s↳]*(?:\x1b\[\d+m)?[\s↳]*(?:\x1b\[0m)?\s*")


@contextmanager
def table_errors(url: str, *, passed: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn what Delta Lake and the storage raise into one clear line; `passed` is left as it is."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except passed:
        raise
    except CoverageLabError:
        raise
    except (DeltaError, OSError, ValueError, pa.ArrowException) as error:
        raise OutputError(f"state {url}: {_said(error)}") from error


def _said(error: Exception) -> str:
    text = str(error)
    for pattern, words in _KNOWN:
        if re.search(pattern, text):
            return words
    lines = [line for line in text.splitlines() if line.strip()] or [type(error).__name__]
    # The first line of a chain names the kind of storage, the others what went wrong.
    chain = [lines[0], *(line for line in lines[1:] if "↳" in line)]
    # The store's own answer may repeat a key, and a signed address is one.
    said = ": ".join(re.sub(r"<.*|\?\S+", "", _CAUSE.sub("", line)).strip() for line in chain)
    return f"can't be used ({said:.300})"
