"""What the last run said of accounts, over HTTP: the very rows of its tables."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import jsonschema
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.raw_client import local_service
from support.traced import a_judge, said
from typer.testing import CliRunner

from coverage_lab.cli import app as command_line
from coverage_lab.config import RunConfig, ServiceConfig, TrafficConfig
from coverage_lab.errors import OutputError
from coverage_lab.jobs import run_job
from coverage_lab.schema import BEHAVIOUR_COLUMNS, CAMPAIGNS, MEASURE_COLUMNS, MEMBERS
from coverage_lab.service import Scoring, create_app
from coverage_lab.service.answer import SHORT_COLUMNS
from coverage_lab.service.keys import KeyRing, new_key
from coverage_lab.service.logs import AuditLog
from coverage_lab.service.standings import RunTables, Standings

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
#: Ids that a path, a log or a page could trip over.
ODD = ["a/b c?d#e", "%2e%2e%2f", "../../etc/passwd", "<script>", "ü\u202e", "a:lookup", "x\ny"]
NAMES = [*(f"acct-{i:02}" for i in range(8)), *ODD]


def a_run(folder: Path, *, names: list[str], watch_p: float = 0.9) -> Path:
    lines = [
        {
            "account_id": name,
            "prompt": f"{said(at)} asks {said(i)}",
            "timestamp": f"2026-01-15T10:{i % 60:02}:00Z",
        }
        for at, name in enumerate(names)
        for i in range(30 + at)
    ]
    traffic = folder.with_suffix(".jsonl")
    traffic.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = RunConfig.model_validate(
        {
            "traffic": {"as_of": AS_OF},
            "encoder": {"name": "static"},
            "job": {"threads": 1, "buckets": 2},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        judge = a_judge(watch_p=watch_p, review_p=0.2)
        judge = replace(judge, config=judge.config.model_copy(update={"min_prompts": 25}))
        patch.setattr("coverage_lab.jobs.run.load_judge", lambda *args, **options: judge)
        run_job(traffic, folder, config, overwrite=True)
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = a_run(tmp_path_factory.mktemp("runs") / "out", names=NAMES)
    # The run is too small to have campaigns: two made-up ones.
    rows = []
    for name, verdict in (("c1", "review"), ("c2", "watch")):
        row = {field.name: _made_up(field.type) for field in CAMPAIGNS}
        rows.append({**row, "campaign": name, "verdict": verdict, "q_value": None})
    pq.write_table(pa.Table.from_pylist(rows, schema=CAMPAIGNS), folder / "campaigns.parquet")
    members = [
        {**{field.name: _made_up(field.type) for field in MEMBERS}, "campaign": "c1", "account_id": name}
        for name in NAMES[:3]
    ]
    pq.write_table(pa.Table.from_pylist(members, schema=MEMBERS), folder / "members.parquet")
    return folder


def _made_up(kind: pa.DataType) -> object:
    if pa.types.is_list(kind):
        return ["because"]
    if pa.types.is_timestamp(kind):
        return AS_OF
    if pa.types.is_integer(kind):
        return 7
    return 0.25 if pa.types.is_floating(kind) else "text"


@pytest.fixture(scope="module")
def app(results):
    return an_app(Standings(results))


def an_app(standings: Standings | None, **more):
    scoring = Scoring(a_judge(scorecard=False), TrafficConfig(), ServiceConfig(), threads=1)
    return create_app(scoring, standings=standings, **more)


def call(app, method: str, path: str, **request) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.request(method, path, **request)

    return asyncio.run(once())


def as_json(value: object) -> object:
    """A table's value as JSON says it: UTC with Z, NaN as null."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return {key: as_json(item) for key, item in value.items()} if isinstance(value, dict) else value


