"""The service as a process of its own: where it listens, how it stops, what it writes, hostile sockets."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from support.traced import a_judge, a_scorecard

import coverage_lab
from coverage_lab.config import RunConfig
from coverage_lab.detect.load import resolve_config
from coverage_lab.errors import ConfigError
from coverage_lab.service import serve, serve_forever

KEY = "correct-horse-battery"
SECRET = "the launch code is 0451"
BODY = {
    "accounts": [
        {"account_id": "a", "prompts": [{"prompt": SECRET, "timestamp": "2026-01-15T10:00:00Z"}]},
    ]
}
LIMIT = 64 * 2**20

#: `coverage-lab serve` with a judge that needs no model, and the scorecard that it is given.
PROGRAM = """
import dataclasses, sys, time
from coverage_lab import cli
from coverage_lab.service import serve
from coverage_lab.detect import Scorecard
from support.traced import HashEncoder, a_judge
class Encoder(HashEncoder):
    def encode(self, texts):
        if "slow" in texts:
            print("working", flush=True)
            time.sleep(1)
        return super().encode(texts)
card = Scorecard.model_validate_json(sys.stdin.read())
judge = dataclasses.replace(a_judge(scorecard=False), encoder=Encoder(), scorecard=card)
serve.load_judge = lambda config, threads: judge
sys.argv = ["coverage-lab", "serve", "--port", "0", "--encoder", "static", *sys.argv[1:]]
cli.main()
"""


@dataclasses.dataclass
class Service:
    """A running service."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, number: signal.Signals) -> tuple[int, str, str]:
        """Exit code, and what was written since the first line."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def start(*options: str, api_key: str | None = None) -> Service:
    root = Path(coverage_lab.__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if name != serve.API_KEY_VARIABLE}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (root, root / "kernels", Path(__file__).parent)))
    if api_key is not None:
        environment[serve.API_KEY_VARIABLE] = api_key
    with tempfile.TemporaryFile() as card:
        card.write(a_scorecard().model_dump_json().encode())
        card.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *options],
            env=environment,
            stdin=card,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"coverage-lab: listening on (http://\S+) \(docs at /docs\)\n", line)
    if found is None:
        process.kill()
        pytest.fail(f"expected the line that says where it listens, got {line!r}: {process.communicate()}")
    return Service(process, found[1])


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One process for the tests that leave it running."""
    running = start()
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_stops_cleanly_and_writes_neither_key_nor_text(number):
    running = start(api_key=KEY)
    try:
        assert running.url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=running.url, timeout=30) as http:
            assert http.get("/healthz").json()["status"] == "ok"
            key = {"authorization": f"Bearer {KEY}"}
            answer = http.post("/v1/score", json=BODY, headers=key)
            assert answer.json()["accounts"][0]["prompts"] == 1
            assert "server" not in answer.headers
            assert answer.headers["cache-control"] == "no-store"
            assert http.post("/v1/score", json=BODY).status_code == 401
            assert http.post("/v1/score", json={"accounts": [SECRET]}, headers=key).status_code == 422
        code, out, err = running.stop(number)
    finally:
        running.process.kill()
    assert (code, out) == (0, "")
    assert SECRET not in err
    assert KEY not in err
    lines = [json.loads(line) for line in err.splitlines()]
    asked = [line for line in lines if line["event"] == "request"]
    assert [(line["status"], line["key"], line["code"]) for line in asked] == [
        (200, "environment", ""),
        (401, "", "unauthorized"),
        (422, "environment", "invalid_request"),
    ]
    assert (asked[0]["accounts"], asked[0]["prompts"]) == (1, 1)
    assert {"request_id", "ms", "queue_ms", "judge_ms"} <= set(asked[0])


def test_a_stop_waits_for_the_answer_that_is_worked_on():
    running = start()
    answers: list[httpx.Response] = []
    slow = {
        "accounts": [{"account_id": "a", "prompts": [BODY["accounts"][0]["prompts"][0] | {"prompt": "slow"}]}]
    }
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{running.url}/v1/score", json=slow, timeout=30))
    )
    try:
        asking.start()
        assert running.process.stdout.readline() == "working\n"
        assert answers == []
        code, out, err = running.stop(signal.SIGTERM)
        asking.join()
    finally:
        running.process.kill()
    assert [answer.status_code for answer in answers] == [200]
    assert (code, out) == (0, "")
    assert [json.loads(line)["status"] for line in err.splitlines()] == [200]


