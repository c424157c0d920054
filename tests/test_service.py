"""Scoring without HTTP: what a request is, what is answered, and that `run` says the same."""

from __future__ import annotations

import dataclasses
import json
import time
import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.traced import HashEncoder, a_judge, said, traffic

import coverage_lab
from coverage_lab.config import RunConfig, ServiceConfig, TrafficConfig
from coverage_lab.detect import judge_prompts
from coverage_lab.jobs import run_job
from coverage_lab.schema import (
    ACCOUNTS,
    BEHAVIOUR_COLUMNS,
    CELLS,
    MEASURE_COLUMNS,
    OPTIONAL_COLUMNS,
    QUARANTINE_REASONS,
)
from coverage_lab.service import Scoring
from coverage_lab.service.refusal import RefusalError
from coverage_lab.service.request import AskedAccount, PromptRow, ScoreRequest, parse_request
from coverage_lab.traffic import BucketWriter, bucket_path, read_bucket, validate_records

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
TRAFFIC = TrafficConfig(as_of=AS_OF)
SECRET = "the launch code is 0451"
GOOD = {"prompt": "hello there", "timestamp": "2026-01-15T10:00:00Z"}


def scoring(*, judge=None, config=TRAFFIC, limits=None) -> Scoring:
    return Scoring(judge or a_judge(), config, limits or ServiceConfig(), threads=1)


def asked(*accounts: tuple[str, list[dict[str, object]]]) -> list[AskedAccount]:
    """By way of JSON, as a request comes."""
    named = [{"account_id": name, "prompts": rows} for name, rows in accounts]
    # json.dumps spells 1e999 Infinity, which is no JSON.
    text = json.dumps({"accounts": named}).replace("Infinity", "1e999")
    return parse_request(text.encode(), ServiceConfig())


def rows(seed: int, count: int) -> list[dict[str, object]]:
    """Prompts of one account: repeats to the letter, sessions, end users and equal moments among them."""
    rng = np.random.default_rng(seed)
    return [
        {
            "prompt": f"prompt {said(int(rng.integers(0, count)))} of {said(seed)}",
            "timestamp": f"2026-01-15T{rng.integers(0, 24):02}:{rng.integers(0, 3):02}:00Z",
            "request_id": f"r-{i}",
            "session": f"s-{rng.integers(0, 4)}" if rng.random() < 0.8 else None,
            "end_user": f"u-{rng.integers(0, 30)}" if seed % 2 else None,
            "tokens_in": int(rng.integers(0, 99)),
        }
        for i in range(count)
    ]


BAD = [
    {"timestamp": "2026-01-15T10:00:00Z"},
    {"prompt": None, "timestamp": "2026-01-15T10:00:00Z"},
    {"prompt": SECRET},
    {"prompt": SECRET, "timestamp": None},
    {"prompt": " \n", "timestamp": "2026-01-15T10:00:00Z"},
    {"prompt": {"text": SECRET}, "timestamp": "2026-01-15T10:00:00Z"},
    {"prompt": 7, "timestamp": "2026-01-15T10:00:00Z"},
    {"prompt": "x" * 1_000_000, "timestamp": "2026-01-15T10:00:00Z"},
    {"prompt": SECRET, "timestamp": "yesterday"},
    {"prompt": SECRET, "timestamp": "2026-01-15T10:00:00"},
    {"prompt": SECRET, "timestamp": "1999-12-31T23:59:59Z"},
    {"prompt": SECRET, "timestamp": "2026-02-01T00:10:00Z"},
]
BAD_REASONS = [
    "missing_prompt",
    "missing_prompt",
    "missing_timestamp",
    "missing_timestamp",
    "empty_prompt",
    "wrong_type",
    "wrong_type",
    "prompt_too_long",
    "unparsable_timestamp",
    "timestamp_without_zone",
    "timestamp_out_of_range",
    "timestamp_in_future",
]
#: What is mended: half a surrogate pair, seconds since 1970, odd values of columns that no score uses.
MENDED = [
    {"prompt": "half a pair \ud800", "timestamp": "2026-01-15T10:00:00Z"},
    {"prompt": SECRET, "timestamp": 1768471200},
    {"prompt": SECRET, "timestamp": "2026-01-15T10:00:00Z", "tokens_in": -1},
    {"prompt": SECRET, "timestamp": "2026-01-15T10:00:00Z", "tokens_out": 1e999},
    {"prompt": SECRET, "timestamp": "2026-01-15T10:00:00Z", "session": [SECRET]},
]


