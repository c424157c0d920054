"""Record what real SDKs send and write, against a fake endpoint on this machine.

    python tests/recorded/record.py tests/recorded

Needs, in an environment of its own: openai, anthropic, langfuse, opentelemetry-sdk,
opentelemetry-instrumentation-genai-openai, opentelemetry-exporter-otlp-json-file. The prompts are made of
invented words. Every file holds the same three requests of each of two accounts: one turn, a second turn with
the first sent again, and a tool's answer under that second turn.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"

SYSTEM = "You are a patient gardener."
TURNS = {
    "ann": ("rodiqi sufo mabe tilu?", "jedi muta cetaxo gufo, please"),
    "bob": ("gudilo hagu tadita mudi", "vepeki foha rokina kice!"),
}
#: Requests as they came in: path, body, and the answer that was given.
SEEN: list[dict[str, Any]] = []
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
    created = int(datetime.now(UTC).timestamp())
    if path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": "All right."}
        return {
            "id": f"chatcmpl-{len(SEEN)}",
            "object": "chat.completion",
            "created": created,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    if path.endswith("/responses"):
        content = [{"type": "output_text", "text": "All right.", "annotations": []}]
        return {
            "id": f"resp_{len(SEEN)}",
            "object": "response",
            "created_at": created,
            "model": body["model"],
            "status": "completed",
            "output": [
                {
                    "id": "m1",
                    "type": "message",
                    "role": "assistant",
                    "status": "completed",
                    "content": content,
                }
            ],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": 7,
                "output_tokens": 3,
                "total_tokens": 10,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }
    return {
        "id": f"msg_{len(SEEN)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": "All right."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given = answer(self.path, body)
        SEEN.append(
            {"time": datetime.now(UTC).isoformat(), "path": self.path, "request": body, "response": given}
        )
        raw = json.dumps(given).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        return


def chat(client: Any, account: str) -> None:
    first, second = TURNS[account]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": first},
    ]
    client.chat.completions.create(model="m", messages=messages, user=account)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages += [
        {"role": "assistant", "content": "All right."},
        {"role": "user", "content": [{"type": "text", "text": second}, image]},
    ]
    client.chat.completions.create(model="m", messages=messages, user=account)
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    client.chat.completions.create(model="m", messages=messages, user=account)


def responses(client: Any, account: str) -> None:
    first, second = TURNS[account]
    items: list[dict[str, Any]] = [{"role": "user", "content": first}]
    client.responses.create(model="m", instructions=SYSTEM, input=items, safety_identifier=account)
    items += [
        {"role": "assistant", "content": "All right."},
        {"role": "user", "content": [{"type": "input_text", "text": second}]},
    ]
    client.responses.create(model="m", instructions=SYSTEM, input=items, safety_identifier=account)
    items += [
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    client.responses.create(model="m", instructions=SYSTEM, input=items, safety_identifier=account)


def claude(client: Any, account: str) -> None:
    first, second = TURNS[account]
    more = {"model": "m", "max_tokens": 9, "system": SYSTEM, "metadata": {"user_id": account}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": first}]
    client.messages.create(messages=messages, **more)
    messages += [
        {"role": "assistant", "content": "All right."},
        {"role": "user", "content": [{"type": "text", "text": second}]},
    ]
    client.messages.create(messages=messages, **more)
    messages += [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain"}]},
    ]
    client.messages.create(messages=messages, **more)


def taken() -> list[dict[str, Any]]:
    found, SEEN[:] = list(SEEN), []
    return found


def batch(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"custom_id": f"r{at}", "method": "POST", "url": line["path"], "body": line["request"]}
        for at, line in enumerate(lines)
    ]


def observations(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Answer of Langfuse's API to a question for observations, by its SDK's own types."""
    from langfuse.api import ObservationV2

    made = [
        ObservationV2(
            id=f"o{at}",
            trace_id=f"t{at}",
            project_id="p",
            type="GENERATION",
            start_time=line["time"],
            end_time=line["time"],
            is_root_observation=True,
            level="DEFAULT",
            user_id=line["request"]["user"],
            input=line["request"]["messages"],
            output=line["response"]["choices"][0]["message"],
            model="m",
            usage_details={"input": 7, "output": 3},
        )
        for at, line in enumerate(lines)
    ]
    return {"data": [json.loads(one.json()) for one in made], "meta": {"cursor": None}}


def main(folder: Path) -> None:
    import anthropic
    import openai

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    ours = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    theirs = anthropic.Anthropic(base_url=url, api_key="none")
    found: dict[str, list[dict[str, Any]]] = {}
    for name, talk, client in (
        ("openai-chat", chat, ours),
        ("openai-responses", responses, ours),
        ("anthropic-messages", claude, theirs),
    ):
        for account in TURNS:
            talk(client, account)
        found[name] = taken()
    found["openai-batch"] = batch(found["openai-chat"])
    (folder / "langfuse.json").write_text(
        json.dumps(observations(found["openai-chat"])) + "\n", encoding="utf-8"
    )
    otlp(ours, folder / "otel-genai.jsonl")
    for name, lines in found.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    names = ("openai", "anthropic", "langfuse", "opentelemetry-instrumentation-genai-openai")
    (folder / "written-by.txt").write_text(
        "".join(f"{name} {version(name)}\n" for name in names), encoding="utf-8"
    )


def otlp(client: Any, path: Path) -> None:
    from opentelemetry.exporter.otlp.json.file import FileSpanExporter
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    path.unlink(missing_ok=True)
    for account in TURNS:
        provider = TracerProvider(resource=Resource({"service.name": "shop", "enduser.id": account}))
        provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(path)))
        instrumentor = OpenAIInstrumentor()
        instrumentor.instrument(tracer_provider=provider)
        chat(client, account)
        instrumentor.uninstrument()
        provider.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