def rows(folder: Path, table: str) -> list[dict[str, object]]:
    return [as_json(row) for row in pq.read_table(folder / f"{table}.parquet").to_pylist()]


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_an_account_is_told_as_its_row_of_the_run(app, results):
    expected = rows(results, "accounts")
    assert {row["account_id"] for row in expected} == set(NAMES)
    for row in expected:
        answer = call(app, "GET", f"/v1/accounts/{_quoted(row['account_id'])}")
        assert answer.status_code == 200, answer.text
        told = answer.json()["account"]
        assert {**told.pop("measures"), **told.pop("behaviour"), **told} == row
        assert list(answer.json()["account"]["measures"]) == list(MEASURE_COLUMNS)
        assert list(answer.json()["account"]["behaviour"]) == list(BEHAVIOUR_COLUMNS)
    run = json.loads((results / "run.json").read_text())
    assert answer.json()["run"] == {
        "run_id": run["run_id"],
        "created": run["created"],
        "day": None,
        "config_id": run["config_id"],
    }


def _quoted(name: str) -> str:
    return quote(name, safe="")


@pytest.mark.parametrize("name", ["", "acct-99", "acct-0", "ACCT-00", "acct-00/", "%ff", "zzz", "\x00"])
def test_an_account_that_the_run_did_not_judge_is_unknown(name, app):
    assert code_of(call(app, "GET", f"/v1/accounts/{_quoted(name)}")) == (404, "unknown_account")


def test_a_lookup_tells_each_account_once_and_names_the_unknown(app, results):
    asked = ["nobody", *reversed(NAMES), NAMES[0], "somebody", "nobody"]
    answer = call(app, "POST", "/v1/accounts:lookup", json={"account_ids": asked}).json()
    assert answer["accounts"] == [
        {key: row[key] for key in SHORT_COLUMNS} for row in rows(results, "accounts")
    ]
    assert answer["unknown"] == ["nobody", "somebody"]


def test_a_hundred_thousand_ids_are_looked_up_and_one_more_is_not(app):
    ids = [f"acct-{i:06}" for i in range(99_999)]
    started = time.perf_counter()
    answer = call(app, "POST", "/v1/accounts:lookup", json={"account_ids": [*ids, NAMES[0]]})
    assert time.perf_counter() - started < 20
    assert [row["account_id"] for row in answer.json()["accounts"]] == [NAMES[0]]
    assert len(answer.json()["unknown"]) == 99_999
    refused = call(app, "POST", "/v1/accounts:lookup", json={"account_ids": [*ids, "a", "b"]})
    assert code_of(refused) == (413, "too_many_accounts")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "invalid_json")),
        (b"{", (400, "invalid_json")),
        (b'{"account_ids": ["\xff"]}', (400, "invalid_json")),
        (b"[" * 100_000, (422, "invalid_request")),
        (b"{}", (422, "invalid_request")),
        (b'{"account_ids": []}', (422, "invalid_request")),
        (b'{"account_ids": [""]}', (422, "invalid_request")),
        (b'{"account_ids": [7]}', (422, "invalid_request")),
        (b'{"account_ids": ["a"], "secret": 1}', (422, "invalid_request")),
    ],
)
def test_what_is_no_lookup_is_refused(body, expected, app):
    answer = call(
        app, "POST", "/v1/accounts:lookup", content=body, headers={"content-type": "application/json"}
    )
    assert code_of(answer) == expected
    assert "secret" not in answer.text


def test_flags_come_page_by_page_each_once(app, results):
    expected = rows(results, "flags")
    assert len(expected) > 5
    found, since, left = [], {}, None
    while left != 0:
        page = call(app, "GET", "/v1/flags", params={**since, "limit": 3}).json()
        assert len(page["flags"]) == 3 or page["left"] == 0
        found += page["flags"]
        since, left = {"since": page["cursor"]}, page["left"]
        assert left == len(expected) - len(found)
    assert found == expected
    again = call(app, "GET", "/v1/flags", params=since).json()
    assert (again["flags"], again["cursor"], again["left"]) == ([], page["cursor"], 0)
    other = call(app, "GET", "/v1/flags", params={"since": f"{'0' * 64}:3"}).json()
    assert other["flags"] == expected, "the cursor of another run begins anew"
    beyond = {"since": page["cursor"].partition(":")[0] + ":999999999999"}
    assert call(app, "GET", "/v1/flags", params=beyond).json()["cursor"] == page["cursor"]


@pytest.mark.parametrize(
    "query",
    ["since=7", "since=ab:cd", "since=ab:1%0a", "limit=0", "limit=1001", "limit=-1", "limit=x", "limit="],
)
def test_what_is_no_page_is_refused(query, app):
    assert code_of(call(app, "GET", f"/v1/flags?{query}")) == (422, "invalid_request")