def test_a_row_of_a_request_is_a_row_of_traffic():
    assert tuple(PromptRow.model_fields) == ("prompt", "timestamp", *OPTIONAL_COLUMNS)


def test_unusable_rows_come_back_with_reason_and_place():
    mixed = [GOOD, *BAD, GOOD, *MENDED]
    response = scoring().score(asked(("first", [GOOD]), ("second", mixed)))
    assert [row.reason for row in response.quarantined] == BAD_REASONS
    assert set(BAD_REASONS) <= set(QUARANTINE_REASONS)
    assert [row.index for row in response.quarantined] == list(range(1, len(BAD) + 1))
    assert {row.account_id for row in response.quarantined} == {"second"}
    assert [(answer.account_id, answer.prompts) for answer in response.accounts] == [
        ("first", 1),
        ("second", 2 + len(MENDED)),
    ]
    assert SECRET not in response.model_dump_json()


def test_an_account_without_a_usable_prompt_has_only_quarantined_ones():
    response = scoring().score(asked(("empty", BAD[:2])))
    assert response.accounts == []
    assert [(row.account_id, row.index) for row in response.quarantined] == [("empty", 0), ("empty", 1)]


def test_columns_of_the_config_do_not_rename_a_request():
    config = TrafficConfig(as_of=AS_OF, columns={"prompt": "text", "account_id": "customer"})
    assert scoring(config=config).score(asked(("a", [GOOD]))).accounts[0].prompts == 1


def test_timezone_of_the_config_is_used():
    row = {"prompt": "hello", "timestamp": "2026-01-15T10:00:00"}
    config = TrafficConfig(as_of=AS_OF, timezone="Europe/Berlin")
    answer = scoring(config=config).score(asked(("a", [row]))).accounts[0]
    assert answer.first_seen == datetime(2026, 1, 15, 9, tzinfo=UTC)


def test_without_as_of_the_present_is_now():
    future = {"prompt": "hello", "timestamp": "2199-01-01T00:00:00Z"}
    response = scoring(config=TrafficConfig()).score(asked(("a", [GOOD, future])))
    assert [row.reason for row in response.quarantined] == ["timestamp_in_future"]


def test_answers_equal_the_tables_of_judge_prompts():
    judge = a_judge()
    seconds = list(range(120))
    table = traffic([("acct", 1_768_471_200 + s, f"prompt {said(int(s) % 80)}", None) for s in seconds])
    expected = judge_prompts(table, judge)
    moments = [datetime.fromtimestamp(1_768_471_200 + s, UTC).isoformat() for s in seconds]
    request = asked(
        (
            "acct",
            [
                {"prompt": f"prompt {said(int(s) % 80)}", "timestamp": moment}
                for s, moment in zip(seconds, moments, strict=True)
            ],
        )
    )
    response = scoring(judge=judge).score(request)
    (row,) = expected.accounts.to_pylist()
    (answer,) = response.accounts
    rest = answer.model_dump(exclude={"measures", "behaviour", "top_cells"})
    assert {**rest, **answer.measures, **answer.behaviour} == row
    cells = expected.cells.drop_columns("account_id").to_pylist()
    assert [cell.model_dump() for cell in answer.top_cells] == cells
    assert len(cells) > 8
    assert row["score"] is not None
    assert row["p_value"] is not None


def test_answers_have_every_column_of_the_tables():
    answer = scoring().score(asked(("a", [GOOD]))).accounts[0]
    rest = answer.model_dump(exclude={"measures", "behaviour", "top_cells"})
    assert {*rest, *answer.measures, *answer.behaviour} == set(ACCOUNTS.names)
    assert list(answer.measures) == list(MEASURE_COLUMNS)
    assert list(answer.behaviour) == list(BEHAVIOUR_COLUMNS)
    assert set(answer.top_cells[0].model_dump()) | {"account_id"} == set(CELLS.names)


