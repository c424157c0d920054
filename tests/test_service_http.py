"""The HTTP layer in this process: keys, limits, queue, errors in one form, headers, docs."""

from __future__ import annotations

import asyncio
import gc
import gzip
import html.parser
import json
import logging
import threading
import time
import tracemalloc
import types
from collections.abc import AsyncIterator

import httpx
import jsonschema
import pytest
import zstandard
from support.traced import HashEncoder, a_judge
from support.traced import said as word

import coverage_lab
from coverage_lab.config import ServiceConfig, TrafficConfig
from coverage_lab.detect import Judge
from coverage_lab.service import Scoring, create_app
from coverage_lab.service.keys import KeyRing
from coverage_lab.service.request import AskedAccount
from coverage_lab.service.work import WorkQueue

KEY = "correct-horse-battery"
SECRET = "the launch code is 0451"
BODY = {
    "accounts": [
        {"account_id": "a", "prompts": [{"prompt": SECRET, "timestamp": "2026-01-15T10:00:00Z"}]},
    ]
}
JSON = {"content-type": "application/json"}


def an_app(
    *,
    judge: Judge | None = None,
    limits: ServiceConfig | None = None,
    api_key: str | None = None,
    lanes: int | None = None,
):
    scoring = Scoring(judge or a_judge(), TrafficConfig(), limits or ServiceConfig(), threads=1)
    return create_app(
        scoring,
        keys=KeyRing(environment=api_key),
        queue=None if lanes is None else WorkQueue(scoring, scoring.limits, lanes=lanes),
        hosts=["test"],
    )


def client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
    )


def call(app, method: str, path: str, **request) -> httpx.Response:
    async def once() -> httpx.Response:
        async with client(app) as http:
            return await http.request(method, path, **request)

    return asyncio.run(once())


def post(app, **request) -> httpx.Response:
    return call(app, "POST", "/v1/score", **request)


def said(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message of an error, whose body has nothing else."""
    assert response.headers["content-type"] == "application/json"
    value = response.json()
    assert list(value) == ["error"]
    assert list(value["error"]) == ["code", "message"]
    return response.status_code, value["error"]["code"], value["error"]["message"]


def test_scores_over_http_are_those_of_scoring():
    scoring = Scoring(a_judge(), TrafficConfig(), ServiceConfig(), threads=1)
    response = post(create_app(scoring, hosts=["test"]), json=BODY)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.content == scoring.answer(json.dumps(BODY).encode())
    assert response.json()["accounts"][0]["verdict"] == "inconclusive"


def test_health_says_what_is_judged_with():
    judge = a_judge()
    assert call(an_app(judge=judge), "GET", "/healthz").json() == {
        "status": "ok",
        "version": coverage_lab.__version__,
        "encoder": "hash",
        "encoder_id": judge.encoder.id,
        "atlas_id": judge.atlas.id,
        "model_id": judge.scorecard.id,
        "second": None,
        "config_id": "tests",
    }


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY.upper()}",
        "Bearer ключ".encode(),
    ],
)
def test_a_wrong_key_is_refused(header):
    headers = {} if header is None else {"authorization": header}
    response = post(an_app(api_key=KEY), json=BODY, headers=headers)
    assert said(response)[:2] == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert KEY not in response.text


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "])
def test_the_right_key_is_let_in(header):
    assert post(an_app(api_key=KEY), json=BODY, headers={"authorization": header}).status_code == 200


def test_the_key_is_checked_before_the_body_is_read():
    read = []

    async def receive() -> dict[str, object]:
        read.append(1)
        return {"type": "http.request", "body": b"{}", "more_body": False}

    assert asyncio.run(raw_status(an_app(api_key=KEY), receive, [])) == 401
    assert read == []


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json"])
def test_open_without_a_key(path):
    assert call(an_app(api_key=KEY), "GET", path).status_code == 200


def test_the_key_is_not_kept():
    # Built at run time, so that no constant of this module is the string that is looked for.
    key = "".join(["kept", "-nowhere-", "at-all"])
    app = an_app(api_key=key)
    assert post(app, json=BODY, headers={"authorization": f"Bearer {key}"}).status_code == 200
    app.state.canary = ["".join(["a-can", "ary"])]
    texts = reachable_texts(app)
    assert "a-canary" in texts
    assert not [text for text in texts if key in text]


def reachable_texts(start: object) -> list[str]:
    """All strings that an object leads to, but by way of a module's globals or a class."""
    seen, todo, texts = set(), [start], []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | types.ModuleType):
            continue
        seen.add(id(thing))
        if isinstance(thing, dict) and "__builtins__" in thing:
            continue
        if isinstance(thing, str | bytes):
            texts.append(thing if isinstance(thing, str) else thing.decode("latin-1"))
        todo += gc.get_referents(thing)
    return texts


