"""Every format: recognised by its first rows, and the same requests give the same prompts through each."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_lab.config import TrafficConfig, TrafficFormat
from coverage_lab.errors import TrafficError
from coverage_lab.traffic import check_sources, drop_repeated_requests, find_sources, read_traffic
from coverage_lab.traffic.chat import Request, conversation_of, request_of
from coverage_lab.traffic.formats import FORMATS, format
from coverage_lab.traffic.json_values import Unreadable, values

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
SYSTEM = "You answer customers of a bakery."
#: Account, prompt.
ASKED = [(f"acct-{i % 3}", f"How do I bake bread number {i}?") for i in range(12)]


def moment(i: int) -> datetime:
    return START + timedelta(minutes=i)


def chat(prompt: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def span(i: int, account: str, attributes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    one = {
        "spanId": f"s{i}",
        "name": "chat gpt",
        "startTimeUnixNano": str(int(moment(i).timestamp()) * 10**9),
        "attributes": [attribute("user.id", account), *attributes],
        **more,
    }
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": [one]}]}]}


def parts(prompt: str) -> str:
    return json.dumps(
        [
            {"role": "system", "parts": [{"type": "text", "content": SYSTEM}]},
            {"role": "user", "parts": [{"type": "text", "content": prompt}]},
        ]
    )


#: One record of each shape, of the i-th request.
RECORDS: dict[str, Callable[[int, str, str], dict[str, Any]]] = {
    "openai-chat": lambda i, a, p: {
        "request": {"model": "gpt", "messages": chat(p), "user": a},
        "response": {"id": f"c{i}", "created": int(moment(i).timestamp()), "usage": {"prompt_tokens": 9}},
    },
    "openai-responses": lambda i, a, p: {
        "request": {"model": "gpt", "instructions": SYSTEM, "input": p, "user": a},
        "response": {"id": f"r{i}", "object": "response", "created_at": int(moment(i).timestamp())},
    },
    "openai-batch": lambda i, a, p: {
        "custom_id": f"b{i}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt", "messages": chat(p), "user": a},
        "timestamp": moment(i).isoformat(),
    },
    "anthropic-messages": lambda i, a, p: {
        "request": {
            "model": "claude-x",
            "max_tokens": 9,
            "system": SYSTEM,
            "messages": [{"role": "user", "content": [{"type": "text", "text": p}]}],
            "metadata": {"user_id": a},
        },
        "response": {"id": f"m{i}", "type": "message", "usage": {"input_tokens": 9, "output_tokens": 8}},
        "timestamp": moment(i).isoformat(),
    },
    "anthropic-batch": lambda i, a, p: {
        "custom_id": f"b{i}",
        "params": {
            "model": "claude-x",
            "system": SYSTEM,
            "messages": chat(p)[1:],
            "metadata": {"user_id": a},
        },
        "timestamp": moment(i).isoformat(),
    },
    "litellm": lambda i, a, p: {
        "request_id": f"l{i}",
        "call_type": "acompletion",
        "api_key": a,
        "startTime": moment(i).timestamp(),
        "messages": chat(p),
        "end_user": "",
    },
    "langfuse": lambda i, a, p: {
        "id": f"o{i}",
        "traceId": "t",
        "type": "GENERATION",
        "startTime": moment(i).isoformat(),
        "userId": a,
        "input": json.dumps(chat(p)),
    },
    "helicone": lambda i, a, p: {
        "request_id": f"h{i}",
        "request_created_at": moment(i).isoformat(),
        "request_user_id": a,
        "request_body": {"model": "gpt", "messages": chat(p)},
    },
    "otel-genai": lambda i, a, p: span(i, a, [attribute("gen_ai.input.messages", parts(p))]),
    "vllm": lambda i, a, p: {"vllm_request": f"v{i}", "user": a, "time": moment(i).isoformat(), "prompt": p},
    "wildchat": lambda i, a, p: {
        "conversation_hash": f"w{i}",
        "timestamp": moment(i).isoformat(),
        "hashed_ip": a,
        "conversation": [{"role": "user", "content": p}, {"role": "assistant", "content": "ok"}],
    },
    "lmsys": lambda i, a, p: {
        "conversation_id": f"w{i}",
        "user_id": a,
        "tstamp": moment(i).timestamp(),
        "conversation": [{"role": "user", "content": p}, {"role": "assistant", "content": "ok"}],
    },
    "phoenix": lambda i, a, p: {
        "context.span_id": f"p{i}",
        "span_kind": "LLM",
        "start_time": moment(i).isoformat(),
        "attributes.user.id": a,
        "attributes.llm.input_messages": [
            {"message.role": m["role"], "message.content": m["content"]} for m in chat(p)
        ],
        "attributes.input.value": json.dumps({"messages": chat(p)}),
    },
    "kong": lambda i, a, p: {
        "started_at": int(moment(i).timestamp() * 1000),
        "consumer": {"id": a},
        "request": {"id": f"k{i}"},
        "ai": {"proxy": {"payload": {"request": json.dumps({"messages": chat(p)})}, "usage": {}}},
    },
    "azure-apim": lambda i, a, p: {
        "TimeGenerated": moment(i).isoformat(),
        "ApimSubscriptionId": a,
        "CorrelationId": f"z{i}",
        "SequenceNumber": 0,
        "RequestMessages": json.dumps(chat(p)),
    },
}


def lines(tmp_path: Path, records: list[dict[str, Any]], name: str = "in.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path, config: TrafficConfig | None = None) -> tuple[str, pa.Table, int]:
    """Format, usable rows, rows that were not used."""
    config = config or TrafficConfig()
    checked = check_sources(find_sources(path), config)
    batches = list(read_traffic(checked.sources, config, as_of=AS_OF))
    good = pa.concat_tables([batch.good for batch in batches])
    return checked.format, good, sum(batch.rows_in for batch in batches) - good.num_rows


def test_every_format_has_a_name_in_the_config_and_an_example_here() -> None:
    assert set(FORMATS) == set(get_args(TrafficFormat)) - {"auto", "table"} == set(RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_format_is_recognised_and_gives_the_same_prompts(name: str, tmp_path: Path) -> None:
    path = lines(tmp_path, [RECORDS[name](i, a, p) for i, (a, p) in enumerate(ASKED)])
    for config in (TrafficConfig(), TrafficConfig(format=name)):  # type: ignore[arg-type]
        found, good, lost = read(path, config)
        assert (found, lost) == (name, 0)
        assert good["prompt"].to_pylist() == [prompt for _, prompt in ASKED]
        assert good["account_id"].to_pylist() == [account for account, _ in ASKED]
        assert good["timestamp"].to_pylist() == [moment(i) for i in range(len(ASKED))]
        if name not in ("vllm", "wildchat", "lmsys"):
            assert len(set(good["system_prompt_hash"].to_pylist())) == 1
            assert good["system_prompt_hash"].null_count == 0


@pytest.mark.parametrize(
    "attributes",
    [
        [attribute("gen_ai.prompt.0.role", "user"), attribute("gen_ai.prompt.0.content", "hello there")],
        [attribute("gen_ai.prompt", json.dumps([{"role": "user", "content": "hello there"}]))],
    ],
)
def test_former_conventions_of_opentelemetry(attributes: list[dict[str, Any]], tmp_path: Path) -> None:
    found, good, _ = read(lines(tmp_path, [span(i, "a", attributes) for i in range(3)]))
    assert found == "otel-genai"
    assert good["prompt"].to_pylist() == ["hello there"] * 3


def test_events_of_a_span_are_its_messages(tmp_path: Path) -> None:
    events = [
        {"name": "gen_ai.system.message", "attributes": [attribute("content", SYSTEM)]},
        {"name": "gen_ai.user.message", "attributes": [attribute("content", "hello there")]},
    ]
    _, good, _ = read(lines(tmp_path, [span(0, "a", [], events=events)]))
    assert good["prompt"].to_pylist() == ["hello there"]


def test_spans_and_embeddings_are_left_out(tmp_path: Path) -> None:
    spans = [{**RECORDS["langfuse"](i, "a", "x"), "type": "SPAN", "input": "{}"} for i in range(5)]
    generations = [RECORDS["langfuse"](i, a, p) for i, (a, p) in enumerate(ASKED)]
    found, good, left = read(lines(tmp_path, spans + generations))
    assert (found, good.num_rows, left) == ("langfuse", len(ASKED), 5)


def test_account_and_time_from_config_and_path(tmp_path: Path) -> None:
    record = {"custom_id": "1", "url": "/v1/chat/completions", "body": {"model": "m", "messages": chat("hi")}}
    (tmp_path / "acct-7").mkdir()
    path = lines(tmp_path / "acct-7", [record], "2026-03-01.jsonl")
    with pytest.raises(TrafficError, match="no column for account_id"):
        read(path)
    config = TrafficConfig(path=r"(?P<account_id>[^/]+)/(?P<timestamp>[^/]+)\.jsonl$", timezone="UTC")
    _, good, _ = read(path, config)
    assert good["account_id"].to_pylist() == ["acct-7"]
    config = TrafficConfig(constants={"account_id": "all", "timestamp": "2026-03-01"}, timezone="UTC")
    assert read(path, config)[1]["account_id"].to_pylist() == ["all"]


def test_vllm_log(tmp_path: Path) -> None:
    prompt = (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nIt's 5<|im_end|>\n<|im_start|>assistant\n"
    )
    (tmp_path / "server.log").write_text(
        "INFO 03-01 09:00:00 [api_server.py:1] started\n"
        f"INFO 03-01 09:00:01 [logger.py:39] Received request c-1: prompt: {prompt!r}, params: x.\n"
        'INFO:     10.0.0.7 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    )
    config = TrafficConfig(constants={"account_id": "server"}, timezone="UTC")
    found, good, lost = read(tmp_path / "server.log", config)
    assert (found, lost) == ("vllm", 0)
    assert good["prompt"].to_pylist() == ["It's 5"]
    assert good["timestamp"].to_pylist() == [datetime(2026, 3, 1, 9, 0, 1, tzinfo=UTC)]


def test_a_conversation_of_ten_requests_has_ten_prompts(tmp_path: Path) -> None:
    history: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}]
    records = []
    for i in range(10):
        history = [*history, {"role": "user", "content": f"question {i}"}]
        records.append(
            {"user": "a", "created": int(moment(i).timestamp()), "model": "m", "messages": history}
        )
        history = [*history, {"role": "assistant", "content": "answer"}]
    _, good, _ = read(lines(tmp_path, records))
    assert good["prompt"].to_pylist() == [f"question {i}" for i in range(10)]
    assert len(set(good["session"].to_pylist())) == 1


def test_a_loop_of_tool_calls_is_one_prompt(tmp_path: Path) -> None:
    turns: list[dict[str, Any]] = [{"role": "user", "content": "mend the test"}]
    records = []
    for i in range(5):
        records.append({"user": "a", "created": int(moment(i).timestamp()), "model": "m", "messages": turns})
        call = {"role": "assistant", "content": None, "tool_calls": [{"id": str(i)}]}
        turns = [*turns, call, {"role": "tool", "tool_call_id": str(i), "content": "log"}]
    again = {"user": "a", "created": int(moment(9).timestamp()), "model": "m"}
    records.append({**again, "messages": [{"role": "user", "content": "mend the test"}]})
    _, good, _ = read(lines(tmp_path, records))
    kept, quarantined = drop_repeated_requests(good, ["in.jsonl"])
    assert kept["row"].to_pylist() == [0, 5]  # asking the same again is another prompt
    assert quarantined.num_rows == 0
    assert quarantined.schema.metadata == {b"same_turn": b"4"}


COHERE = [{"role": "USER", "message": "b"}, {"role": "CHATBOT", "message": "c"}]
TURNS = [
    ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "a\nb"),
    ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "Sure, here is"}], "a"),
    ([{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]}], "a"),
    (
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1"}]},
            {"role": "user", "content": [{"type": "tool_result", "content": "log"}]},
        ],
        "a",
    ),
    ([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "a"),
    ([{"type": "human", "content": "a"}], "a"),
    ({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}, "a"),
    ({"model": "m", "input": [{"role": "user", "content": "a"}]}, "a"),
    ({"kwargs": {"messages": [{"role": "user", "content": "a"}]}}, "a"),
    ([{"role": "system", "content": "a"}], ""),
    ({"contents": [{"parts": [{"text": "a"}]}]}, "a"),
    ({"instances": [{"messages": [{"author": "user", "content": "a"}]}]}, "a"),
    ({"instances": [{"prompt": "a"}], "parameters": {}}, "a"),
    ({"message": "a", "chat_history": COHERE, "preamble": "s"}, "a"),
    ({"inputText": "a", "textGenerationConfig": {}}, "a"),
    ({"prompt": "\n\nHuman: b\n\nAssistant: c\n\nHuman: a\n\nAssistant:", "max_tokens_to_sample": 9}, "a"),
    ({"model": "m", "system": "s", "prompt": "a"}, "a"),
    ({"prompts": ["a"]}, "a"),
    ({"input": {"inputBodyJson": {"messages": [{"role": "user", "content": "a"}]}}}, "a"),
    ({"messages": [["system", "s"], ["human", "a"]]}, "a"),
    ([["user", "a"]], "a"),
    ({"message": {"role": "user", "content": "a"}}, "a"),
    ({"thread": {"messages": [{"role": "user", "content": "a"}]}, "assistant_id": "x"}, "a"),
    ({"turns": [{"speaker": "user", "text": "a"}]}, "a"),
    ({"inputs": "a", "parameters": {"max_new_tokens": 3}}, "a"),
]


@pytest.mark.parametrize(("value", "prompt"), TURNS)
def test_newest_user_turn(value: object, prompt: str) -> None:
    request = request_of(value)
    assert request is not None
    assert request.prompt == prompt
    as_text = request_of(json.dumps(value))
    assert as_text == request


ONE_MESSAGE = [{"role": "user", "content": "née, said"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(json.dumps(ONE_MESSAGE)),
        json.dumps(json.dumps({"messages": ONE_MESSAGE})),
        "\ufeff" + json.dumps(ONE_MESSAGE),
        repr(ONE_MESSAGE),
        repr({"messages": ONE_MESSAGE, "stream": None, "n": True}),
        '{"temperature": NaN, "messages": ' + json.dumps(ONE_MESSAGE) + "}",
        html.escape(json.dumps(ONE_MESSAGE)),
        '{"role":"system","content":"s"}\n{"role":"user","content":"née, said"}',
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nnée, said<|im_end|>\n<|im_start|>assistant\n",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nnée, said<|eot_id|>",
        "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\nnée, said [/INST]",
        "\n\nHuman: née, said\n\nAssistant:",
        "System: s\nUser: née, said\nAI:",
    ],
)
def test_messages_in_other_spellings_of_text(text: str, tmp_path: Path) -> None:
    rows = [{"account_id": "a", "timestamp": moment(i).isoformat(), "prompt": text} for i in range(3)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape, good, lost = read(tmp_path / "in.jsonl")
    assert (shape, good["prompt"].to_pylist(), lost) == ("messages", ["née, said"] * 3, 0)


@pytest.mark.parametrize(
    "text",
    [
        "What does <|im_start|>assistant mean?",
        "<|im_start|>assistant",
        "[note] mend the {'gate': 'now'}",
        '"So it goes," he said',
        "{'a': [1, 2",
        "Human: hello",
        "Write a play.\nHuman: hello\nAssistant:",
        "\n" * 200_000 + "x",
        "<" + "<<SYS>>" * 100_000 + "[INS]",
        "{" * 200_000,
        "[{'a':" * 2_000,
    ],
)
def test_text_that_is_no_chat_stays_as_it_is(text: str) -> None:
    assert request_of(text) is None


@pytest.mark.parametrize("value", [{}, [], {"n": 1}, ["a"], [{"text": "a"}], "text", None, 7, {"input": "a"}])
def test_values_without_messages(value: object) -> None:
    assert request_of(value) is None
    assert conversation_of(value) == []


def test_paths_and_filter(tmp_path: Path) -> None:
    records = [
        {
            "meta": {"user": a},
            "at": moment(i).isoformat(),
            "kind": "chat" if i % 2 else "job",
            "q": {"turns": [p]},
        }
        for i, (a, p) in enumerate(ASKED)
    ]
    columns = {"account_id": "meta.user", "timestamp": "at", "prompt": "q.turns[-1]"}
    table = pa.Table.from_pylist(records)
    pq.write_table(table, tmp_path / "in.parquet")
    for path in (lines(tmp_path, records), tmp_path / "in.parquet"):
        for chosen in ({"kind": "chat"}, {"kind": ["chat"]}, "kind == 'chat'"):
            config = TrafficConfig(columns=columns, filter=chosen)  # type: ignore[arg-type]
            _, good, left = read(path, config)
            assert good["prompt"].to_pylist() == [p for _, p in ASKED[1::2]]
            assert left == 6


def test_paths_go_through_json_text(tmp_path: Path) -> None:
    inner = [{"user": f"acct-{i % 3}", "body": json.dumps({"messages": chat(f"said {i}")})} for i in range(4)]
    lines = [{"time": moment(i).isoformat(), "log": json.dumps(one) + "\n"} for i, one in enumerate(inner)]
    # A file that was cut off and went on begins with zeros.
    (tmp_path / "in.jsonl").write_text("\0" * 600 + "".join(json.dumps(line) + "\n" for line in lines))
    columns = {"account_id": "log.user", "timestamp": "time"}
    for prompt in ("log.body", "log.body.messages[-1].content"):
        config = TrafficConfig(columns={**columns, "prompt": prompt})
        _, good, lost = read(tmp_path / "in.jsonl", config)
        assert lost == 0
        assert good["prompt"].to_pylist() == [f"said {i}" for i in range(4)]
        assert good["account_id"].to_pylist() == [f"acct-{i % 3}" for i in range(4)]


def test_json_in_the_prompt_column_that_holds_no_messages_is_refused_unless_asked_for(tmp_path: Path) -> None:
    rows = [
        {"account_id": "a", "timestamp": moment(i).isoformat(), "prompt": json.dumps({"n": i})}
        for i in range(9)
    ]
    path = lines(tmp_path, rows)
    with pytest.raises(TrafficError, match=r'traffic\.format = "table"'):
        read(path)
    _, good, _ = read(path, TrafficConfig(format="table"))
    assert good["prompt"].to_pylist() == [row["prompt"] for row in rows]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
LAYOUTS: dict[str, Callable[[list[Any]], str]] = {
    "lines": lambda rows: "\n".join(map(json.dumps, rows)),
    "array": json.dumps,
    "pretty array": lambda rows: json.dumps(rows, indent=2),
    "pretty": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows),
    "concatenated": lambda rows: "".join(map(json.dumps, rows)),
    "commas": lambda rows: ",\n".join(map(json.dumps, rows)),
    "RFC 7464": lambda rows: "".join("\x1e" + json.dumps(row) + "\n" for row in rows),
    "wrapped": lambda rows: json.dumps({"object": "list", "data": rows, "more": False}),
}


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"id": st.integers(0, 9), "x": JSON}), min_size=1, max_size=6))
def test_every_layout_of_json_gives_its_rows(rows: list[Any]) -> None:
    for name, write in LAYOUTS.items():
        data = write(rows).encode()
        assert [value for _, value in values(_stream(data), data[: 2**16], 2**20)] == rows, name


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200) | st.text('{}[]",:\\ \n0a', max_size=80).map(str.encode))
def test_no_bytes_make_the_json_reader_fail(data: bytes) -> None:
    for _, value in values(_stream(data), data, 64):
        assert value is None or isinstance(value, dict | list | str | int | float | bool | Unreadable)


@settings(max_examples=100, deadline=None)
@given(value=JSON)
def test_no_value_makes_a_format_fail(value: Any) -> None:
    for name, example in RECORDS.items():
        record = example(0, "a", "p")
        for key in record:
            odd = {**record, key: value}
            FORMATS[name].recognises(odd)
            assert all(isinstance(row, dict) for row in FORMATS[name].rows(odd))


CONTENTS = st.one_of(
    st.text("ab \n", max_size=4),
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "image_url", "tool_result", "tool_use", ["text"]])},
            optional={"text": st.text("ab", max_size=2) | st.none(), "more": st.none()},
        ),
        max_size=3,
    ),
    st.sampled_from([None, 7, {"parts": ["a"]}, [["a"]], "a"]),
)
ROLES = st.sampled_from(["user", "User", "human", "system", "developer", "assistant", "tool", "", 3, None])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": ROLES, "content": CONTENTS},
        optional={
            "tool_calls": st.sampled_from([None, [{"id": "c"}]]),
            "type": st.sampled_from(["message", "tool_result", ["x"]]),
            "name": st.just("n"),
            "message": st.sampled_from([None, {"role": "user", "content": "b"}]),
        },
    )
    | st.fixed_dictionaries({"role": ROLES, "content": CONTENTS}),
    max_size=5,
)


@settings(max_examples=400, deadline=None)
@given(messages=MESSAGES, system=st.sampled_from([None, "", "s", [{"type": "text", "text": "t"}]]))
def test_plain_messages_are_read_as_all_others(messages: list[Any], system: object) -> None:
    for value in (messages, {"messages": messages}, {"messages": messages, "system": system}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("coverage_lab.traffic.chat._read_plain", lambda messages, system: None)
            one_way = request_of(value, system=system)
        assert request_of(value, system=system) == one_way


@settings(max_examples=100, deadline=None)
@given(system=st.text(max_size=3), turns=st.lists(st.text(max_size=3), max_size=4))
def test_marks_of_a_request(system: str, turns: list[str]) -> None:
    def digest(*texts: str) -> bytes:
        return hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()

    marks = Request(turns[-1] if turns else "", system, tuple(turns), False, 0).marks()
    assert marks.turn.to_bytes(8, "big", signed=True) == digest(system, *turns)[:8]
    assert marks.session == ("conversation-" + digest(system, turns[0])[:8].hex() if turns else None)
    assert marks.system == (digest(system).hex() if system else None)


PLACED = st.sampled_from(
    [None, "", 0, "v", "w", 7, {}, {"user_id": "u", "prompt_tokens": 3}, '{"user_id":"x"}']
)
NAMES = [
    "user",
    "metadata",
    "user_id",
    "created",
    "timestamp",
    "time",
    "id",
    "requestId",
    "session_id",
    "usage",
]
PLACES = st.dictionaries(st.sampled_from(NAMES), PLACED, max_size=5)


@settings(max_examples=300, deadline=None)
@given(record=PLACES, request=PLACES, response=PLACES)
def test_values_of_an_exchange_are_the_first_that_are_there(
    record: dict[str, Any], request: dict[str, Any], response: dict[str, Any]
) -> None:
    def found(places: list[dict[str, Any]], paths: tuple[str, ...]) -> Any:
        values = (format.first(place, path) for place in places for path in paths)
        return next((value for value in values if value is not None), None)

    row = format.exchange(record, request, response)
    asked, told = [request, record, response], [response, request, record]
    assert row.get("account_id") == found(asked, format.USERS)
    assert row.get("timestamp") == (found([record], format.TIMES) or found(told, format.TIMES))
    assert row.get("request_id") == found(told, ("id", "request_id", "requestId"))
    assert row.get("session") == found(asked, format.SESSIONS)
    assert row.get("tokens_in") == found(told, format.TOKENS_IN)
    assert row.get("tokens_out") == found(told, format.TOKENS_OUT)


def _stream(data: bytes) -> Any:
    return io.BytesIO(data)


PAGE = Path(__file__).parents[1] / "docs/reference/formats.md"


@pytest.mark.parametrize("name", FORMATS)
def test_example_of_the_page_is_read(name: str, tmp_path: Path) -> None:
    found = re.search(rf"### `{name}`\n.*?```(json|text)\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert found is not None, f"{PAGE.name}: no example of {name}"
    kind, text = found.groups()
    path = tmp_path / ("in.json" if kind == "json" else "in.log")
    path.write_text(text + "\n")
    config = TrafficConfig(timezone="UTC", constants={"account_id": "acct-1"} if kind == "text" else {})
    shape, good, lost = read(path, config)
    assert (shape, lost) == (name, 0)
    assert good["prompt"].to_pylist() == ["How do I bake bread?"]
    assert good["account_id"].to_pylist() == ["acct-1"]


@pytest.mark.parametrize("text", ["a\0b", r"\x", r"\N{no such sign}", r"\u12"])
def test_a_line_of_vllm_that_python_did_not_write_costs_its_row_only(text: str, tmp_path: Path) -> None:
    line = "INFO 01-15 00:01:00 [logger.py:39] Received request r{}: prompt: '{}', params: x\n"
    (tmp_path / "vllm.log").write_text(line.format(1, "said") + line.format(2, text) + line.format(3, "said"))
    config = TrafficConfig(constants={"account_id": "a"}, timezone="UTC")
    sources = check_sources(find_sources(tmp_path / "vllm.log"), config).sources
    (batch,) = read_traffic(sources, config, as_of=datetime(2026, 2, 1, tzinfo=UTC))
    assert batch.good.num_rows == 2
    assert batch.quarantined["reason"].to_pylist() == ["unparsable_row"]
