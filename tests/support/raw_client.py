"""A service on loopback in this process, and clients that send bytes as they like: slow, idle, gone, odd."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from coverage_lab.config import ServiceConfig, TrafficConfig
from coverage_lab.detect import Judge
from coverage_lab.service import Scoring, create_app
from coverage_lab.service.connection import Doors
from coverage_lab.service.metrics import Metrics
from coverage_lab.service.serve import _Server, _uvicorn_config
from coverage_lab.service.standings import Standings
from coverage_lab.service.work import WorkQueue


@dataclass
class LocalService:
    """A running service.

    Attributes
    ----------
    longest_pause : float
        Seconds that its event loop was not free at once, at most, since `watch` was called.
    """

    port: int
    server: _Server
    metrics: Metrics
    queue: WorkQueue
    thread: threading.Thread
    listener: socket.socket

    def client(self) -> RawClient:
        """Connect."""
        return RawClient(socket.create_connection(("127.0.0.1", self.port), timeout=20))

    def stop(self) -> None:
        """As SIGTERM does."""
        self.server.should_exit = True

    def healthy_within(self) -> float:
        """Seconds until another client gets an answer to GET /healthz."""
        started = time.perf_counter()
        with self.client() as other:
            other.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert other.answer().status == 200
        return time.perf_counter() - started


@contextlib.contextmanager
def local_service(
    judge: Judge, *, standings: Standings | None = None, **limits: object
) -> Iterator[LocalService]:
    """Serve on a free port until the block ends."""
    settings = ServiceConfig.model_validate({"log": False, **limits})
    scoring = Scoring(judge, TrafficConfig(), settings, threads=1)
    metrics = Metrics(scoring.health())
    queue = WorkQueue(scoring, settings, lanes=scoring.lanes, on_batch=metrics.batch)
    app = create_app(scoring, queue=queue, metrics=metrics, standings=standings)
    server = _Server(app, _uvicorn_config(app, Doors(settings, metrics), settings, None))
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
    running = LocalService(listener.getsockname()[1], server, metrics, queue, thread, listener)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield running
    finally:
        running.stop()
        queue.abandon()
        thread.join(30)
        assert not thread.is_alive()


@dataclass
class RawAnswer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of an error, which has our form."""
        assert self.headers["content-type"] == "application/json"
        value = json.loads(self.body)
        assert list(value) == ["error"]
        return str(value["error"]["code"])


class RawClient:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, *parts: bytes, pause: float = 0.0) -> None:
        """Send, with a pause after each part."""
        for part in parts:
            self._connection.sendall(part)
            if pause:
                time.sleep(pause)

    def half_close(self) -> None:
        """Say that nothing more is sent; go on reading."""
        self._connection.shutdown(socket.SHUT_WR)

    def answer(self) -> RawAnswer:
        """Read one answer."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._received = rest
        while len(self._received) < int(headers["content-length"]):
            self._more()
        body = self._received[: int(headers["content-length"])]
        self._received = self._received[len(body) :]
        return RawAnswer(int(first.split()[1]), headers, body)

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the other side ends the connection, having said nothing more."""
        self._connection.settimeout(seconds)
        try:
            return self._connection.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def _more(self) -> None:
        more = self._connection.recv(65536)
        assert more, f"closed after {self._received!r}"
        self._received += more