async def raw_status(app, receive, headers: list[tuple[bytes, bytes]]) -> int:
    """Status of a POST whose messages and headers are exactly these."""
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/score",
        "raw_path": b"/v1/score",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return sent[0]["status"]


@pytest.mark.parametrize("declared", [None, b"10", b"0", b"-1", b"1e3", "٣".encode()])
def test_the_body_is_counted_while_it_comes_whatever_its_length_is_said_to_be(declared):
    given = []

    async def receive() -> dict[str, object]:
        given.append(1)
        assert len(given) < 10
        return {"type": "http.request", "body": b" " * 400, "more_body": True}  # without end

    headers = [] if declared is None else [(b"content-length", declared)]
    app = an_app(limits=ServiceConfig(max_body_bytes=1000))
    assert asyncio.run(raw_status(app, receive, headers)) == 413
    assert len(given) == 3


@pytest.mark.parametrize("declared", [b"1001", b"9" * 5000])
def test_a_body_that_says_it_is_too_long_is_not_read(declared):
    async def receive() -> dict[str, object]:
        raise AssertionError("read")

    app = an_app(limits=ServiceConfig(max_body_bytes=1000))
    assert asyncio.run(raw_status(app, receive, [(b"content-length", declared)])) == 413


def test_a_client_that_goes_away_is_no_failure(caplog):
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    with caplog.at_level(logging.DEBUG):
        assert asyncio.run(raw_status(an_app(), receive, [])) == 400
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_chunked_body_up_to_the_limit_is_read():
    raw = json.dumps(BODY).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 7):
            yield raw[start : start + 7]

    at_limit, below = ServiceConfig(max_body_bytes=len(raw)), ServiceConfig(max_body_bytes=len(raw) - 1)
    assert post(an_app(limits=at_limit), content=chunks(), headers=JSON).status_code == 200
    assert said(post(an_app(limits=below), content=chunks(), headers=JSON)) == (
        413,
        "body_too_large",
        f"expected a body of at most {len(raw) - 1} bytes; split it by account",
    )


def test_a_body_that_dawdles_is_refused():
    async def chunks() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    app = an_app(limits=ServiceConfig(body_seconds=0.05))
    assert said(post(app, content=chunks(), headers=JSON)) == (
        408,
        "slow_body",
        "the body did not arrive within 0.05 s",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {},
        {"content-type": "application/json", "content-encoding": "br"},
        {"content-type": "application/json", "content-encoding": "gzip, zstd"},
        {"content-type": "text/plain", "content-encoding": "gzip"},
    ],
)
def test_only_json_is_read(headers):
    response = post(an_app(), content=json.dumps(BODY).encode(), headers=headers)
    assert said(response)[:2] == (415, "unsupported_media_type")


def packed(coding: str, *parts: bytes) -> bytes:
    """By the standard library and by zstandard, whichever reads it."""
    pack = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[coding]
    return b"".join(pack(part) for part in parts)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "ZSTD"])
@pytest.mark.parametrize("prompts", [1, 2_000], ids=["one piece", "many pieces"])
def test_a_compressed_body_is_answered_as_the_plain_one(coding, prompts):
    app, body = an_app(), json.dumps(request_of(2, prompts, name="x" * 200)).encode()
    headers = JSON | {"content-encoding": coding}
    plain = post(app, content=body, headers=JSON)
    assert plain.status_code == 200
    whole = packed(coding.lower(), body)
    assert post(app, content=whole, headers=headers).json() == plain.json()
    in_two = packed(coding.lower(), body[:70], body[70:])
    assert post(app, content=in_two, headers=headers).json() == plain.json()


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_that_unpacks_to_more_than_the_limit_is_refused(coding):
    app = an_app(limits=ServiceConfig(max_body_bytes=2**20))
    bomb = packed(coding, b" " * 2**28)
    headers = JSON | {"content-encoding": coding}
    tracemalloc.start()
    response = post(app, content=bomb, headers=headers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said(response)[:2] == (413, "body_too_large")
    assert peak < len(bomb) + 20 * 2**20
    held = call(app, "GET", "/metrics").text
    assert "coverage_lab_held_bytes 0.0" in held.splitlines()
    fits = packed(coding, b"{}" + b" " * (2**20 - 2))
    assert said(post(app, content=fits, headers=headers))[:2] == (422, "invalid_request")


def test_what_is_unpacked_counts_as_held():
    app = an_app(limits=ServiceConfig(max_held_bytes=2**20))
    big = packed("gzip", b" " * 2**21)
    headers = JSON | {"content-encoding": "gzip"}
    assert said(post(app, content=big, headers=headers))[:2] == (503, "busy")
    assert post(app, json=BODY).status_code == 200


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("gzip", b"{}"),
        ("zstd", b"{}"),
        ("zstd", packed("gzip", b"{}")),
        ("gzip", packed("gzip", b'{"accounts": []}')[:-12]),
        ("zstd", packed("zstd", b'{"accounts": []}' * 99)[:-5]),
        ("gzip", packed("gzip", b"{}") + b"more"),
    ],
    ids=["plain as gzip", "plain as zstd", "gzip as zstd", "short gzip", "short zstd", "more after gzip"],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(coding, content):
    response = post(an_app(), content=content, headers=JSON | {"content-encoding": coding})
    assert said(response)[:2] == (400, "invalid_encoding")


