"""Langfuse's observations and traces, from exports (snake_case) and from its API (camelCase)."""

from collections.abc import Iterator, Mapping

from coverage_lab.traffic.formats.format import Format, Record, Row, asked, first, has

_TIMES = ("start_time", "startTime", "timestamp")


def _recognises(record: Record) -> bool:
    observation = "type" in record and (has(record, "trace_id", "input") or has(record, "traceId", "input"))
    trace = has(record, "id", "timestamp", "input") and ("userId" in record or "user_id" in record)
    return observation or trace


def _rows(record: Record) -> Iterator[Row]:
    inner = record.get("observations")
    if isinstance(inner, list) and any(isinstance(one, Mapping) for one in inner):
        for one in inner:
            if isinstance(one, Mapping):
                yield from _rows({"user_id": first(record, "user_id", "userId"), **one})
        return
    if "type" in record and str(record["type"]).upper() != "GENERATION":
        return
    prompt = asked(record.get("input"))
    yield {
        "account_id": first(record, "user_id", "userId", "trace.userId", "trace.user_id"),
        "timestamp": first(record, *_TIMES),
        "prompt": prompt if prompt is not None else record.get("input"),
        "request_id": record.get("id"),
        "session": first(record, "session_id", "sessionId", "trace.sessionId"),
        "tokens_in": first(
            record, "usage_details.input", "usageDetails.input", "usage.input", "promptTokens"
        ),
        "tokens_out": first(
            record, "usage_details.output", "usageDetails.output", "usage.output", "completionTokens"
        ),
    }


FORMAT = Format(
    name="langfuse",
    title="Langfuse observations or traces",
    documented="https://api.reference.langfuse.com",
    recognises=_recognises,
    rows=_rows,
)
