"""What every request passes: its `Host`, its id, the headers of its answer, and the line in the log."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coverage_lab.service.logs import event
from coverage_lab.service.metrics import Metrics
from coverage_lab.service.refusal import RefusalError
from coverage_lab.service.work import internal, where

_log = logging.getLogger(__name__)

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'",
    ),
)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
#: Asked for every few seconds: counted, and logged only where they fail.
_PROBES: Final = ("/healthz", "/readyz", "/metrics")
_ROUTES: Final = (
    *_PROBES,
    "/v1/score",
    "/v1/accounts:lookup",
    "/v1/flags",
    "/v1/campaigns",
    "/docs",
    "/openapi.json",
)
#: Routes whose paths end in an id, which is neither counted by nor logged.
_BY_ID: Final = {"/v1/accounts/": "/v1/accounts/{account_id}", "/v1/campaigns/": "/v1/campaigns/{campaign}"}


@dataclass
class Note:
    """What is known of a request while it is worked on, for its line in the log.

    Attributes
    ----------
    code : str
        Of the error, for programs; empty where there is none.
    fields : dict
        Numbers that are logged: accounts, prompts, bytes, milliseconds by stage.
    """

    request_id: str
    address: str
    key: str = ""
    code: str = ""
    fields: dict[str, object] = field(default_factory=dict)


def note_of(scope: Scope) -> Note:
    """The note of a request that has passed the gate."""
    note = scope["coverage_lab.note"]
    assert isinstance(note, Note)
    return note


class Gate:
    """ASGI middleware around everything else.

    Parameters
    ----------
    hosts : iterable of str
        Names that a request's `Host` may have, besides localhost and plain addresses: with those no page of
        another site can make a browser ask (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], metrics: Metrics) -> None:
        self._app = app
        self._hosts = frozenset({"localhost", *(host.lower().rstrip(".") for host in hosts)})
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        host, given_id, has_body = _looked_at(scope)
        request_id = given_id or secrets.token_hex(8)
        client = scope.get("client")
        note = Note(request_id, client[0] if client else "local")
        scope["coverage_lab.note"] = note
        status = 0
        unread = has_body

        async def receive_noting() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                unread = False
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(b"x-request-id", request_id.encode())]
                if unread:
                    # What is left of the body is not read to find out where the next request begins.
                    extra.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *_HEADERS, *extra]
            await send(message)

        try:
            if host is None or not self._is_known(host):
                note.code = "misdirected"
                await _send_refusal(
                    RefusalError(
                        421,
                        "misdirected",
                        "this service is not known by that Host; add it to service.hosts in its config",
                    ),
                    send_with_headers,
                )
                return
            await self._app(scope, receive_noting if has_body else receive, send_with_headers)
        except Exception as error:
            # Neither its message nor a traceback, which may hold prompt text: only where it happened.
            note.code = "internal"
            where_it_was = where(error)
            event(
                _log,
                logging.ERROR,
                f"failed: {type(error).__name__} at {where_it_was}",
                request_id=request_id,
            )
            if not status:
                await _send_refusal(internal(), send_with_headers)
        finally:
            self._count(scope, note, status, time.perf_counter() - started)

    def _is_known(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        else:
            name = name.rpartition(":")[0] if re.search(r":\d*$", name) else name
        if name.rstrip(".") in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _count(self, scope: Scope, note: Note, status: int, seconds: float) -> None:
        route = _route_of(scope["path"])
        self._metrics.requests.labels(route, str(status), note.code).inc()
        if route == "/v1/score":
            self._metrics.seconds.labels("whole").observe(seconds)
        if route in _PROBES and status < 400:
            return
        event(
            _log,
            logging.INFO,
            "request",
            request_id=note.request_id,
            address=note.address,
            key=note.key,
            method=scope["method"],
            route=route,
            status=status,
            code=note.code,
            ms=round(1e3 * seconds, 1),
            **note.fields,
        )


def _route_of(path: str) -> str:
    """Only routes that there are: a label for each path that somebody tries would fill the memory."""
    if path in _ROUTES:
        return path
    return next((route for start, route in _BY_ID.items() if path.startswith(start)), "other")


def _looked_at(scope: Scope) -> tuple[str | None, str, bool]:
    """Host, request id that was sent with it, and whether a body comes."""
    host: str | None = None
    request_id = ""
    has_body = False
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            has_body = True
    return host, request_id, has_body


async def _send_refusal(error: RefusalError, send: Send) -> None:
    body = error.body()
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