def test_a_charset_is_no_other_media_type():
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert post(an_app(), content=json.dumps(BODY).encode(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", (400, "invalid_json")),
        (b"[" * 2_000_000, (413, "too_many_values")),
        (b'{"accounts": "\xff"}', (400, "invalid_json")),
        (b'{"accounts": NaN}', (400, "invalid_json")),
        (b'{"accounts": []}', (422, "invalid_request")),
        (b'{"accounts": [{}, {}, {}]}', (413, "too_many_accounts")),
        (b'{"accounts": [{"prompts": [{}, {}, {}, {}]}]}', (413, "too_many_prompts")),
    ],
)
def test_refusals_of_a_body_over_http(content, expected):
    app = an_app(limits=ServiceConfig(max_accounts=2, max_prompts=3))
    assert said(post(app, content=content, headers=JSON))[:2] == expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nowhere", (404, "not_found")),
        ("GET", "/v1/score", (405, "method_not_allowed")),
        ("POST", "/healthz", (405, "method_not_allowed")),
        ("GET", "/redoc", (404, "not_found")),
    ],
)
def test_errors_of_routing_have_the_same_form(method, path, expected):
    assert said(call(an_app(), method, path))[:2] == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/score"), ("GET", "/healthz"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/no")],
)
@pytest.mark.parametrize("api_key", [None, KEY])
def test_every_answer_has_the_security_headers(method, path, api_key):
    headers = call(an_app(api_key=api_key), method, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "access-control-allow-origin" not in headers


class FailingEncoder(HashEncoder):
    """Fails with the text in its message, as a library may."""

    def encode(self, texts):
        raise ValueError(f"can't encode {texts[0]}")


def test_a_failure_says_where_and_not_on_what(caplog, capfd):
    judge = a_judge()
    failing = Judge(FailingEncoder(), judge.atlas, judge.scorecard, judge.config, judge.config_id)
    app = an_app(judge=failing, api_key=KEY)
    with caplog.at_level(logging.DEBUG):
        response = post(app, json=BODY, headers={"authorization": f"Bearer {KEY}"})
    assert said(response)[:2] == (500, "internal")
    written = caplog.text + "".join(capfd.readouterr()) + response.text
    assert "ValueError at coverage_lab.service.work:" in written
    assert "test_service_http:" in written
    assert SECRET not in written
    assert "0451" not in written
    assert KEY not in written


def test_neither_text_nor_key_is_logged(caplog, capfd):
    app = an_app(api_key=KEY, limits=ServiceConfig(max_prompts=1))
    key = {"authorization": f"Bearer {KEY}"}
    bad_row = {"accounts": [{"account_id": "a", "prompts": [{"prompt": SECRET, "timestamp": SECRET}]}]}
    with caplog.at_level(logging.DEBUG):
        statuses = [
            post(app, json=BODY, headers=key).status_code,
            post(app, json=BODY, headers={"authorization": f"Bearer {KEY}!"}).status_code,
            post(
                app, json={"accounts": [{"account_id": SECRET, "prompts": SECRET}]}, headers=key
            ).status_code,
            post(app, json=bad_row, headers=key).status_code,
            post(app, content=SECRET.encode(), headers=JSON | key).status_code,
        ]
    assert statuses == [200, 401, 422, 200, 400]
    written = caplog.text + "".join(capfd.readouterr())
    assert "0451" not in written
    assert KEY not in written


class HeldEncoder(HashEncoder):
    """Works only when let, and counts how many work at once."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.started = threading.Event()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def encode(self, texts):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.started.set()
        assert self.let.wait(20)
        time.sleep(0.01)  # room for another to overlap, if anything let it
        with self._lock:
            self.now -= 1
        return super().encode(texts)


def held(
    *, api_key: str | None = None, encoder: HeldEncoder | None = None, lanes: int | None = None, **limits
):
    judge, encoder = a_judge(), encoder or HeldEncoder()
    app = an_app(
        judge=Judge(encoder, judge.atlas, judge.scorecard, judge.config, judge.config_id),
        limits=ServiceConfig(**limits),
        api_key=api_key,
        lanes=lanes,
    )
    return app, encoder


def request_of(accounts: int, prompts: int, *, name: str = "a") -> dict[str, object]:
    rows = [{"prompt": f"{name} {word(i)}", "timestamp": "2026-01-15T10:00:00Z"} for i in range(prompts)]
    return {"accounts": [{"account_id": f"{name}-{i}", "prompts": rows} for i in range(accounts)]}


def run_held(app, encoder, scenario) -> None:
    """Run a scenario with a client; what is held is let go however it ends."""

    async def run() -> None:
        async with client(app) as http:
            try:
                await asyncio.wait_for(scenario(http), 60)
            finally:
                encoder.let.set()

    asyncio.run(run())


async def begun(encoder) -> None:
    assert await asyncio.to_thread(encoder.started.wait, 20)


def queue_of(app) -> WorkQueue:
    return app.state.desk.queue


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_places_count_work_not_requests():
    """200 small requests at once were 189 refusals."""
    app, encoder = held()

    async def scenario(http) -> None:
        first = asyncio.create_task(http.post("/v1/score", json=BODY))
        await begun(encoder)
        asked = [
            asyncio.create_task(http.post("/v1/score", json=request_of(1, 1, name=f"n{i}")))
            for i in range(199)
        ]
        await until(lambda: queue_of(app).waiting[0] == 200)
        encoder.let.set()
        answers = await asyncio.gather(first, *asked)
        assert [answer.status_code for answer in answers] == [200] * 200
        assert [answer.json()["accounts"][0]["account_id"] for answer in answers[1:]] == [
            f"n{i}-0" for i in range(199)
        ]

    run_held(app, encoder, scenario)
    assert len(encoder.calls) < 10, "small requests are judged together"
    assert encoder.most <= 2


def test_what_would_wait_too_long_is_told_when_to_come_back():
    app, encoder = held(max_waiting=40)

    async def scenario(http) -> None:
        first = asyncio.create_task(http.post("/v1/score", json=request_of(1, 5)))
        await begun(encoder)
        second = asyncio.create_task(http.post("/v1/score", json=request_of(1, 5, name="b")))
        await until(lambda: queue_of(app).waiting == (2, 40))
        refused = await http.post("/v1/score", json=request_of(1, 5, name="c"))
        assert said(refused)[:2] == (503, "busy")
        assert refused.headers["retry-after"] == "1", "20 prompts too many, at a thousand a second"
        assert (await http.get("/healthz")).status_code == 200
        encoder.let.set()
        assert [(await one).status_code for one in (first, second)] == [200, 200]
        assert queue_of(app).waiting == (0, 0)
        assert (await http.post("/v1/score", json=request_of(1, 5))).status_code == 200

    run_held(app, encoder, scenario)


def test_one_key_can_not_take_all_places():
    app, encoder = held(api_key=KEY, max_waiting=100, max_share=0.3)

    async def scenario(http) -> None:
        http.headers["authorization"] = f"Bearer {KEY}"
        first = asyncio.create_task(http.post("/v1/score", json=request_of(1, 5)))
        await begun(encoder)
        refused = await http.post("/v1/score", json=request_of(1, 5, name="b"))
        assert said(refused)[:2] == (429, "quota")
        assert int(refused.headers["retry-after"]) >= 1
        encoder.let.set()
        assert (await first).status_code == 200

    run_held(app, encoder, scenario)


def test_in_one_lane_a_small_request_waits_for_one_batch_of_a_giant_one():
    app, encoder = held(batch=40, lanes=1)

    async def scenario(http) -> None:
        order: list[str] = []

        async def ask(name: str, accounts: int) -> None:
            answer = await http.post("/v1/score", json=request_of(accounts, 5, name=name))
            assert len(answer.json()["accounts"]) == accounts
            order.append(name)

        giant = asyncio.create_task(ask("giant", 8))  # four batches
        await begun(encoder)
        other = asyncio.create_task(ask("other", 8))
        small = asyncio.create_task(ask("small", 1))
        await until(lambda: queue_of(app).waiting[0] == 3)
        encoder.let.set()
        await asyncio.gather(giant, other, small)
        assert order == ["small", "giant", "other"]

    run_held(app, encoder, scenario)
    first_with_small = next(
        i for i, call in enumerate(encoder.calls) if any("small" in text for text in call)
    )
    assert first_with_small <= 1, "it is in the batch after the one that was judged when it came"
    assert encoder.most == 1


class GiantsHeld(HeldEncoder):
    """Lets small requests through."""

    def encode(self, texts):
        if any("giant" in text for text in texts):
            return super().encode(texts)
        return HashEncoder.encode(self, texts)


@pytest.mark.parametrize("queued", [0, 1])
def test_in_two_lanes_small_requests_do_not_wait_for_a_giant_one(queued):
    app, encoder = held(batch=80, encoder=GiantsHeld())

    async def scenario(http) -> None:
        giants = [asyncio.create_task(http.post("/v1/score", json=request_of(30, 5, name="giant")))]
        await begun(encoder)
        giants += [
            asyncio.create_task(http.post("/v1/score", json=request_of(9, 5, name=f"giant{i}")))
            for i in range(queued)
        ]
        await until(lambda: queue_of(app).waiting[0] == 1 + queued)
        small = [http.post("/v1/score", json=request_of(1, 5, name=f"small{i}")) for i in range(6)]
        assert [answer.status_code for answer in await asyncio.gather(*small)] == [200] * 6
        assert not any(giant.done() for giant in giants)
        encoder.let.set()
        for giant, accounts in zip(giants, (30, 9), strict=False):
            names = [account["account_id"] for account in (await giant).json()["accounts"]]
            prefix = names[0].partition("-")[0]
            assert names == [f"{prefix}-{i}" for i in range(accounts)]
        assert queue_of(app).waiting == (0, 0)

    run_held(app, encoder, scenario)


class Named:
    """Answers with the accounts' ids; an account called "held" is judged when let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.started = threading.Event()

    def judge(self, accounts):
        names = [account.account_id for account in accounts]
        if "held" in names:
            self.started.set()
            assert self.let.wait(20)
        return names

    def response(self, answers):
        return " ".join(answers).encode()

    def warm_up(self) -> None:
        pass


def test_answers_keep_the_requests_order_whichever_lane_is_faster():
    """Two requests about one account part a request between the lanes: its end is judged first."""
    scoring = Named()
    queue = WorkQueue(scoring, ServiceConfig(batch=132), lanes=2)

    def ask(*names: str):
        return queue.submit([AskedAccount(name, [{}]) for name in names], "")

    async def scenario() -> None:
        queue._threads = [threading.Thread()]  # all are asked for before any is judged
        asked = [ask("same"), ask("held", "same"), ask("other")]
        queue._threads = []
        queue.start()
        await asyncio.to_thread(scoring.started.wait, 20)
        await until(lambda: len(asked[1].answers) == 1)
        scoring.let.set()
        assert [await one.answered for one in asked] == [b"same", b"held same", b"other"]
        queue.abandon()

    asyncio.run(scenario())


def test_batches_of_the_main_lane_grow_with_its_speed(monkeypatch):
    """A batch has a fixed cost: of eight where one would do, a giant request took twice as long."""
    monkeypatch.setattr("coverage_lab.service.work._NEWEST", 0.0)
    app, encoder = held(batch=40)
    encoder.let.set()

    async def scenario(http) -> None:
        queue = queue_of(app)
        for rate, batches in ((1.0, 10), (80.0, 3), (1e6, 2)):
            queue._rate = rate
            encoder.calls.clear()
            await http.post("/v1/score", json=request_of(20, 5, name=f"of-{batches}"))
            assert len(encoder.calls) == batches

    run_held(app, encoder, scenario)


def test_small_requests_do_not_keep_a_giant_one_waiting_for_ever():
    app, encoder = held(batch=60, lanes=1)

    async def scenario(http) -> None:
        giant = asyncio.create_task(http.post("/v1/score", json=request_of(8, 5, name="giant")))
        await begun(encoder)
        small = [
            asyncio.create_task(http.post("/v1/score", json=request_of(1, 5, name=f"s{i}")))
            for i in range(24)
        ]
        await until(lambda: queue_of(app).waiting[0] == 25)
        encoder.let.set()
        assert (await giant).status_code == 200
        assert sum(one.done() for one in small) < 20, "half of each batch is for who waits longest"
        await asyncio.gather(*small)

    run_held(app, encoder, scenario)


def test_two_requests_may_ask_about_one_account_at_once():
    app, encoder = held()

    async def scenario(http) -> None:
        first = asyncio.create_task(http.post("/v1/score", json=BODY))
        await begun(encoder)
        asked = [asyncio.create_task(http.post("/v1/score", json=request_of(1, n))) for n in (1, 2, 3)]
        await until(lambda: queue_of(app).waiting[0] == 4)
        encoder.let.set()
        await first
        answers = [(await one).json()["accounts"][0]["prompts"] for one in asked]
        assert answers == [1, 2, 3]

    run_held(app, encoder, scenario)


def test_a_request_that_can_not_be_judged_does_not_take_others_with_it():
    class Poisoned(HeldEncoder):
        def encode(self, texts):
            vectors = super().encode(texts)
            if any("poison" in text for text in texts):
                raise ValueError(texts[0])
            return vectors

    judge, encoder = a_judge(), Poisoned()
    app = an_app(judge=Judge(encoder, judge.atlas, judge.scorecard, judge.config, judge.config_id))

    async def scenario(http) -> None:
        first = asyncio.create_task(http.post("/v1/score", json=BODY))
        await begun(encoder)
        asked = [
            asyncio.create_task(http.post("/v1/score", json=request_of(1, 1, name=name)))
            for name in ("b", "poison", "c")
        ]
        await until(lambda: queue_of(app).waiting[0] == 4)
        encoder.let.set()
        assert [(await one).status_code for one in (first, *asked)] == [200, 200, 500, 200]
        assert queue_of(app).waiting == (0, 0)

    run_held(app, encoder, scenario)


def test_work_that_takes_too_long_is_given_up():
    app, encoder = held(answer_seconds=0.2)

    async def scenario(http) -> None:
        late = await http.post("/v1/score", json=BODY)
        assert said(late)[:2] == (503, "too_late")
        assert int(late.headers["retry-after"]) >= 1
        assert queue_of(app).waiting == (0, 0)

    run_held(app, encoder, scenario)


def test_a_stop_answers_what_is_queued_and_finishes_what_is_judged():
    app, encoder = held()

    async def scenario(http) -> None:
        first = asyncio.create_task(http.post("/v1/score", json=BODY))
        await begun(encoder)
        queued = asyncio.create_task(http.post("/v1/score", json=request_of(1, 1, name="b")))
        await until(lambda: queue_of(app).waiting[0] == 2)
        app.state.desk.stop()
        assert said(await queued)[:2] == (503, "stopping")
        assert said(await http.post("/v1/score", json=BODY))[:2] == (503, "stopping")
        assert said(await http.get("/readyz"))[:2] == (503, "stopping")
        assert (await http.get("/healthz")).status_code == 200
        encoder.let.set()
        assert (await first).status_code == 200

    run_held(app, encoder, scenario)


def test_a_stop_goes_on_where_a_bodys_time_is_just_over():
    desk = an_app().state.desk

    async def stopped(waiting: asyncio.Timeout) -> None:
        async with asyncio.timeout(0) as firing:
            try:
                await asyncio.sleep(10)
            finally:
                desk._reading |= {firing, waiting}
                desk.stop()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60) as waiting:
                await stopped(waiting)
        assert waiting.when() <= asyncio.get_running_loop().time()

    asyncio.run(scenario())