def test_campaigns_are_told_with_and_without_their_members(app, results):
    expected = rows(results, "campaigns")
    assert call(app, "GET", "/v1/campaigns").json()["campaigns"] == expected
    first = call(app, "GET", "/v1/campaigns/c1").json()
    assert (first["campaign"], first["members"]) == (expected[0], rows(results, "members"))
    assert call(app, "GET", "/v1/campaigns/c2").json()["members"] == []
    assert code_of(call(app, "GET", "/v1/campaigns/c3")) == (404, "unknown_campaign")


def test_answers_are_what_the_description_says(app):
    schema = call(app, "GET", "/openapi.json").json()
    for path, asked, request in (
        ("/v1/accounts/{account_id}", f"/v1/accounts/{NAMES[0]}", {}),
        ("/v1/accounts:lookup", "/v1/accounts:lookup", {"json": {"account_ids": [NAMES[0], "x"]}}),
        ("/v1/flags", "/v1/flags", {}),
        ("/v1/campaigns", "/v1/campaigns", {}),
        ("/v1/campaigns/{campaign}", "/v1/campaigns/c1", {}),
    ):
        ((method, operation),) = schema["paths"][path].items()
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**answered, "components": schema["components"]}
        jsonschema.validate(call(app, method.upper(), asked, **request).json(), whole)
        names = {one["name"] for one in operation.get("parameters", ())}
        assert names == {
            "/v1/accounts/{account_id}": {"account_id"},
            "/v1/campaigns/{campaign}": {"campaign"},
            "/v1/flags": {"since", "limit"},
        }.get(path, set())
    assert call(app, "GET", "/docs").text.count("/v1/") >= 6


def test_without_results_there_are_no_such_routes():
    app = an_app(None)
    assert code_of(call(app, "GET", "/v1/flags")) == (404, "not_found")
    assert set(call(app, "GET", "/openapi.json").json()["paths"]) == {"/v1/score", "/healthz", "/readyz"}


PATHS = [
    ("GET", f"/v1/accounts/{NAMES[0]}", {}),
    ("POST", "/v1/accounts:lookup", {"json": {"account_ids": [NAMES[0], "who"]}}),
    ("GET", "/v1/flags", {}),
    ("GET", "/v1/campaigns", {}),
    ("GET", "/v1/campaigns/c1", {}),
]


@pytest.mark.parametrize(("method", "path", "request_"), PATHS)
def test_reading_needs_its_scope_and_is_written_down(method, path, request_, results, tmp_path, caplog):
    file, log = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    reader, scorer = new_key(file, "reader", ["read"]), new_key(file, "scorer", ["score"])
    app = an_app(Standings(results), keys=KeyRing(file=file), audit=AuditLog(log))
    with caplog.at_level("INFO", logger="coverage_lab.service"):
        statuses = [
            call(app, method, path, headers={"authorization": f"Bearer {key}"}, **request_).status_code
            for key in (reader, scorer, "wrong")
        ]
    assert statuses == [200, 403, 401]
    assert call(app, method, path, **request_).status_code == 401
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["key"], line["status"]) for line in lines] == [("reader", 200), ("scorer", 403)]
    told = {
        "/v1/flags": [row["account_id"] for row in rows(results, "flags")],
        "/v1/campaigns": [],
        "/v1/campaigns/c1": NAMES[:3],
        "/v1/accounts:lookup": [NAMES[0], "who"],
    }
    assert lines[0]["accounts"] == told.get(path, [NAMES[0]])
    assert NAMES[0] not in str([record.__dict__ for record in caplog.records])
    page = call(an_app(None), "GET", "/metrics").text
    assert NAMES[0] not in page


