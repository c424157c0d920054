"""Serve until told to stop."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

from coverage_lab.config import RunConfig, ServiceConfig
from coverage_lab.detect.load import load_judge, resolve_config, threads_of
from coverage_lab.errors import ConfigError
from coverage_lab.service.app import create_app
from coverage_lab.service.connection import Connection, Doors
from coverage_lab.service.keys import API_KEY_VARIABLE, MIN_KEY_LENGTH, KeyRing, environment_key
from coverage_lab.service.logs import AuditLog, log_to
from coverage_lab.service.metrics import Metrics
from coverage_lab.service.scoring import Scoring
from coverage_lab.service.standings import Standings
from coverage_lab.service.work import WorkQueue

#: Of a stop's grace, what is left for writing answers once judging is given up.
_LAST_WORDS_SECONDS: Final = 1.0


def serve_forever(config: RunConfig, *, host: str, port: int, results: Path | None = None) -> None:
    """Load the judge and answer requests until SIGINT or SIGTERM; one process.

    Keys are those of `service.keys` and of the environment variable COVERAGE_LAB_API_KEY.

    Parameters
    ----------
    config : RunConfig
        As for the main job; `traffic.columns` is not used.
    host : str
        Name or address; any but loopback needs a key.
    port : int
        0 takes a free one; the line that is printed says which.
    results : Path, optional
        Output of a run, whose tables are told of.

    Raises
    ------
    ConfigError
        No key where one is needed, a key that is too short, an address that can't be listened on, a
        certificate that can't be used.
    CoverageLabError
        As `coverage_lab.detect.load.load_judge`; as `Standings`.
    """
    settings = config.service
    keys = KeyRing(environment=environment_key(), file=settings.keys)
    audit = AuditLog(settings.audit) if settings.audit is not None else None
    tls = _tls(settings)
    standings = None if results is None else Standings(results)
    family, address = _resolved(host, port)
    if not keys and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConfigError(
            f"--host {host}: only loopback is served without an API key; make one with `coverage-lab service "
            f"key new` and name its file in service.keys, or set {API_KEY_VARIABLE} ({MIN_KEY_LENGTH} "
            "characters or more)"
        )
    with _listening(family, address, host=host) as listener:
        # As `run` settles it, so that both have one config_id.
        config = resolve_config(config)
        threads = threads_of(config)
        judge = load_judge(config, threads=threads)
        if settings.log:
            log_to()
        scoring = Scoring(judge, config.traffic, settings, threads=threads)
        metrics = Metrics(scoring.health())
        queue = WorkQueue(scoring, settings, lanes=scoring.lanes, on_batch=metrics.batch)
        app = create_app(
            scoring,
            keys=keys,
            queue=queue,
            metrics=metrics,
            hosts=[host],
            audit=audit,
            standings=standings,
        )
        server = _Server(app, _uvicorn_config(app, Doors(settings, metrics), settings, tls))
        where = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        scheme = "http" if tls is None else "https"
        print(
            f"coverage-lab: listening on {scheme}://{where}:{listener.getsockname()[1]} (docs at /docs)",
            flush=True,
        )
        queue.start(warm_up=True)
        with _stopped_by_signals(server):
            server.run(sockets=[listener])


def _uvicorn_config(
    app: FastAPI, doors: Doors, settings: ServiceConfig, tls: ssl.SSLContext | None
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection.bound_to(doors),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=1024,
        timeout_keep_alive=settings.idle_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=settings.grace_seconds,  # type: ignore[arg-type]
        ssl_context_factory=None if tls is None else lambda config, default: tls,
    )


class _Server(uvicorn.Server):
    """uvicorn's, whose stop answers what waits."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._desk = app.state.desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what is queued, finish what is being judged, give up on it shortly before the grace ends."""
        self._desk.stop()
        grace = max(0.0, (self.config.timeout_graceful_shutdown or 0) - _LAST_WORDS_SECONDS)
        last = asyncio.get_running_loop().call_later(grace, self._desk.queue.abandon)
        try:
            await super().shutdown(sockets)
        finally:
            last.cancel()
            self._desk.queue.abandon()


def _tls(settings: ServiceConfig) -> ssl.SSLContext | None:
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise ConfigError("service.tls_cert and service.tls_key: expected both or none, got one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"service.tls_cert {settings.tls_cert}: can't be used with service.tls_key ({error.strerror})"
        ) from error
    return context


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
        listener = socket.create_server(address, family=family, backlog=1024)
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