def test_what_is_not_done_when_the_grace_is_over_is_answered_too():
    app, encoder = held()

    async def scenario(http) -> None:
        first = asyncio.create_task(http.post("/v1/score", json=BODY))
        await begun(encoder)
        queue_of(app).abandon()
        assert said(await first)[:2] == (503, "stopping")

    run_held(app, encoder, scenario)


def test_readiness_comes_after_warm_up():
    app, encoder = held()

    async def scenario(http) -> None:
        assert said(await http.get("/readyz"))[:2] == (503, "warming_up")
        queue_of(app).start(warm_up=True)
        await begun(encoder)
        assert said(await http.get("/readyz"))[:2] == (503, "warming_up")
        assert (await http.get("/healthz")).status_code == 200
        encoder.let.set()
        await until(lambda: queue_of(app).ready)
        assert (await http.get("/readyz")).json() == {"status": "ready"}

    run_held(app, encoder, scenario)
    assert len(encoder.calls) == 1


def test_bodies_in_memory_are_bounded():
    app, encoder = held(max_held_bytes=1000)

    async def scenario(http) -> None:
        first = asyncio.create_task(http.post("/v1/score", json=BODY))
        await begun(encoder)
        refused = await http.post("/v1/score", content=b" " * 1000, headers=JSON)
        assert said(refused)[:2] == (503, "busy")
        encoder.let.set()
        assert (await first).status_code == 200
        assert said(await http.post("/v1/score", content=b" " * 1000, headers=JSON))[:2] == (
            400,
            "invalid_json",
        )

    run_held(app, encoder, scenario)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8711", "", "localhost.evil.example"])
