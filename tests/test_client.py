"""The client against a service in this process, and against one that refuses."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.documents import ROOT, blocks
from support.raw_client import local_service
from support.traced import a_judge, said

from coverage_lab.client import Client, ServiceError
from coverage_lab.config import DetectConfig
from coverage_lab.detect import judge_prompts
from coverage_lab.detect.judge import with_q_values
from coverage_lab.errors import ConfigError
from coverage_lab.schema import ACCOUNTS, CELLS, TRAFFIC

START = datetime(2026, 1, 15, 10, tzinfo=UTC)


def prompts(sizes: dict[str, int]) -> pa.Table:
    rows = [
        {
            "account_id": name,
            "prompt": f"{name} asks {said(i % (size - 3))}",
            "timestamp": START + timedelta(seconds=i),
        }
        for name, size in sizes.items()
        for i in range(size)
    ]
    return pa.Table.from_pylist(rows)


def unusable(*names: str) -> dict[str, object]:
    """What is answered where no prompt of these accounts could be used."""
    rows = [{"account_id": name, "index": 0, "reason": "empty_prompt", "detail": "none"} for name in names]
    return {"accounts": [], "quarantined": rows}


SIZES = {"acct-c": 70, "acct-a": 60, "acct-b": 30, "acct-d": 90}
JUDGE = a_judge


@pytest.fixture(scope="module")
def service():
    with local_service(a_judge()) as running:
        yield running


@pytest.fixture
def url(service) -> str:
    return f"http://127.0.0.1:{service.port}"


def test_scores_are_those_of_judging_the_table_with_q_values_over_it(url):
    sent = prompts(SIZES)
    scores = Client(url).score(sent)
    columns = {field.name: pa.nulls(len(sent), field.type) for field in TRAFFIC}
    columns |= {name: sent[name].cast(TRAFFIC.field(name).type) for name in sent.column_names}
    columns |= {
        "source": pa.array([0] * len(sent), pa.int32()),
        "row": pa.array(range(len(sent)), pa.int64()),
    }
    traffic = pa.table(columns, schema=TRAFFIC).sort_by(
        [("account_id", "ascending"), ("timestamp", "ascending")]
    )
    judged = judge_prompts(traffic, JUDGE())
    expected = with_q_values(judged.accounts, DetectConfig())
    assert scores.accounts.schema == ACCOUNTS
    assert scores.accounts["q_value"].null_count == 1
    for one, other in zip(scores.accounts.to_pylist(), expected.to_pylist(), strict=True):
        assert {n: (one[n], other[n]) for n in one if one[n] != other[n]} == {}
    assert scores.cells.schema == CELLS
    assert scores.cells.num_rows == judged.cells.num_rows
    assert scores.ids["atlas_id"] == JUDGE().atlas.id


@pytest.mark.parametrize("make", [lambda t: t, lambda t: t.to_pandas(), pl.from_arrow])
def test_arrow_pandas_and_polars_are_alike_however_they_are_split(make, url):
    told = []
    sent = prompts({"acct-b": 8, "acct-a": 9, "acct-c": 7})
    one = Client(url).score(sent)
    parts = Client(url, max_accounts=1, parallel=2).score(
        make(sent), progress=lambda *done: told.append(done)
    )
    assert parts.accounts.equals(one.accounts)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_it_can_be_awaited_and_called_where_an_event_loop_runs(url):
    async def both():
        sent = prompts({"acct-a": 8})
        client = Client(url)
        return client.score(sent).accounts, (await client.score_async(sent)).accounts

    called, awaited = asyncio.run(both())
    assert called.equals(awaited)


def test_what_can_not_be_used_comes_back_with_its_place(url):
    frame = pd.DataFrame(
        {"account_id": ["a", "b", "a"], "prompt": ["x", "y", None], "timestamp": [START] * 3}
    )
    (row,) = Client(url).score(frame).quarantined.to_pylist()
    assert (row["account_id"], row["index"], row["reason"]) == ("a", 1, "missing_prompt")


def test_an_empty_table_has_no_scores(url):
    assert Client(url).score(prompts({"acct-a": 8}).slice(0, 0)).accounts.num_rows == 0


def test_a_table_that_can_not_be_asked_about_is_refused_before_any_request():
    client = Client("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="there is no timestamp, prompt"):
        client.score(pa.table({"account_id": ["a"]}))
    with pytest.raises(ConfigError, match="1 rows have no account_id"):
        client.score(pa.table({"account_id": [None], "prompt": ["x"], "timestamp": [START]}))
    with pytest.raises(ConfigError, match="parallel: expected 1 or more, got 0"):
        Client("http://127.0.0.1:9", parallel=0)


def test_the_page_for_a_first_score_does_what_it_says(service, capsys):
    page = ROOT / "docs" / "how-to" / "first-scores.md"
    code = "\n".join(text for kind, text in blocks(page) if kind == "python")
    assert "8711" in code
    exec(compile(code.replace("8711", str(service.port)), "first-scores.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "'account_id': 'acct-2', 'prompts': 64" in printed
    assert "0 prompts could not be used" in printed


class Scripted:
    """A service that answers as it is told: status and headers, one pair a request; then 200.

    The bodies of its answers of 200 are `bodies`, then one by which no prompt could be used.
    """

    def __init__(self, *answers: tuple[int, dict[str, str]], bodies: Sequence[bytes] = ()) -> None:
        told = list(bodies)
        self.asked: list[tuple[float, list[str], str | None]] = []
        script = list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):  # noqa: N805
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                names = [account["account_id"] for account in body["accounts"]]
                self.asked.append((time.monotonic(), names, handler.headers["Authorization"]))
                status, headers = script.pop(0) if script else (200, {})
                problem = {"error": {"code": "told", "message": "to refuse"}}
                answer = unusable(*names) if status == 200 else problem
                sent = told.pop(0) if status == 200 and told else json.dumps(answer).encode()
                handler.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                    handler.send_header(name, value)
                handler.end_headers()
                handler.wfile.write(sent)

            def log_message(handler, *_):  # noqa: N805
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def test_it_waits_as_long_as_it_is_told_to():
    with Scripted((503, {"Retry-After": "1"}), (429, {"Retry-After": "0"})) as service:
        Client(service.url, "the-key-of-a-caller").score(prompts({"a": 5}))
        first, second, third = (moment for moment, _, _ in service.asked)
        assert 1.0 <= second - first < 4
        assert third - second < 1.0
        assert {key for _, _, key in service.asked} == {"Bearer the-key-of-a-caller"}


def test_too_much_at_once_is_halved():
    with Scripted((413, {}), (413, {})) as service:
        Client(service.url).score(prompts(dict.fromkeys("abcd", 5)))
        assert [names for _, names, _ in service.asked] == [
            list("abcd"),
            ["a", "b"],
            ["a"],
            ["b"],
            ["c", "d"],
        ]


@pytest.mark.parametrize(("status", "times"), [(401, 1), (422, 1), (413, 1), (500, 1), (503, 2)])
def test_a_refusal_is_an_error_with_its_code(status, times):
    with Scripted(*[(status, {"Retry-After": "0"})] * 5) as service:
        with pytest.raises(ServiceError, match=f"answered {status}, told: to refuse") as error:
            Client(service.url, "the-key-of-a-caller", attempts=2).score(prompts({"a": 5}))
        assert (error.value.status, error.value.code) == (status, "told")
        assert "the-key" not in str(error.value)
        assert len(service.asked) == times


@pytest.mark.parametrize(
    "told",
    [
        b"<html>Log in</html>",
        b"{}",
        b"[]",
        b"null",
        b'{"accounts": [{}], "quarantined": []}',
        b'{"accounts": [], "quarantined": 7}',
        b'{"accounts": [], "quarantined": [7]}',
    ],
    ids=bytes.decode,
)
def test_an_answer_that_is_not_the_services_is_said_to_be_so(told):
    with (
        Scripted(bodies=[told]) as service,
        pytest.raises(ServiceError, match="answered 200, an answer that is not the service's"),
    ):
        Client(service.url).score(prompts({"a": 5}))


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (lambda whole: {**whole, "accounts": whole["accounts"][:1]}, "leaves out account 'b'"),
        (lambda whole: {**whole, "accounts": []}, "leaves out account 'a' and 1 more"),
        (lambda whole: {**whole, "accounts": whole["accounts"] * 2}, "tells twice of account 'a' and 1"),
        (lambda whole: {**whole, **unusable("\x1b[31mc")}, r"leaves out account 'a'"),
        (
            lambda whole: {**whole, "quarantined": unusable("\x1b[31mc")["quarantined"]},
            r"was not asked about account '\\x1b\[31mc'",
        ),
    ],
)
def test_an_answer_without_an_account_that_was_asked_about_is_no_answer(told, problem, url):
    rows = [{"prompt": said(i), "timestamp": START.isoformat()} for i in range(5)]
    asked = {"accounts": [{"account_id": name, "prompts": rows} for name in "ab"]}
    whole = httpx.post(f"{url}/v1/score", json=asked).json()
    body = json.dumps(told(whole)).encode()
    with Scripted(bodies=[body]) as service, pytest.raises(ServiceError, match=problem):
        Client(service.url).score(prompts({"a": 5, "b": 5}))


def test_answers_of_two_scorecards_are_not_put_together():
    bodies = [
        json.dumps({**unusable(name), "model_id": model}).encode()
        for name, model in (("a", "old"), ("b", "new"))
    ]
    with (
        Scripted(bodies=bodies) as service,
        pytest.raises(ServiceError, match=r"answers differ in model_id \('old', 'new'\).*ask again"),
    ):
        Client(service.url, max_accounts=1, parallel=1).score(prompts({"a": 5, "b": 5}))


def test_it_does_not_wait_for_ever_where_it_is_told_to():
    with (
        Scripted((503, {"Retry-After": "86400"})) as service,
        pytest.raises(
            ServiceError, match=r"told: to refuse \(told to wait 86400 s; at most 300 s are"
        ) as error,
    ):
        Client(service.url).score(prompts({"a": 5}))
    assert (error.value.status, error.value.code) == (503, "told")


@pytest.mark.parametrize(
    "url", ["localhost:8711", "127.0.0.1:8711", "", "ftp://a", "http://", "http://[::1", "http://a:99999"]
)
def test_an_address_that_can_not_be_asked_is_refused_at_once(url):
    with pytest.raises(ConfigError, match=r"url: expected one like http://127\.0\.0\.1:8711, got"):
        Client(url)


@pytest.mark.parametrize("key", ["", "a key", "ключ", "key\n"])
def test_a_key_that_can_not_be_sent_is_refused_and_not_shown(key):
    with pytest.raises(ConfigError, match=r"^key: expected ASCII letters, digits and signs without spaces$"):
        Client("http://127.0.0.1:9", key)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("prompt", [b"x"], "binary"),
        ("timestamp", [timedelta(seconds=1)], "duration"),
        ("tokens_in", [Decimal(1)], "decimal128"),
        ("session", [["x"]], "list"),
    ],
)
def test_a_column_that_can_not_be_sent_is_named(name, values, kind):
    sent = {"account_id": ["a"], "prompt": ["x"], "timestamp": [START], name: values}
    with pytest.raises(ConfigError, match=f"column {name}: expected text, numbers or timestamps, got {kind}"):
        Client("http://127.0.0.1:9").score(pa.table(sent))


def test_what_asking_again_does_not_mend_is_asked_once(monkeypatch):
    asked = []

    async def post(*_args, **_more):
        asked.append(1)
        raise httpx.LocalProtocolError("a header that can't be")

    monkeypatch.setattr(httpx.AsyncClient, "post", post)
    with pytest.raises(ServiceError, match=r"can't be reached \(LocalProtocolError\)"):
        Client("http://127.0.0.1:9").score(prompts({"a": 5}))
    assert asked == [1]


def test_a_service_that_is_not_there_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr("coverage_lab.client.client._FIRST_WAIT", 0.01)
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9: can't be reached \(ConnectError\)"):
        Client("http://127.0.0.1:9", attempts=3).score(prompts({"a": 5}))
