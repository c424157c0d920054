"""API keys: named, with scopes, hashed at rest, read anew when their file changes; wrong ones are slowed.

A key is 32 random bytes, so a plain SHA-256 of it can't be turned back. What is compared are digests, looked
up in a dict: how long that takes says nothing about a key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from coverage_lab.config import one_line
from coverage_lab.errors import ConfigError
from coverage_lab.files.atomic import whole_file
from coverage_lab.service.address import network

_log = logging.getLogger(__name__)

Scope = Literal["score", "read", "metrics"]
SCOPES: Final[tuple[Scope, ...]] = ("score", "read", "metrics")
API_KEY_VARIABLE: Final = "COVERAGE_LAB_API_KEY"
MIN_KEY_LENGTH: Final = 16
#: Of one name, so that a caller can change from the old key to the new one.
KEYS_OF_A_NAME: Final = 2

_PREFIX: Final = "cl_"
_LOOK_SECONDS: Final = 1.0
_LOCK_SECONDS: Final = 10.0
#: Wrong keys of one address before they are slowed down, and how soon one more is free again.
_WRONG_KEYS: Final = 10
_FREE_AGAIN_SECONDS: Final = 6.0
_ADDRESSES: Final = 10_000


class KeyRecord(BaseModel):
    """A key as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created: datetime

    @property
    def id(self) -> str:
        """What a key is called when one of a name is to be revoked: the start of its digest."""
        return self.sha256[:8]


class _KeyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[KeyRecord, ...]


def read_keys(path: Path) -> tuple[KeyRecord, ...]:
    """Read a key file.

    Raises
    ------
    ConfigError
        It is missing, can't be read, or is no key file.
    """
    try:
        return _KeyFile.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise ConfigError(
            f"keys {path}: can't be read ({error.strerror}); `coverage-lab service key new` makes one"
        ) from error
    except ValidationError as error:
        raise ConfigError(f"keys {path}: not a key file: {one_line(error)}") from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other changes of a key file waiting: of two at once, one would undo the other."""
    if not path.parent.is_dir():
        raise ConfigError(f"keys {path}: there is no folder {path.parent}; make it first")
    lock = FileLock(path.with_name(path.name + ".lock"), timeout=_LOCK_SECONDS, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"keys {path}: another command is changing it; try again") from None
    except OSError as error:
        raise ConfigError(f"keys {path}: can't be changed ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


def _write_keys(path: Path, keys: Iterable[KeyRecord]) -> None:
    text = json.dumps({"keys": [key.model_dump(mode="json") for key in keys]}, indent=2) + "\n"
    with whole_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")


def new_key(path: Path, name: str, scopes: Iterable[str]) -> str:
    """Make a key, add its digest to a file (made where there is none), and return the key: this once.

    Raises
    ------
    ConfigError
        A name or scope that can't be, two keys of this name already, a file that is no key file or that
        another command is changing.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        record = KeyRecord.model_validate(
            {
                "name": name,
                "sha256": hashlib.sha256(key.encode()).hexdigest(),
                "scopes": tuple(dict.fromkeys(scopes)),
                "created": datetime.now(UTC).replace(microsecond=0),
            }
        )
    except ValidationError as error:
        raise ConfigError(f"new key: {one_line(error)}") from None
    with _alone(path):
        keys = read_keys(path) if path.exists() else ()
        if sum(one.name == name for one in keys) >= KEYS_OF_A_NAME:
            raise ConfigError(
                f"--name {name}: it has {KEYS_OF_A_NAME} keys already; revoke one first "
                "(`coverage-lab service key revoke`)"
            )
        _write_keys(path, (*keys, record))
    return key


def revoke_key(path: Path, key_id: str) -> KeyRecord:
    """Take a key out of a file.

    Raises
    ------
    ConfigError
        The file has no key of this id, or another command is changing it.
    """
    with _alone(path):
        keys = read_keys(path)
        gone = [key for key in keys if key.id == key_id]
        if not gone:
            raise ConfigError(
                f"key {key_id!r:.40}: not in {path}; `coverage-lab service key list` shows the ids"
            )
        _write_keys(path, [key for key in keys if key.id != key_id])
    return gone[0]


