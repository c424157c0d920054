"""LiteLLM's SpendLogs table and its standard logging payload."""

from collections.abc import Iterator

from coverage_lab.traffic.formats.format import Format, Record, Row, asked, first, has

_OTHER_CALLS = ("embedding", "moderation", "image", "speech", "transcription", "rerank", "health")


def _recognises(record: Record) -> bool:
    spend = has(record, "api_key", "startTime", "messages")
    return spend or has(record, "call_type", "messages", "startTime") or has(record, "litellm_call_id")


def _rows(record: Record) -> Iterator[Row]:
    if any(word in str(record.get("call_type")) for word in _OTHER_CALLS):
        return
    # SpendLogs keeps `{}` in `messages` unless prompts are stored, newer versions the body beside it.
    prompt = asked(record.get("messages")) or asked(record.get("proxy_server_request"))
    yield {
        "account_id": first(record, "api_key", "metadata.user_api_key_hash", "user_api_key_hash", "user"),
        "timestamp": first(record, "startTime", "start_time"),
        "prompt": prompt if prompt is not None else record.get("messages"),
        "request_id": first(record, "request_id", "id", "litellm_call_id"),
        "session": first(record, "session_id", "metadata.session_id"),
        "end_user": first(record, "end_user", "metadata.user_api_key_end_user_id"),
        "tokens_in": record.get("prompt_tokens"),
        "tokens_out": record.get("completion_tokens"),
    }


FORMAT = Format(
    name="litellm",
    title="LiteLLM's spend logs",
    documented="https://docs.litellm.ai/docs/proxy/logging_spec",
    recognises=_recognises,
    rows=_rows,
)
