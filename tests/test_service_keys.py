"""Keys in a file: what is kept of them, who is let in, what changes without a restart, the audit log."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.traced import a_judge
from typer.testing import CliRunner

from coverage_lab.cli import app as command_line
from coverage_lab.config import RunConfig, ServiceConfig, TrafficConfig
from coverage_lab.errors import ConfigError
from coverage_lab.service import Scoring, create_app, serve, serve_forever
from coverage_lab.service.keys import API_KEY_VARIABLE, KeyRing, Throttle, new_key, read_keys, revoke_key
from coverage_lab.service.logs import AuditLog

SECRET = "the launch code is 0451"
BODY = {"accounts": [{"account_id": "acct-7", "prompts": [{"prompt": SECRET, "timestamp": 1_768_471_200}]}]}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def ask(app, key: str, path: str = "/v1/score", content: bytes | None = None) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            headers = {"authorization": f"Bearer {key}"}
            if path == "/v1/score":
                headers["content-type"] = "application/json"
                sent = json.dumps(BODY).encode() if content is None else content
                return await http.post(path, content=sent, headers=headers)
            return await http.get(path, headers=headers)

    return asyncio.run(once())


def an_app(ring: KeyRing, audit: AuditLog | None = None, **limits):
    scoring = Scoring(a_judge(scorecard=False), TrafficConfig(), ServiceConfig(**limits), threads=1)
    return create_app(scoring, keys=ring, audit=audit)


def test_the_command_shows_a_key_once_and_keeps_a_digest(file):
    run = CliRunner().invoke(
        command_line, ["service", "key", "new", "--name", "batch", "--file", str(file), "--scope", "score"]
    )
    assert run.exit_code == 0
    key = run.stdout.strip()
    assert len(key) > 40
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (record,) = read_keys(file)
    assert (record.name, record.scopes) == ("batch", ("score",))
    assert KeyRing(file=file).find(f"Bearer {key}").name == "batch"
    listed = CliRunner().invoke(command_line, ["service", "key", "list", "--file", str(file)])
    assert record.id in listed.stdout
    assert record.sha256 not in listed.stdout
    gone = CliRunner().invoke(command_line, ["service", "key", "revoke", record.id, "--file", str(file)])
    assert gone.exit_code == 0
    assert read_keys(file) == ()


def test_a_name_has_two_keys_at_most(file):
    keys = [new_key(file, "batch", ["score"]) for _ in range(2)]
    ring = KeyRing(file=file)
    assert [ring.find(f"Bearer {key}").name for key in keys] == ["batch", "batch"]
    with pytest.raises(ConfigError, match="has 2 keys already; revoke one first"):
        new_key(file, "batch", ["score"])


@pytest.mark.parametrize(
    ("name", "scopes"), [("", ["score"]), ("a b", ["score"]), ("a", ["everything"]), ("a", [])]
)
def test_a_key_that_can_not_be_is_refused_and_nothing_is_written(file, name, scopes):
    with pytest.raises(ConfigError, match="new key"):
        new_key(file, name, scopes)
    assert not file.exists()


def test_changes_at_once_are_all_kept(file):
    """Each name is added, and the first key revoked, while the others are at it."""
    new_key(file, "first", ["score"])
    first = read_keys(file)[0].id
    names = [f"caller-{number}" for number in range(12)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        made = [pool.submit(new_key, file, name, ["score"]) for name in names]
        made.insert(6, pool.submit(revoke_key, file, first))
    for one in made:
        one.result()
    assert sorted(key.name for key in read_keys(file)) == sorted(names)


def test_a_key_file_in_no_folder_is_one_clear_message(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder .*missing; make it first"):
        new_key(tmp_path / "missing" / "keys.json", "a", ["score"])
    assert not (tmp_path / "missing").exists()


def test_a_key_is_for_its_scopes_only(file):
    app_keys = {scope: new_key(file, scope, [scope]) for scope in ("score", "metrics")}
    app = an_app(KeyRing(file=file))
    for scope, key in app_keys.items():
        found = {path: ask(app, key, path).status_code for path in ("/v1/score", "/metrics")}
        assert found == {
            "/v1/score": 200 if scope == "score" else 403,
            "/metrics": 403 if scope == "score" else 200,
        }


def test_keys_are_read_again_when_their_file_changes(file, monkeypatch):
    monkeypatch.setattr("coverage_lab.service.keys._LOOK_SECONDS", 0.0)
    old = new_key(file, "old", ["score"])
    ring = KeyRing(file=file)
    new = new_key(file, "new", ["score"])
    assert ring.find(f"Bearer {new}").name == "new"
    revoke_key(file, read_keys(file)[0].id)
    assert ring.find(f"Bearer {old}") is None
    file.write_text("{broken")
    assert ring.find(f"Bearer {new}").name == "new", "the keys of before stay"
    os.remove(file)
    assert ring.find(f"Bearer {new}").name == "new"


@pytest.mark.parametrize("text", ["", "[]", '{"keys": [{"name": "a"}]}', '{"keys": []}'])
def test_a_file_that_holds_no_keys_is_one_clear_message(file, text):
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"keys .*keys\.json: ") as error:
        KeyRing(file=file)
    assert "\n" not in str(error.value)


def test_who_asked_about_whom_is_written_down_without_text(file, tmp_path):
    key = new_key(file, "batch", ["score"])
    log = tmp_path / "audit.jsonl"
    app = an_app(KeyRing(file=file), AuditLog(log))
    assert ask(app, key).status_code == 200
    assert ask(app, "wrong").status_code == 401
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["key"], line["accounts"], line["status"]) == ("batch", ["acct-7"], 200)
    assert {"time", "request_id", "address"} <= set(line)
    assert SECRET not in log.read_text()
    assert key not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"[]", 422), (b" " * 65, 413)])
def test_a_refused_request_with_a_right_key_is_written_down_too(file, tmp_path, content, status):
    log = tmp_path / "audit.jsonl"
    key = new_key(file, "batch", ["score"])
    app = an_app(KeyRing(file=file), AuditLog(log), max_body_bytes=64)
    assert ask(app, key, content=content).status_code == status
    line = json.loads(log.read_text())
    assert (line["key"], line["accounts"], line["status"]) == ("batch", [], status)


def test_a_key_without_the_scope_is_written_down_too(file, tmp_path):
    log = tmp_path / "audit.jsonl"
    key = new_key(file, "prometheus", ["metrics"])
    assert ask(an_app(KeyRing(file=file), AuditLog(log)), key).status_code == 403
    line = json.loads(log.read_text())
    assert (line["key"], line["accounts"], line["status"]) == ("prometheus", [], 403)


@pytest.mark.parametrize(
    ("fault", "told"),
    [(RuntimeError("a fault"), 500), (asyncio.CancelledError(), 0)],
    ids=["fault", "given_up"],
)
def test_a_request_without_an_answer_is_not_written_down_as_answered(
    file, tmp_path, monkeypatch, fault, told
):
    async def fails(*_args):
        raise fault

    log = tmp_path / "audit.jsonl"
    key = new_key(file, "batch", ["score"])
    app = an_app(KeyRing(file=file), AuditLog(log))
    monkeypatch.setattr(app.state.desk, "_worked_on", fails)
    if told:
        assert ask(app, key).status_code == told
    else:
        with pytest.raises((asyncio.CancelledError, CancelledError)):
            ask(app, key)
    line = json.loads(log.read_text())
    assert (line["accounts"], line["status"]) == (["acct-7"], told)


def test_an_audit_log_that_was_there_is_closed_to_others(tmp_path):
    log = tmp_path / "audit.jsonl"
    log.write_text("{}\n")
    log.chmod(0o644)
    AuditLog(log)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert log.read_text() == "{}\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_no_score_is_given_while_the_audit_log_can_not_be_written(file, caplog):
    key = new_key(file, "batch", ["score"])
    app = an_app(KeyRing(file=file), AuditLog(Path("/dev/full")))
    refused = ask(app, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_audit")
    assert refused.headers["retry-after"] == "30"
    assert "the audit log can't be written (No space left on device)" in caplog.text
    assert ask(app, key, content=b"{").status_code == 400, "other refusals stay what they are"


def test_a_line_that_was_cut_short_does_not_spoil_the_next(tmp_path, monkeypatch):
    class Full:
        def write(self, line: bytes) -> int:
            return real.write(line[:5])

    log = AuditLog(tmp_path / "audit.jsonl")
    asked = {"request_id": "r", "key": "k", "address": "a", "accounts": [], "status": 200}
    real = log._file
    monkeypatch.setattr(log, "_file", Full())
    with pytest.raises(OSError, match="No space left"):
        log.asked(**asked)
    monkeypatch.setattr(log, "_file", real)
    log.asked(**asked)
    cut, whole = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert len(cut) == 5
    assert json.loads(whole)["key"] == "k"


def test_wrong_keys_are_counted_by_network_as_connections_are():
    throttle = Throttle(clock=lambda: 0.0)
    assert [throttle.wrong(f"2001:db8::{host:x}") for host in range(10)] == [0.0] * 10
    assert throttle.wrong("2001:db8::ffff") == 6.0
    assert throttle.wrong("2001:db8:0:1::1") == 0.0
    assert throttle.wrong("::ffff:192.0.2.1") == throttle.wrong("192.0.2.2") == 0.0


def test_wrong_keys_are_free_again_after_a_while():
    now = [0.0]
    throttle = Throttle(clock=lambda: now[0])
    assert [throttle.wrong("a") for _ in range(10)] == [0.0] * 10
    assert throttle.wrong("a") == 6.0
    assert throttle.wrong("b") == 0.0
    now[0] += 12.0
    assert throttle.wrong("a") == 0.0


def test_half_a_certificate_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    monkeypatch.setattr(serve, "load_judge", lambda config, threads: pytest.fail("loaded"))
    only = RunConfig(service=ServiceConfig(tls_cert=tmp_path / "cert.pem"))
    with pytest.raises(ConfigError, match="expected both or none"):
        serve_forever(only, host="127.0.0.1", port=0)
    both = RunConfig(service=ServiceConfig(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"))
    with pytest.raises(ConfigError, match=r"cert\.pem: can't be used"):
        serve_forever(both, host="127.0.0.1", port=0)