def test_another_run_is_read_when_it_has_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("coverage_lab.service.standings._LOOK_SECONDS", 0.0)
    folder = a_run(tmp_path / "out", names=["first", "both"])
    app = an_app(Standings(folder))

    def known() -> list[str]:
        asked = {"account_ids": ["first", "both", "second"]}
        answer = call(app, "POST", "/v1/accounts:lookup", json=asked).json()
        return [row["account_id"] for row in answer["accounts"]]

    assert known() == ["both", "first"]
    later = a_run(tmp_path / "later", names=["second", "both"])
    manifest = (folder / "run.json").read_bytes()
    (folder / "run.json").unlink()  # as a run does that replaces another
    for name in ("accounts", "flags"):
        (folder / f"{name}.parquet").unlink()
        shutil.copy(later / f"{name}.parquet", folder)
    assert known() == ["both", "first"], "not the half of the new one"
    assert call(app, "GET", "/v1/accounts/first").status_code == 200
    (folder / "run.json").write_bytes(b"{")
    assert known() == ["both", "first"], "nor one that can't be read"
    (folder / "run.json").write_bytes((later / "run.json").read_bytes())
    assert known() == ["both", "second"]
    assert code_of(call(app, "GET", "/v1/accounts/first")) == (404, "unknown_account")
    assert manifest


@pytest.mark.parametrize("what", ["nothing", "no tables", "no run.json"])
def test_a_folder_without_a_finished_run_is_refused_in_one_line(what, results, tmp_path):
    folder = tmp_path / "out"
    if what != "nothing":
        shutil.copytree(results, folder)
        for file in folder.glob("*.parquet" if what == "no tables" else "run.json"):
            file.unlink()
    with pytest.raises(OutputError, match=r"results .*out: ") as error:
        RunTables(folder)
    assert "\n" not in str(error.value)


def test_the_command_refuses_it_before_it_loads_anything(tmp_path, monkeypatch):
    monkeypatch.setattr("coverage_lab.service.serve.load_judge", lambda *_, **__: pytest.fail("loaded"))
    run = CliRunner().invoke(command_line, ["serve", "--port", "0", "--results", str(tmp_path / "none")])
    assert run.exit_code != 0
    assert "no finished run there" in str(run.exception) + run.output


def test_a_reader_that_waits_for_others_is_not_kept_for_ever(results, monkeypatch):
    limits = ServiceConfig(answer_seconds=2.0)
    scoring = Scoring(a_judge(scorecard=False), TrafficConfig(), limits, threads=1)
    app = create_app(scoring, standings=Standings(results))
    let, told = threading.Event(), RunTables.campaigns

    def held(self):
        assert let.wait(20)
        return told(self)

    monkeypatch.setattr(RunTables, "campaigns", held)

    async def scenario() -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            late = await asyncio.gather(*(http.get("/v1/campaigns") for _ in range(3)))
            assert [code_of(answer) for answer in late] == [(503, "busy")] * 3
            let.set()
            assert (await http.get("/v1/campaigns")).status_code == 200

    asyncio.run(scenario())


def test_ids_are_found_as_the_table_sorts_them(tmp_path):
    """By bytes of UTF-8, which is by code points: not as Python's `sorted` with a locale would."""
    names = ["Z", "a", "é", "\uffee", "\U0001f600", "ab", "A"]
    app = an_app(Standings(a_run(tmp_path / "out", names=names)))
    table = pq.read_table(tmp_path / "out" / "accounts.parquet", columns=["account_id"])
    assert pc.all(pc.less(table["account_id"][:-1], table["account_id"][1:])).as_py()
    assert [call(app, "GET", f"/v1/accounts/{_quoted(name)}").status_code for name in names] == [200] * 7


@pytest.mark.slow
def test_the_service_keeps_its_description(results, tmp_path):
    """Schemathesis asks what the description allows and what it forbids; no answer may be another one.

    Not checked: that all is refused which the description forbids (an odd value is quarantined), and
    nothing that it allows (no schema can say that an account is given once). Longer: `--max-examples 1000`.
    """
    with local_service(a_judge(), standings=Standings(results)) as service:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", "--no-color", "--seed", "1"),
                *("--max-examples", "15", "--phases", "examples,coverage,fuzzing", "--continue-on-failure"),
                *("--checks", "all", "--suppress-health-check", "all"),
                *("--exclude-checks", "negative_data_rejection,positive_data_acceptance"),
                f"http://127.0.0.1:{service.port}/openapi.json",
            ],
            capture_output=True,
            text=True,
            timeout=500,
            cwd=tmp_path,  # it keeps what failed in a folder there
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
        assert service.healthy_within() < 5
