"""A connection: uvicorn's, with the time and room that a client gets, and one form for every error.

uvicorn waits for ever for a request's head, counts connections only once a request has come, and writes its
own 400 and 503 as plain text. What is added here is all before a request reaches the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from coverage_lab.config import ServiceConfig
from coverage_lab.service.address import network
from coverage_lab.service.metrics import Metrics
from coverage_lab.service.refusal import RefusalError

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 100
#: After a refusal, bytes that still come are dropped unread for so long, so that the client gets to read it.
_LINGER_SECONDS: Final = 2.0


class Doors:
    """Who is connected; makes room for a new one by closing who has been idle the longest.

    Parameters
    ----------
    limits : ServiceConfig
        Its `connections`, `connections_of_address` and times.
    metrics : Metrics
        Counts connections, and those that are cut.
    """

    def __init__(self, limits: ServiceConfig, metrics: Metrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._inside: dict[str, set[Connection]] = {}
        self._count = 0

    def enter(self, connection: Connection, address: str) -> bool:
        """Let a connection in; False where all others are at work."""
        own = self._inside.get(address, set())
        if len(own) >= self.limits.connections_of_address and not self._make_room(own):
            return False
        if self._count >= self.limits.connections:
            everyone = {one for some in self._inside.values() for one in some}
            if not self._make_room(everyone):
                return False
        self._inside.setdefault(address, set()).add(connection)
        self._count += 1
        self._metrics.connections.set(self._count)
        return True

    def leave(self, connection: Connection, address: str) -> None:
        """Forget a connection."""
        own = self._inside.get(address, set())
        if connection in own:
            own.remove(connection)
            self._count -= 1
            self._metrics.connections.set(self._count)
            if not own:
                del self._inside[address]

    def cut(self, reason: str) -> None:
        """Count a connection that the service ended."""
        self._metrics.cut.labels(reason).inc()

    def _make_room(self, among: set[Connection]) -> bool:
        idle = [one for one in among if one.idle_since is not None]
        if not idle:
            return False
        oldest = min(idle, key=lambda one: one.idle_since or 0.0)
        self.cut("idle")
        oldest.abort()
        return True


class _Closing:
    """The transport that a response is written to; its end lets the client read before all is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection.transport, name)

    def close(self) -> None:
        self._connection.close_gently()


class Connection(HttpToolsProtocol):
    """One client's connection. `bound_to` makes the class that uvicorn is given."""

    doors: ClassVar[Doors]

    @classmethod
    def bound_to(cls, doors: Doors) -> type[Connection]:
        """The class for one server."""
        return type("Connection", (cls,), {"doors": doors})

    # Of the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let a client in, or tell it that there is no room."""
        super().connection_made(transport)
        self._dropping = False
        self._head_bytes = 0
        self._in_head = False
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self.idle_since: float | None = time.monotonic()
        self._address = network(self.client[0] if self.client else "local")
        found = transport.get_extra_info("socket")
        if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio leaves it out for sockets it did not make itself: 40 ms on each answer of two packets.
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.doors.enter(self, self._address):
            self.doors.cut("full")
            self._refuse(503, "too_many_connections", "too many connections; try again in 1 s", retry=1)
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client."""
        self.doors.leave(self, self._address)
        for timer in (self._timer, self._send_timer, self._linger):
            if timer is not None:
                timer.cancel()
        self.idle_since = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless the answer is on its way already."""
        if self._dropping:
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy and self._timer is None:
            self._expect_head()
        if not busy or self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._dropping and self._timer is not None and self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(
                431, "head_too_large", f"expected a request's head of at most {_MAX_HEAD_BYTES} bytes"
            )

    def pause_writing(self) -> None:
        """A client does not take its answer: it has some time."""
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self.doors.limits.send_seconds, self._not_taken)

    def resume_writing(self) -> None:
        """It takes it again."""
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        super().resume_writing()

    # Of the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Hold a header."""
        if len(self.headers) >= _MAX_HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check what could be read in two ways, before anything acts on it."""
        self._in_head = False
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _check_head(self.headers, self.parser.get_http_version())
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = _Closing(self)  # type: ignore[assignment]
        self.idle_since = None

    def on_response_complete(self) -> None:
        """An answer is written."""
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:
            self.idle_since = time.monotonic()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in our form."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            # What follows a request that is still worked on: its answer is the last one.
            self.cycle.keep_alive = False
            self._dropping = True
            return
        self._refuse(400, "invalid_http", "expected an HTTP/1.1 request")

    def _unsupported_upgrade_warning(self) -> None:
        # Answered as what it is besides; the parser has stopped, so it is the last one.
        if self.cycle is not None:
            self.cycle.keep_alive = False

    # Ours

    def abort(self) -> None:
        """Cut the connection."""
        self.doors.leave(self, self._address)
        self.idle_since = None
        self.transport.abort()

    def close_gently(self) -> None:
        """End the connection; a client that still sends is given time to read the answer first."""
        self.idle_since = None
        unread = self.cycle is None or self.cycle.more_body or self._dropping
        self._dropping = True
        if not unread or not self.transport.can_write_eof():
            self.transport.close()
            return
        if self._linger is None and not self.transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()
            self.flow.resume_reading()
            self._linger = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(self.doors.limits.header_seconds, self._head_too_slow)

    def _head_too_slow(self) -> None:
        self._timer = None
        if self._dropping or self.transport.is_closing():
            return
        self.doors.cut("slow_head")
        if not self._head_bytes:
            self.transport.close()  # it never asked for anything
            return
        self._refuse(
            408,
            "slow_head",
            f"the request's head did not arrive within {self.doors.limits.header_seconds:g} s",
        )

    def _not_taken(self) -> None:
        self._send_timer = None
        self.doors.cut("slow_reader")
        self.transport.abort()

    def _refuse(self, status: int, code: str, message: str, *, retry: int | None = None) -> None:
        """Answer without the application, and end the connection."""
        body = RefusalError(status, code, message).body()
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            *([f"retry-after: {retry}"] if retry is not None else []),
        ]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._dropping = True
        self.close_gently()


def _check_head(headers: list[tuple[bytes, bytes]], version: str) -> None:
    """Refuse a head that another server could read in another way: request smuggling.

    Raises
    ------
    ValueError
        Becomes a 400: the parser calls this, and an error of its callback is one of the request.
    """
    names = [name for name, _ in headers]
    if names.count(b"host") > 1 or (version == "1.1" and b"host" not in names):
        raise ValueError("expected one Host")
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or b"content-length" in names or version != "1.1"):
        raise ValueError("expected Content-Length or one chunked Transfer-Encoding")
    if names.count(b"content-length") > 1:
        raise ValueError("expected one Content-Length")
