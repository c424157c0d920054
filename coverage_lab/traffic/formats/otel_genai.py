"""OTLP JSON of spans and log records that follow OpenTelemetry's GenAI conventions, now and before.

Now: the attribute `gen_ai.input.messages` on the span or on an event. Before: an event for each message
(`gen_ai.user.message`), `gen_ai.content.prompt`, or attributes `gen_ai.prompt.0.content` (OpenLLMetry).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from coverage_lab.traffic.chat import parsed, request_of
from coverage_lab.traffic.formats.format import Format, Record, Row, first

_NUMBERED = re.compile(r"(?:gen_ai|llm)\.prompts?\.(\d+)\.(role|content)$")
_EVENT = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message$")
_GROUPS = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))
_USERS = ("user.id", "enduser.id", "gen_ai.user.id", "gen_ai.request.user", "llm.user", "service.name")


def _recognises(record: Record) -> bool:
    if any(group[0] in record for group in _GROUPS):
        return True
    return "attributes" in record and any(str(name).startswith("gen_ai.") for name in _attributes(record))


def _rows(record: Record) -> Iterator[Row]:
    for outer, middle, inner in _GROUPS:
        for resource in _list(record.get(outer)):
            shared = _attributes(resource.get("resource"))
            for scope in _list(resource.get(middle)):
                for one in _list(scope.get(inner)):
                    yield from _request(one, shared)
    if not any(group[0] in record for group in _GROUPS):
        yield from _request(record, _attributes(record.get("resource")))


def _request(span: Record, shared: Mapping[str, Any]) -> Iterator[Row]:
    own = _attributes(span)
    events = [
        (str(event.get("name") or event.get("eventName")), _attributes(event), event)
        for event in _list(span.get("events"))
    ]
    for _, attributes, _ in events:
        own = {**attributes, **own}
    body = _value(span.get("body"))
    if isinstance(body, Mapping):
        own = {**body, **own}
    messages = _messages(own, events)
    if not messages:
        return
    everything = {**shared, **own}
    yield {
        "account_id": next((everything[name] for name in _USERS if everything.get(name)), None),
        "timestamp": first(
            span, "startTimeUnixNano", "timeUnixNano", "observedTimeUnixNano", "start_time", "timestamp"
        ),
        "prompt": request_of(messages, system=parsed(own.get("gen_ai.system_instructions"))),
        "request_id": first(span, "spanId", "span_id", "context.span_id"),
        "session": own.get("gen_ai.conversation.id") or own.get("session.id"),
        "tokens_in": own.get("gen_ai.usage.input_tokens", own.get("gen_ai.usage.prompt_tokens")),
        "tokens_out": own.get("gen_ai.usage.output_tokens", own.get("gen_ai.usage.completion_tokens")),
    }


def _messages(own: Mapping[str, Any], events: list[tuple[str, dict[str, Any], Record]]) -> list[object]:
    for name in ("gen_ai.input.messages", "gen_ai.prompt", "gen_ai.request.messages"):
        value = parsed(own.get(name))
        if isinstance(value, list):
            return value
        if isinstance(value, str) and value:
            return [{"role": "user", "content": value}]
    numbered: dict[int, dict[str, Any]] = {}
    for name, value in own.items():
        if (found := _NUMBERED.match(str(name))) is not None:
            numbered.setdefault(int(found.group(1)), {})[found.group(2)] = parsed(value)
    if numbered:
        return [{"role": "user", **numbered[at]} for at in sorted(numbered)]
    found_messages: list[object] = []
    for name, attributes, event in events:
        if (kind := _EVENT.match(name)) is not None:
            content = attributes.get("content", _value(event.get("body")))
            inner = parsed(attributes.get("gen_ai.event.content", content))
            text = inner.get("content") if isinstance(inner, Mapping) else inner
            found_messages.append({"role": kind.group(1), "content": text})
    return found_messages


def _attributes(holder: object) -> dict[str, Any]:
    """Attributes as a mapping: OTLP's list of keys and values, or an object, nested or not."""
    inner = holder.get("attributes") if isinstance(holder, Mapping) else None
    inner = parsed(inner)
    if isinstance(inner, Mapping):
        return {str(name): value for name, value in inner.items()}
    return {str(pair.get("key")): _value(pair.get("value")) for pair in _list(inner)}


def _value(value: object) -> Any:
    """Plain value of an OTLP AnyValue; other values as they are."""
    if not isinstance(value, Mapping):
        return value
    if "arrayValue" in value:
        return [_value(one) for one in _list(value["arrayValue"].get("values"))]
    if "kvlistValue" in value:
        pairs = _list(value["kvlistValue"].get("values"))
        return {str(pair.get("key")): _value(pair.get("value")) for pair in pairs}
    for name in ("stringValue", "intValue", "doubleValue", "boolValue"):
        if name in value:
            whole = (
                name == "intValue" and isinstance(value[name], str) and value[name].lstrip("-").isdecimal()
            )
            return int(value[name]) if whole else value[name]
    return value


def _list(value: object) -> list[Any]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


FORMAT = Format(
    name="otel-genai",
    title="OpenTelemetry GenAI spans (OTLP JSON)",
    documented="https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/",
    recognises=_recognises,
    rows=_rows,
)