def exchange(service: Service, *parts: bytes, half_close: bool = False) -> bytes:
    """Send bytes as they are; what comes back until the other side is done or silent."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while more := connection.recv(65536):
                received += more
                connection.settimeout(0.5)
        except (TimeoutError, ConnectionResetError):
            return received
        return received


def head(*headers: str) -> bytes:
    lines = ["POST /v1/score HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_a_length_beyond_the_limit_is_refused_unread(service):
    answer = exchange(service, head("Content-Length: 99999999999999"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


def test_a_length_shorter_than_the_body_ends_the_body_there(service):
    raw = json.dumps(BODY).encode()
    answer = exchange(service, head("Content-Length: 10"), raw)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"invalid_json" in answer
    assert b"0451" not in answer


def test_a_length_longer_than_the_body_is_no_request(service):
    exchange(service, head("Content-Length: 500"), b"{}", half_close=True)
    assert httpx.get(f"{service.url}/healthz", timeout=30).status_code == 200


def test_an_endless_chunked_body_is_cut_off(service):
    def chunks() -> Iterator[bytes]:
        for _ in range(LIMIT // 2**20 + 2):
            yield b" " * 2**20

    response = httpx.post(
        f"{service.url}/v1/score", content=chunks(), headers={"content-type": "application/json"}, timeout=30
    )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


def test_a_chunked_body_within_the_limit_is_read(service):
    raw = json.dumps(BODY).encode()
    content = (raw[at : at + 11] for at in range(0, len(raw), 11))
    response = httpx.post(
        f"{service.url}/v1/score", content=content, headers={"content-type": "application/json"}, timeout=30
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    "raw",
    [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/score HTTP/1.1\r\nA: " + b"x" * 200_000],
)
def test_what_is_not_http_is_refused_and_the_service_goes_on(service, raw):
    # A reset may overtake the answer to a client that still sends.
    assert exchange(service, raw)[:10] in (b"HTTP/1.1 4", b"")
    assert httpx.get(f"{service.url}/healthz", timeout=30).status_code == 200


def test_requests_of_many_clients_are_all_answered(service):
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(httpx.post(f"{service.url}/v1/score", json=BODY, timeout=30))

    threads = [threading.Thread(target=ask) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 9
    assert len({answer.content for answer in answers}) == 1


@pytest.fixture
def no_key(monkeypatch):
    monkeypatch.delenv(serve.API_KEY_VARIABLE, raising=False)


@pytest.fixture
def not_run(monkeypatch) -> list[list[socket.socket]]:
    """Stands in for the server's run, and for a judge that needs a model; what was listened on."""
    ran: list[list[socket.socket]] = []
    monkeypatch.setattr(serve, "load_judge", lambda config, threads: a_judge())
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: ran.append(sockets))
    return ran


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_a_key_is_needed(host, no_key, not_run, monkeypatch):
    with pytest.raises(
        ConfigError,
        match=r"only loopback is served without an API key; make one with `coverage-lab service key new`",
    ) as error:
        serve_forever(RunConfig(), host=host, port=0)
    assert "\n" not in str(error.value)
    assert not_run == []
    monkeypatch.setenv(serve.API_KEY_VARIABLE, KEY)
    serve_forever(RunConfig(), host="0.0.0.0", port=0)
    assert len(not_run) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost"])
def test_loopback_needs_no_key(host, no_key, not_run, capsys):
    serve_forever(RunConfig(), host=host, port=0)
    assert len(not_run) == 1
    assert re.fullmatch(
        r"coverage-lab: listening on http://\S+:[1-9]\d* \(docs at /docs\)\n", capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "expected 16 characters or more, got 0"),
        ("fifteen-letters", "expected 16 characters or more, got 15"),
        ("sixteen letters!", "without spaces"),
        ("schlüssel-für-uns", "expected ASCII"),
        ("line\nbreak-in-a-key", "without spaces"),
    ],
)
def test_a_key_that_can_not_be_used_is_refused_and_not_shown(key, problem, not_run, monkeypatch):
    monkeypatch.setenv(serve.API_KEY_VARIABLE, key)
    with pytest.raises(ConfigError, match=problem) as error:
        serve_forever(RunConfig(), host="127.0.0.1", port=0)
    assert key == "" or key not in str(error.value)
    assert not_run == []


def test_a_port_that_is_taken_is_one_clear_message(no_key, not_run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--host 127\.0\.0\.1 --port {port}: can't listen there"):
            serve_forever(RunConfig(), host="127.0.0.1", port=port)
    assert not_run == []


@pytest.mark.parametrize("host", ["no such host", "", "a" * 300])
def test_a_host_without_an_address_is_one_clear_message(host, no_key, not_run):
    with pytest.raises(ConfigError, match="expected an address or a name that has one"):
        serve_forever(RunConfig(), host=host, port=0)


def test_signal_handlers_are_put_back(no_key, not_run):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    serve_forever(RunConfig(), host="127.0.0.1", port=0)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_config_id_is_that_of_run_for_the_same_config(no_key, not_run, monkeypatch):
    """`encoder.name = auto` is resolved before the digest is taken, as `run` does it."""
    seen: list[RunConfig] = []

    def load(config: RunConfig, *, threads: int):
        seen.append(config)
        return a_judge()

    monkeypatch.setattr(serve, "load_judge", load)
    config = RunConfig.model_validate({"encoder": {"name": "auto", "device": "cpu"}})
    serve_forever(config, host="127.0.0.1", port=0)
    assert seen[0].encoder.name == "static"
    assert seen[0] == resolve_config(config), "what `run` goes on with"


def test_a_missing_library_is_named_with_its_extra():
    program = """
import sys
sys.modules["uvicorn"] = None
from coverage_lab import cli
sys.argv = ["coverage-lab", "serve"]
cli.main()
"""
    root = Path(coverage_lab.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (root, root / "kernels")))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "coverage-lab: serve needs fastapi and uvicorn, which is not installed: "
        "pip install 'coverage-lab[service]'"
    )
