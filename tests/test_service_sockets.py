"""The service against clients that are slow, idle, gone or ambiguous: bytes on a socket, nothing between."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
import time

import pytest
from support.raw_client import local_service
from support.traced import HashEncoder, a_judge

ROW = {"prompt": "hello there", "timestamp": "2026-01-15T10:00:00Z"}
BODY = json.dumps({"accounts": [{"account_id": "a", "prompts": [ROW]}]}).encode()
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def head(*headers: str, method: str = "POST", path: str = "/v1/score") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def request(body: bytes = BODY) -> bytes:
    return head(f"Content-Length: {len(body)}") + body


@pytest.fixture(scope="module")
def service():
    with local_service(a_judge(scorecard=False)) as running:
        yield running


class HeldEncoder(HashEncoder):
    """Works only when let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.started = threading.Event()

    def encode(self, texts):
        self.started.set()
        assert self.let.wait(30)
        return super().encode(texts)


@contextlib.contextmanager
def held_service(**limits):
    encoder = HeldEncoder()
    judge = dataclasses.replace(a_judge(scorecard=False), encoder=encoder)
    with local_service(judge, **limits) as running:
        try:
            yield running, encoder
        finally:
            encoder.let.set()


def test_answers_leave_at_once(service):
    """Without TCP_NODELAY a keep-alive answer of two packets waits 40 ms for the client's acknowledgement."""
    with service.client() as client:
        client.send(HEALTH)
        client.answer()
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            client.send(HEALTH)
            assert client.answer().status == 200
            seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[2] < 0.03


def test_a_client_that_never_asks_is_let_go():
    with local_service(a_judge(scorecard=False), header_seconds=0.2) as running:
        with running.client() as idle:
            assert idle.is_closed_within(10)
        with running.client() as slow:
            slow.send(b"GET /healthz HT", b"TP/1.1\r\nHo", pause=0.05)
            assert (slow_answer := slow.answer()).status == 408
            assert slow_answer.code == "slow_head"
        with running.client() as second:
            second.send(HEALTH)
            assert second.answer().status == 200
            second.send(b"GET /heal")
            assert second.answer().code == "slow_head"
        with running.client() as blank:
            blank.send(HEALTH)
            assert blank.answer().status == 200
            blank.send(b"\r\n")
            assert blank.is_closed_within(10) or blank


def test_idle_connections_make_room_for_others():
    """256 idle connections, of anybody, made everything a 503 for as long as they liked."""
    with local_service(a_judge(scorecard=False), connections=8, connections_of_address=8) as running:
        idle = [running.client() for _ in range(30)]
        assert running.healthy_within() < 10
        assert idle[0].is_closed_within(10)
        assert running.metrics.connections._value.get() <= 8
        for one in idle:
            one.__exit__()


def test_connections_at_work_are_not_cut_for_new_ones():
    with held_service(connections=3, connections_of_address=3) as (running, encoder):
        busy = [running.client() for _ in range(3)]
        for one in busy:
            one.send(request())
        assert encoder.started.wait(20)
        while running.queue.waiting[0] < 3:
            time.sleep(0.01)
        with running.client() as more:
            refused = more.answer()
            assert (refused.status, refused.code) == (503, "too_many_connections")
            assert refused.headers["retry-after"] == "1"
        encoder.let.set()
        assert [one.answer().status for one in busy] == [200] * 3
        for one in busy:
            one.__exit__()


def test_a_body_that_dawdles_is_refused():
    with local_service(a_judge(scorecard=False), body_seconds=0.2) as running, running.client() as client:
        client.send(head("Content-Length: 100") + b"{")
        answer = client.answer()
        assert (answer.status, answer.code) == (408, "slow_body")
        assert answer.headers["connection"] == "close"