def test_one_account_is_answered_the_same_alone_and_among_others():
    accounts = [(f"acct-{seed}", rows(seed, 30 + 40 * seed)) for seed in range(5)]
    together = scoring().score(asked(*accounts)).accounts
    alone = [scoring().score(asked(account)).accounts[0] for account in accounts]
    backwards = scoring().score(asked(*reversed(accounts))).accounts
    assert together == alone
    assert backwards == together[::-1]
    assert len({answer.score for answer in together}) == 5


def test_the_order_of_an_accounts_prompts_changes_nothing():
    mine = rows(3, 90)
    assert scoring().score(asked(("a", mine))).accounts == scoring().score(asked(("a", mine[::-1]))).accounts


def test_run_and_service_answer_alike(tmp_path, monkeypatch):
    """The main job on the same prompts as JSON lines: same table, same quarantine."""
    accounts = [(f"acct-{seed}", rows(seed, 40 + 30 * seed)) for seed in range(4)]
    # json.dumps would spell 1e999 Infinity, which is no JSON.
    bad = [row for row in BAD if row.get("tokens_out") != 1e999]
    accounts[1][1].extend([*bad, {**accounts[1][1][0], "prompt": "repeats a request_id"}])
    accounts[2][1].extend(dict(accounts[3][1][i]) for i in range(3))  # r-0..2 once more, in acct-2
    lines = [{"account_id": name, **row} for name, mine in accounts for row in mine]
    file = tmp_path / "day.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = RunConfig.model_validate(
        {"traffic": {"as_of": AS_OF}, "encoder": {"name": "static"}, "job": {"threads": 1, "buckets": 3}}
    )
    judge = a_judge(watch_p=0.5, review_p=0.2)
    monkeypatch.setattr("coverage_lab.jobs.run.load_judge", lambda *args, **options: judge)
    run_job(file, tmp_path / "out", config)

    response = scoring(judge=judge, config=config.traffic).score(asked(*accounts))

    expected = pq.read_table(tmp_path / "out" / "accounts.parquet").to_pylist()
    assert [row.pop("q_value") is not None for row in expected] == [row["prompts"] >= 50 for row in expected]
    answers = [
        {
            **answer.model_dump(exclude={"measures", "behaviour", "top_cells"}),
            **answer.measures,
            **answer.behaviour,
        }
        for answer in response.accounts
    ]
    assert [answer.pop("q_value") for answer in answers] == [None] * 4, "it needs the whole run"
    assert answers == expected
    cells = pq.read_table(tmp_path / "out" / "cells.parquet")
    for answer in response.accounts:
        mine = cells.filter(pc.equal(cells["account_id"], answer.account_id))
        assert [cell.model_dump() for cell in answer.top_cells] == mine.drop_columns("account_id").to_pylist()
    first_row = dict(
        zip(
            (name for name, _ in accounts),
            np.cumsum([0, *(len(mine) for _, mine in accounts)]).tolist(),
            strict=False,
        )
    )
    quarantine = pq.read_table(tmp_path / "out" / "quarantine.parquet").sort_by("row").to_pylist()
    assert [
        (first_row[row.account_id] + row.index, row.account_id, row.reason, row.detail)
        for row in response.quarantined
    ] == [(row["row"], row["account_id"], row["reason"], row["detail"]) for row in quarantine]
    assert sum(row["reason"] == "duplicate_request" for row in quarantine) == 4


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.sampled_from(["x", "y", None])),
        min_size=1,
        max_size=12,
    )
)
def test_repeated_requests_are_those_of_the_batch_job(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("bucket")
    records = [
        {
            "account_id": account,
            "prompt": f"prompt {i}",
            "timestamp": f"2026-01-15T10:00:0{second}Z",
            "request_id": request,
        }
        for i, (account, second, request) in enumerate(sorted(rows, key=lambda row: row[0]))
    ]
    with BucketWriter(folder, 1) as writer:
        writer.write(validate_records(records, TRAFFIC, as_of=AS_OF).good)
    kept, repeated = read_bucket(bucket_path(folder, 0), ["request"])

    encoder = HashEncoder()
    names = sorted({record["account_id"] for record in records})
    per_account = [
        (name, [{k: v for k, v in record.items() if k != "account_id"} for record in records
                if record["account_id"] == name])
        for name in names
    ]  # fmt: skip
    response = scoring(judge=dataclasses.replace(a_judge(), encoder=encoder)).score(asked(*per_account))
    start = {name: [r["account_id"] for r in records].index(name) for name in names}
    assert sorted(start[row.account_id] + row.index for row in response.quarantined) == sorted(
        repeated["row"].to_pylist()
    )
    assert sorted(text for call in encoder.calls for text in call) == sorted(kept["prompt"].to_pylist())


def test_answers_can_be_traced():
    judge = a_judge()
    response = scoring(judge=judge).score(asked(("a", [GOOD])))
    assert (response.atlas_id, response.encoder_id) == (judge.atlas.id, judge.encoder.id)
    assert (response.model_id, response.config_id) == (judge.scorecard.id, "tests")
    assert response.version == coverage_lab.__version__
    assert scoring(judge=judge).health().model_dump() == {
        "status": "ok",
        "version": coverage_lab.__version__,
        "encoder": "hash",
        "encoder_id": judge.encoder.id,
        "atlas_id": judge.atlas.id,
        "model_id": judge.scorecard.id,
        "second": None,
        "config_id": "tests",
    }


def test_without_a_scorecard_there_is_no_score_and_no_model():
    service = scoring(judge=a_judge(scorecard=False))
    response = service.score(asked(("a", rows(1, 60))))
    assert (response.accounts[0].score, response.accounts[0].p_value, response.model_id) == (None, None, None)
    assert response.accounts[0].verdict == "inconclusive"
    assert service.health().model_id is None


def test_json_of_one_prompt_has_nulls_and_no_nan():
    body = json.dumps({"accounts": [{"account_id": "a", "prompts": [GOOD]}]}).encode()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    answer = json.loads(scoring().answer(body), parse_constant=refuse)["accounts"][0]
    assert answer["measures"]["sample_coverage_fine"] is None
    assert answer["measures"]["distinct_fine"] == 1
    assert answer["verdict"] == "inconclusive"


def test_infinite_measures_become_null(monkeypatch):
    def judged(prompts, judge, **options):
        tables = judge_prompts(prompts, judge, **options)
        at = tables.accounts.schema.get_field_index("collision_z_fine")
        endless = tables.accounts.set_column(at, ACCOUNTS.field("collision_z_fine"), pa.array([float("inf")]))
        return dataclasses.replace(tables, accounts=endless)

    monkeypatch.setattr("coverage_lab.service.scoring.judge_prompts", judged)
    response = scoring().score(asked(("a", [GOOD])))
    assert response.accounts[0].measures["collision_z_fine"] is None


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def one(account_id: object = "a", **row: object) -> dict[str, object]:
    return {"accounts": [{"account_id": account_id, "prompts": [{**GOOD, **row}]}]}


LIMITS = ServiceConfig(max_prompts=3, max_accounts=2)
TOO_MANY_VALUES = "expected rows of plain values; these hold too many lists, objects or texts"
KNOWN = "known are " + ", ".join(("prompt", "timestamp", *OPTIONAL_COLUMNS))

REFUSED = {
    "empty": (b"", 400, "invalid_json", "body is not JSON (it ends too early)"),
    "cut_off": (b'{"accounts": [', 400, "invalid_json", "body is not JSON (it ends too early)"),
    "not_utf8": (b'{"accounts": "\xff"}', 400, "invalid_json", "body is not UTF-8 (byte 14)"),
    "utf16": ('{"accounts": []}'.encode("utf-16"), 400, "invalid_json", "body is not UTF-8 (byte 0)"),
    "nan": (b'{"accounts": NaN}', 400, "invalid_json", "body is not JSON (byte 13)"),
    "infinity": (b'{"accounts": [-Infinity]}', 400, "invalid_json", "body is not JSON (byte 15)"),
    "long_number": (b"1" * 10_000, 422, "invalid_request", "body: expected an object"),
    "raw_null_byte": (b'{"accounts": "\x00"}', 400, "invalid_json", "body is not JSON (byte 14)"),
    "deep_lists": (b"[" * 1_000_000, 413, "too_many_values", TOO_MANY_VALUES),
    "deep_objects": (b'{"a":' * 1_000_000, 413, "too_many_values", TOO_MANY_VALUES),
    "deep_prompt": (
        b'{"accounts": [{"account_id": "a", "prompts": [{"prompt": ' + b"[" * 1_000_000,
        413,
        "too_many_values",
        TOO_MANY_VALUES,
    ),
    "two_values": (b'{"accounts": []} {}', 422, "invalid_request", "accounts: expected at least one item"),
    "too_many_accounts": (
        body({"accounts": [{}] * 3}),
        413,
        "too_many_accounts",
        "expected at most 2 accounts",
    ),
    "too_many_prompts": (
        body({"accounts": [{"prompts": [{}, {}]}, {"prompts": [{}, {}]}]}),
        413,
        "too_many_prompts",
        "expected at most 3 prompts",
    ),
}

#: Another structure: the JSON, and the message of the 422.
MISSHAPEN = {
    "list": ([one()], "body: expected an object"),
    "null": (None, "body: expected an object"),
    "nothing": ({}, "accounts: is required"),
    "no_accounts": ({"accounts": []}, "accounts: expected at least one item"),
    "accounts_text": ({"accounts": SECRET}, "accounts: expected a list"),
    "account_text": ({"accounts": [SECRET]}, "accounts.0: expected an object"),
    "no_prompts": (
        {"accounts": [{"account_id": "a", "prompts": []}]},
        "accounts.0.prompts: expected at least one item",
    ),
    "prompts_text": (
        {"accounts": [{"account_id": "a", "prompts": SECRET}]},
        "accounts.0.prompts: expected a list",
    ),
    "prompt_text": (
        {"accounts": [{"account_id": "a", "prompts": [SECRET]}]},
        "accounts.0.prompts.0: expected an object",
    ),
    "no_account_id": ({"accounts": [{"prompts": [GOOD]}]}, "accounts.0.account_id: is required"),
    "account_id_number": (one(7), "accounts.0.account_id: expected text"),
    "account_id_empty": (one(""), "accounts.0.account_id: expected text that is not empty"),
    "account_id_surrogate": (
        one("\ud800"),
        "accounts.0.account_id: expected text, got half a surrogate pair",
    ),
    "account_twice": (
        {"accounts": one(SECRET)["accounts"] * 2},
        "accounts: account_id of number 1 is that of number 0; give each account once",
    ),
    "unknown_key_on_top": ({**one(), "mode": 1}, "body: unknown key 'mode'; known are accounts"),
    "unknown_key_of_an_account": (
        {"accounts": [{**one()["accounts"][0], "plan": SECRET}]},
        "accounts.0: unknown key 'plan'; known are account_id, prompts",
    ),
    "unknown_key": (one(promt=SECRET), f"accounts.0.prompts.0: unknown key 'promt'; {KNOWN}"),
    "unknown_key_that_is_text": (one(**{SECRET: 1}), f"accounts.0.prompts.0: unknown key; {KNOWN}"),
}

# The decoder leaves the place out where it is the body, so a key can pretend to be one.
for key in (".prompts[0].x", "x` - at `$.accounts[0].prompts[0].prompt", "` - at `$.a.b.c.d"):
    MISSHAPEN[f"unknown_key_like_a_place {key}"] = (
        {**one(), key: 1},
        "body: unknown key; known are accounts",
    )

REFUSED |= {name: (body(raw), 422, "invalid_request", said) for name, (raw, said) in MISSHAPEN.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_is_refused_without_repeating_it(case):
    raw, status, code, words = REFUSED[case]
    with pytest.raises(RefusalError) as refusal:
        parse_request(raw, LIMITS)
    error = refusal.value
    assert (error.status, error.code) == (status, code)
    assert error.message == words
    assert "\n" not in error.message
    assert len(error.message) < 300
    assert SECRET not in error.body().decode()
    assert json.loads(error.body()) == {"error": {"code": code, "message": error.message}}


def test_a_million_unknown_keys_are_one_problem():
    hostile = b'{"accounts": [], ' + b", ".join(b'"k%d": 0' % i for i in range(300_000)) + b"}"
    with pytest.raises(RefusalError, match=r"^accounts: expected at least one item$"):
        parse_request(hostile, LIMITS)


def test_at_the_limits_is_within_them():
    request = parse_request(
        body(
            {
                "accounts": [
                    {"account_id": "a", "prompts": [GOOD]},
                    {"account_id": "b", "prompts": [GOOD, GOOD]},
                ]
            }
        ),
        LIMITS,
    )
    assert [len(account.rows) for account in request] == [1, 2]


def test_null_bytes_and_other_control_characters_are_text_as_in_run():
    response = scoring().score(parse_request(body(one("a\x00b", prompt="nul \x00 bell \x07")), LIMITS))
    assert [(answer.account_id, answer.prompts) for answer in response.accounts] == [("a\x00b", 1)]


def test_an_account_id_that_is_too_long_is_quarantined_as_in_run():
    response = scoring().score(parse_request(body(one("é" * 501)), LIMITS))
    assert [row.reason for row in response.quarantined] == ["wrong_type"]


def test_every_limit_is_positive():
    for name, field in ServiceConfig.model_fields.items():
        if field.annotation in (int, float):
            with pytest.raises(ValueError, match=rf"(?s){name}.*greater than 0"):
                ServiceConfig(**{name: 0})


def test_the_service_section_changes_no_config_id():
    changed = RunConfig(service=ServiceConfig(max_prompts=7))
    assert changed.digest() == RunConfig().digest()


def test_a_byte_order_mark_is_no_problem():
    (account,) = parse_request(b"\xef\xbb\xbf" + body(one()), LIMITS)
    assert account.rows[0]["prompt"] == GOOD["prompt"]


def test_a_row_needs_neither_prompt_nor_timestamp_to_be_asked_about():
    """The schema says what is done: such a row is quarantined, not refused."""
    assert "required" not in PromptRow.model_json_schema()
    assert ScoreRequest.model_json_schema()["required"] == ["accounts"]


LONG = ServiceConfig()
START = b'{"accounts":[{"account_id":"a","prompts":['


@pytest.mark.parametrize(
    ("hostile", "status"),
    [
        (b"[" + b"[]," * 2_000_000 + b"[]]", 413),
        (b'{"accounts":[' + b"[]," * 2_000_000 + b"[]]}", 413),
        (START + b"{}," * 2_000_000 + b"{}]}]}", 413),
        (START + b'{"prompt":[' + b"[]," * 2_000_000 + b"[]]}]}]}", 413),
        (START + b'{"prompt":[' + b"1," * 4_000_000 + b"1]}]}]}", 413),
        (START + b'{"prompt":"{' + b"{" * 100_000 + b'\\"' * 2_000_000, 400),
        (START + b'{"prompt":"' + b"\\ud800" * 1_000_000 + b'"}]}]}', 400),
    ],
)
def test_a_body_within_the_limits_can_not_hold_much_more_than_it_is_long(hostile, status):
    """Of the standard library's decoder, 32 MB of `[]` took 8 s and a gigabyte."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(RefusalError) as refusal:
            parse_request(hostile, LONG)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refusal.value.status == status
    assert peak < 5 * len(hostile)
    assert time.process_time() - started < 5


def test_text_with_many_braces_is_text():
    rows = [{"prompt": "{" * 60_000, "timestamp": 1_768_471_200}, GOOD]
    (account,) = parse_request(body({"accounts": [{"account_id": "a", "prompts": rows}]}), LONG)
    assert [row["prompt"] for row in account.rows] == ["{" * 60_000, GOOD["prompt"]]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
@settings(max_examples=40)
def test_what_is_decoded_is_what_json_says(value):
    """The standard library as the oracle, for every value that a row's column may be sent as."""
    sent = json.dumps({"accounts": [{"account_id": "a", "prompts": [{"prompt": value}]}]})
    (account,) = parse_request(sent.encode(), LONG)
    assert account.rows[0]["prompt"] == value
