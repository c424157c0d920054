"""Serve until told to stop."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from coverage_lab.config import RunConfig
from coverage_lab.detect.load import load_judge, resolve_config, threads_of
from coverage_lab.errors import ConfigError
from coverage_lab.service.app import create_app
from coverage_lab.service.limits import Limits
from coverage_lab.service.scoring import Scoring

API_KEY_VARIABLE: Final = "COVERAGE_LAB_API_KEY"
MIN_KEY_LENGTH: Final = 16

#: Connections at once, idle ones too; beyond it uvicorn answers 503 itself.
_CONNECTIONS: Final = 256
#: How long a stop waits for answers that are being worked on.
_GRACE_SECONDS: Final = 30


def serve_forever(config: RunConfig, *, host: str, port: int) -> None:
    """Load the judge and answer requests until SIGINT or SIGTERM; one process.

    The API key is read from the environment variable COVERAGE_LAB_API_KEY. Traffic is not encrypted:
    beyond loopback, put a proxy that ends TLS in front.

    Parameters
    ----------
    config : RunConfig
        As for the main job; `traffic.columns` is not used.
    host : str
        Name or address; any but loopback needs the key.
    port : int
        0 takes a free one; the line that is printed says which.

    Raises
    ------
    ConfigError
        No key where one is needed, a key that is too short, an address that can't be listened on.
    CoverageLabError
        As `coverage_lab.detect.load.load_judge`.
    """
    api_key = _api_key()
    family, address = _resolved(host, port)
    if api_key is None and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigError(
            f"--host {host}: only loopback is served without an API key; set {API_KEY_VARIABLE} "
            f"({MIN_KEY_LENGTH} characters or more)"
        )
    with _listening(family, address, host=host) as listener:
        # As `run` settles it, so that both have one config_id.
        config = resolve_config(config)
        threads = threads_of(config)
        judge = load_judge(config, threads=threads)
        scoring = Scoring(judge, config.traffic, Limits(), threads=threads)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(scoring, api_key=api_key),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        del api_key
        where = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        print(
            f"coverage-lab: listening on http://{where}:{listener.getsockname()[1]} (docs at /docs)",
            flush=True,
        )
        with _stopped_by_signals(server):
            server.run(sockets=[listener])


def _api_key() -> str | None:
    key = os.environ.get(API_KEY_VARIABLE)
    if key is None:
        return None
    if len(key) < MIN_KEY_LENGTH:
        raise ConfigError(f"{API_KEY_VARIABLE}: expected {MIN_KEY_LENGTH} characters or more, got {len(key)}")
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(f"{API_KEY_VARIABLE}: expected ASCII letters, digits and signs without spaces")
    return key


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Resolve once, so that the address that was checked is the one that is listened on."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host!r}: expected an address or a name that has one") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


@contextmanager
def _listening(
    family: socket.AddressFamily, address: tuple[str, int], *, host: str
) -> Iterator[socket.socket]:
    """Take the port before the judge is loaded, which takes a while."""
    try:
        listener = socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {address[1]}: can't listen there ({error.strerror})"
        ) from error
    with listener:
        yield listener


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server, and nothing else.

    uvicorn raises them once more when it has shut down; that ends here, so that a stop is a plain return.
    """
    former = {name: signal.signal(name, server.handle_exit) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in former.items():
            signal.signal(name, handler)