def test_a_refused_upload_in_one_byte_chunks_keeps_nobody_waiting(service):
    """uvicorn's parser in Python stopped the event loop for seconds."""
    flood = b"1\r\n \r\n" * 2_000_000
    with service.client() as client:
        client.send(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")

        def pour() -> None:
            with contextlib.suppress(OSError):
                client.send(flood)

        pouring = threading.Thread(target=pour)
        pouring.start()
        try:
            assert service.healthy_within() < 5
            assert client.answer().code == "not_found"
        finally:
            pouring.join(20)
    assert not pouring.is_alive()


def test_a_client_that_still_sends_gets_to_read_why_it_was_refused(service):
    with service.client() as client:
        client.send(head("Content-Length: 99999999999"), b" " * 500_000)
        answer = client.answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert client.is_closed_within(10)


@pytest.mark.slow
def test_a_client_that_takes_nothing_of_its_answer_is_cut():
    rows = [{**ROW, "prompt": None}] * 40_000
    body = json.dumps({"accounts": [{"account_id": "a", "prompts": rows}]}).encode()
    with local_service(a_judge(scorecard=False), send_seconds=0.3) as running:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", running.port))
        with connection:
            connection.sendall(request(body))
            deadline = time.monotonic() + 30
            while running.metrics.cut.labels("slow_reader")._value.get() == 0:
                assert time.monotonic() < deadline
                time.sleep(0.05)


@pytest.mark.parametrize("leave", ["close", "half_close"])
def test_work_whose_client_has_gone_is_not_done(leave):
    with held_service() as (running, encoder):
        with running.client() as first, running.client() as gone:
            first.send(request())
            assert encoder.started.wait(20)
            gone.send(request(BODY.replace(b"hello there", b"nobody waits for this")))
            while running.queue.waiting[0] < 2:
                time.sleep(0.01)
            if leave == "close":
                gone.__exit__()
            else:
                gone.half_close()
            deadline = time.monotonic() + 20
            while running.queue.waiting[0] > 1:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            encoder.let.set()
            assert first.answer().status == 200
        assert running.queue.waiting == (0, 0)
    assert not any("nobody waits for this" in call for call in encoder.calls)


SMUGGLED = {
    "both lengths": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "two lengths": ["Content-Length: 5", "Content-Length: 6"],
    "the same length twice": ["Content-Length: 5", "Content-Length: 5"],
    "other coding": ["Transfer-Encoding: gzip, chunked"],
    "coding twice": ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    "odd coding": ["Transfer-Encoding: xchunked"],
    "space before the colon": ["Content-Length : 5"],
    "folded": ["Content-Length:", " 5"],
    "plus": ["Content-Length: +5"],
    "second host": ["Host: other"],
}


@pytest.mark.parametrize("case", SMUGGLED)
def test_a_head_that_can_be_read_in_two_ways_is_refused_and_ends_the_connection(service, case):
    hidden = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with service.client() as client:
        client.send(head(*SMUGGLED[case]) + hidden)
        answer = client.answer()
        assert (answer.status, answer.code) == (400, "invalid_http")
        assert answer.headers["connection"] == "close"
        assert client.is_closed_within(10), "what follows is no request"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 200_000, 431),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)
def test_what_is_refused_before_the_application_has_the_same_form(service, raw, status):
    with service.client() as client:
        client.send(raw)
        answer = client.answer()
        assert answer.status == status
        assert answer.code
        assert b"evil" not in answer.body


def test_requests_in_one_packet_are_answered_in_their_order(service):
    with service.client() as client:
        client.send(request() + HEALTH + head(method="GET", path="/nowhere"))
        assert [client.answer().status for _ in range(3)] == [200, 200, 404]


def test_what_is_no_request_after_one_does_not_change_its_answer(service):
    with service.client() as client:
        client.send(request() + b"\x00\x00garbage\r\n\r\n")
        assert client.answer().status == 200
        assert client.is_closed_within(10)


def test_head_answers_have_no_body(service):
    with service.client() as client:
        client.send(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEALTH)
        first = client._connection
        client.send(b"")
        received = b""
        while received.count(b"HTTP/1.1 200") < 2 or not received.endswith(b"}"):
            received += first.recv(65536)
        assert received.count(b'"status"') == 1


def test_a_stop_answers_those_who_wait_and_ends_in_time():
    """With more work than the grace it was five 500s with tracebacks, after 40 s."""
    with held_service(grace_seconds=2.0) as (running, encoder):
        with running.client() as worked_on, running.client() as queued, running.client() as sending:
            worked_on.send(request())
            assert encoder.started.wait(20)
            queued.send(request())
            sending.send(head("Content-Length: 100") + b"{")
            while running.queue.waiting[0] < 2:
                time.sleep(0.01)
            started = time.monotonic()
            running.stop()
            assert (late := queued.answer()).status == 503
            assert late.code == "stopping"
            assert late.headers["retry-after"] == "1"
            assert sending.answer().code == "stopping"
            assert worked_on.answer().code == "stopping", "its work is longer than the grace"
        running.thread.join(20)
        assert not running.thread.is_alive()
        assert time.monotonic() - started < 10