@dataclass(frozen=True)
class Key:
    """Who asks."""

    name: str
    scopes: frozenset[str]


class KeyRing:
    """The keys that are let in.

    Parameters
    ----------
    environment : str, optional
        A key with all scopes, called "environment"; only its digest is kept.
    file : Path, optional
        Of more keys; looked at once a second, and read when it has changed. Where it can't be read any more,
        the keys of before stay.

    Raises
    ------
    ConfigError
        The file can't be read, or holds no key.
    """

    def __init__(self, *, environment: str | None = None, file: Path | None = None) -> None:
        self._fixed = (
            {} if environment is None else {_digest(environment): Key("environment", frozenset(SCOPES))}
        )
        self._file = file
        self._keys = dict(self._fixed)
        self._stamp: tuple[int, ...] | None = None
        self._looked = 0.0
        if file is not None:
            self._stamp = _stamp(file)
            self._keys |= _by_digest(read_keys(file))
            if not self._keys:
                raise ConfigError(f"keys {file}: holds no key; `coverage-lab service key new` makes one")

    def __bool__(self) -> bool:
        """Whether keys are asked for at all."""
        return bool(self._fixed) or self._file is not None

    def find(self, authorization: str) -> Key | None:
        """Whose key an `Authorization` header has; None where it has none, or a wrong one."""
        self._look()
        scheme, _, given = authorization.partition(" ")
        key = self._keys.get(_digest(given.strip()))
        return key if scheme.lower() == "bearer" else None

    def _look(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._fixed | _by_digest(read_keys(self._file))
            _log.warning("keys were read anew: %d", len(self._keys))
        except ConfigError as error:
            _log.error("%s; the keys of before stay", error)


def environment_key() -> str | None:
    """Key of the environment variable COVERAGE_LAB_API_KEY.

    Raises
    ------
    ConfigError
        It is too short, or can't be sent in a header.
    """
    key = os.environ.get(API_KEY_VARIABLE)
    if key is None:
        return None
    if len(key) < MIN_KEY_LENGTH:
        raise ConfigError(f"{API_KEY_VARIABLE}: expected {MIN_KEY_LENGTH} characters or more, got {len(key)}")
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(f"{API_KEY_VARIABLE}: expected ASCII letters, digits and signs without spaces")
    return key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _by_digest(keys: Iterable[KeyRecord]) -> dict[bytes, Key]:
    return {bytes.fromhex(key.sha256): Key(key.name, frozenset(key.scopes)) for key in keys}


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Throttle:
    """How many wrong keys an address has left.

    Parameters
    ----------
    clock : callable
        Seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, float]] = OrderedDict()  # wrong keys, and when

    def wrong(self, address: str) -> float:
        """Count a wrong key; seconds until the next is free, 0 where it was one of the free ones.

        Addresses of one network (IPv6: a /64) count as one.
        """
        address = network(address)
        now = self._clock()
        before, at = self._seen.pop(address, (0.0, now))
        count = max(0.0, before - (now - at) / _FREE_AGAIN_SECONDS) + 1
        count = min(count, 2.0 * _WRONG_KEYS)
        self._seen[address] = count, now
        if len(self._seen) > _ADDRESSES:
            self._seen.popitem(last=False)
        return max(0.0, count - _WRONG_KEYS) * _FREE_AGAIN_SECONDS


def describe(keys: Iterable[KeyRecord]) -> list[dict[str, Any]]:
    """What a list of keys shows: everything but digests."""
    return [
        {
            "id": key.id,
            "name": key.name,
            "scopes": ", ".join(key.scopes),
            "created": key.created.isoformat().replace("+00:00", "Z"),
        }
        for key in keys
    ]
