"""An S3 store on this machine for tests: moto's, made atomic, with a gate and a list of what was asked.

Run as a program it prints its port and serves until it is killed. It is a process of its own because Delta
Lake holds Python's lock while it waits for some answers: a thread of the same process would never give them.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

KEY, SECRET = "AKIATESTSTHEKEY", "tests-only-secret-of-the-store"
#: Asked of the server itself: gives the requests since it was asked last.
SEEN = "/_seen"
#: Tells the server itself: the next so many requests are refused as by a busy store; the answer to the next
#: conditional write gets lost, though it is done.
BUSY, LOSE = "/_busy/", "/_lose"


class Gate:
    """WSGI: one request at a time, only with the known key, each noted, some spoilt.

    One at a time, since moto looks whether an object is there (`If-None-Match: *`) and then writes it, which
    two threads can do at once; S3 itself is atomic.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._seen: list[dict[str, str]] = []
        self._busy = 0
        self._lose = False

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == SEEN:
            with self._lock:
                seen, self._seen = self._seen, []
            return _answer(start, "200 OK", "application/json", json.dumps(seen))
        if environ["PATH_INFO"] == LOSE:
            self._lose = True
            return _answer(start, "200 OK", "text/plain", "")
        if environ["PATH_INFO"].startswith(BUSY):
            self._busy = int(environ["PATH_INFO"].removeprefix(BUSY))
            return _answer(start, "200 OK", "text/plain", "")
        if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return _answer(
                start,
                "403 Forbidden",
                "application/xml",
                "<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not "
                "exist in our records.</Message><AWSAccessKeyId>from-the-store</AWSAccessKeyId></Error>",
            )
        listed = environ["REQUEST_METHOD"] == "GET" and "list-type=2" in environ["QUERY_STRING"]
        noted = {
            "kind": "LIST" if listed else environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "query": environ["QUERY_STRING"],
            "only_new": environ.get("HTTP_IF_NONE_MATCH", ""),
            "range": environ.get("HTTP_RANGE", ""),
        }
        with self._lock:
            self._seen.append(noted)
            if self._busy:
                self._busy -= 1
                return _answer(
                    start, "503 Slow Down", "application/xml", "<Error><Code>SlowDown</Code></Error>"
                )
            if self._lose and noted["only_new"]:
                self._lose = False
                list(self._app(environ, lambda *_: None))
                return _answer(start, "500 Internal Server Error", "text/plain", "")
            return list(self._app(environ, start))


def _answer(start: Any, status: str, kind: str, text: str) -> list[bytes]:
    start(status, [("Content-Type", kind), ("Content-Length", str(len(text)))])
    return [text.encode()]


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1",
        0,
        Gate(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
    print(server.server_port, flush=True)
    server.serve_forever()