@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/v1/score", "/nowhere"])
def test_a_host_that_is_not_ours_is_refused_and_not_repeated(host, path):
    response = call(an_app(), "GET", path, headers={"host": host})
    assert said(response)[:2] == (421, "misdirected")
    assert "evil" not in response.text + str(response.headers)


@pytest.mark.parametrize(
    "host", ["localhost:1", "LOCALHOST", "127.0.0.1", "[::1]:8711", "10.1.2.3:80", "test"]
)
def test_our_names_and_plain_addresses_are_let_in(host):
    assert call(an_app(), "GET", "/healthz", headers={"host": host}).status_code == 200


def test_a_slash_too_many_is_no_redirect():
    assert said(call(an_app(), "GET", "/healthz/"))[:2] == (404, "not_found")


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/metrics"])
def test_head_is_get_without_a_body(path):
    assert call(an_app(), "HEAD", path).status_code == 200


def test_a_request_has_an_id_that_the_caller_may_choose():
    app = an_app()
    assert (
        call(app, "GET", "/healthz", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    )
    ids = {
        call(app, "GET", "/no", headers={"x-request-id": "<bad>"}).headers["x-request-id"] for _ in range(2)
    }
    assert len(ids) == 2
    assert "<bad>" not in ids


def test_wrong_keys_are_slowed_down_and_the_right_one_is_not(monkeypatch):
    monkeypatch.setattr("coverage_lab.service.app._HELD_BACK_SECONDS", 0.01)
    app = an_app(api_key=KEY)

    async def scenario() -> None:
        async with client(app) as http:
            wrong = {"authorization": "Bearer wrong"}
            answers = [await http.post("/v1/score", json=BODY, headers=wrong) for _ in range(12)]
            assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
            assert said(answers[-1])[1] == "wrong_keys"
            assert int(answers[-1].headers["retry-after"]) in (11, 12)
            right = {"authorization": f"Bearer {KEY}"}
            assert (await http.post("/v1/score", json=BODY, headers=right)).status_code == 200
            counted = (await http.get("/metrics", headers=right)).text
            assert "coverage_lab_wrong_keys_total 12.0" in counted

    asyncio.run(scenario())


def test_metrics_count_requests_work_and_refusals():
    app = an_app()
    assert post(app, json=request_of(2, 3)).status_code == 200
    post(app, content=b"{", headers=JSON)
    call(app, "GET", "/nowhere/<script>")
    page = call(app, "GET", "/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'coverage_lab_requests_total{code="",route="/v1/score",status="200"} 1.0',
        'coverage_lab_requests_total{code="invalid_json",route="/v1/score",status="400"} 1.0',
        'coverage_lab_requests_total{code="not_found",route="other",status="404"} 1.0',
        "coverage_lab_judged_prompts_total 6.0",
        "coverage_lab_judged_accounts_total 2.0",
        "coverage_lab_waiting_prompts 0.0",
    ):
        assert line in page.text.splitlines()
    assert "nowhere" not in page.text
    assert 'encoder="hash"' in page.text


def test_metrics_need_a_key_where_there_is_one():
    app = an_app(api_key=KEY)
    assert said(call(app, "GET", "/metrics"))[:2] == (401, "unauthorized")
    assert call(app, "GET", "/metrics", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_refused_requests_give_their_place_back():
    app = an_app(limits=ServiceConfig(max_held_bytes=10))

    async def scenario() -> list[int]:
        async with client(app) as http:
            return [(await http.post("/v1/score", content=b"{", headers=JSON)).status_code for _ in range(5)]

    assert asyncio.run(scenario()) == [400] * 5
    assert app.state.desk._held == 0


def schema_of(app) -> dict[str, object]:
    return call(app, "GET", "/openapi.json").json()


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for part in value.values() for found in references(part)]
    return [found for part in value for found in references(part)] if isinstance(value, list) else []


def validator(schema: dict[str, object], model: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{model}", "components": schema["components"]},
        format_checker=jsonschema.FormatChecker(),
    )


def test_openapi_models_are_sound_and_every_reference_leads_somewhere():
    schema = schema_of(an_app(api_key=KEY))
    assert schema["openapi"].startswith("3.1")
    models = schema["components"]["schemas"]
    for model in models.values():
        jsonschema.Draft202012Validator.check_schema(model)
    found = references(schema)
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= set(models)
    assert set(schema["paths"]) == {"/v1/score", "/healthz", "/readyz"}


def test_openapi_describes_what_is_asked_and_answered():
    app = an_app(limits=ServiceConfig(max_accounts=1))
    schema = schema_of(app)
    operation = schema["paths"]["/v1/score"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    (example,) = schema["components"]["schemas"][asked]["examples"]
    validator(schema, asked).validate(example)
    with pytest.raises(jsonschema.ValidationError):
        validator(schema, asked).validate({**example, "mode": 1})
    response = post(app, json=example)
    assert response.status_code == 200
    assert response.json()["quarantined"] == []
    validator(schema, "ScoreResponse").validate(response.json())
    validator(schema, "Health").validate(call(app, "GET", "/healthz").json())
    refused = post(app, json={"accounts": []})
    assert str(refused.status_code) in operation["responses"]
    validator(schema, "ErrorAnswer").validate(refused.json())


def test_openapi_asks_for_the_key_only_where_there_is_one():
    locked = schema_of(an_app(api_key=KEY))["paths"]
    assert locked["/v1/score"]["post"]["security"] == [{"key": []}]
    assert "security" not in locked["/healthz"]["get"]
    assert "401" in locked["/v1/score"]["post"]["responses"]
    unlocked = schema_of(an_app())
    assert "security" not in unlocked["paths"]["/v1/score"]["post"]
    assert "401" not in unlocked["paths"]["/v1/score"]["post"]["responses"]
    assert KEY not in json.dumps(locked)


class Page(html.parser.HTMLParser):
    """What a page loads, links to, and has ids for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.loads += [given["src"]] if "src" in given else []
        if "href" in given:
            (self.links if tag == "a" else self.loads).append(given["href"])
        if "id" in given:
            assert given["id"] not in self.ids
            self.ids.add(given["id"])


def test_the_docs_page_needs_no_network_and_no_script():
    response = call(an_app(api_key=KEY), "GET", "/docs")
    assert response.headers["content-type"].startswith("text/html")
    page = Page(response.text)
    assert "script" not in page.tags
    assert page.loads == ["data:,"]
    assert "@import" not in response.text
    assert "url(" not in response.text


def test_the_description_is_written_once(monkeypatch):
    """FastAPI writes it anew for each request, which any caller without a key could ask for."""
    app = an_app()
    made = []
    described = app.openapi

    def counted():
        made.append(1)
        return described()

    monkeypatch.setattr(app, "openapi", counted)
    first, second = (call(app, "GET", "/openapi.json") for _ in range(2))
    assert first.headers["content-type"] == "application/json"
    assert first.json() == second.json() == json.loads(json.dumps(described()))
    assert len(made) == 1
    assert call(app, "HEAD", "/openapi.json").status_code == 200


def test_the_docs_page_is_made_once(monkeypatch):
    made = []

    def page(schema):
        made.append(schema["info"]["title"])
        return "the page"

    monkeypatch.setattr("coverage_lab.service.app.docs_page", page)
    app = an_app()
    assert [call(app, "GET", "/docs").text for _ in range(2)] == ["the page"] * 2
    assert made == ["coverage-lab"]


def test_the_docs_page_shows_all_routes_models_and_fields():
    app = an_app(api_key=KEY)
    text = call(app, "GET", "/docs").text
    page, schema = Page(text), schema_of(app)
    assert {link.removeprefix("#") for link in page.links} - {"openapi.json"} <= page.ids
    assert page.ids == set(schema["components"]["schemas"])
    for model in schema["components"]["schemas"].values():
        for field in model["properties"]:
            assert f"<code>{field}</code>" in text
    assert "<code>POST /v1/score</code>" in text
    assert "<code>GET /healthz</code>" in text
    assert "Summarise this invoice" in text
    assert "Authorization: Bearer" in text
    assert "Authorization" not in call(an_app(), "GET", "/docs").text
