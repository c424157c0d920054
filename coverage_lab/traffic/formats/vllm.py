"""vLLM's log of requests: text lines, among them one a request with its templated prompt.

A line becomes a record of `time`, `request_id` and `prompt` in `coverage_lab.traffic.text_log`.
"""

from collections.abc import Iterator

from coverage_lab.traffic.chat import request_of
from coverage_lab.traffic.chat_templates import turns_of
from coverage_lab.traffic.formats.format import Format, Record, Row, has


def _recognises(record: Record) -> bool:
    return has(record, "vllm_request", "prompt")


def _rows(record: Record) -> Iterator[Row]:
    text = record.get("prompt")
    yield {
        "account_id": record.get("user"),
        "timestamp": record.get("time"),
        "prompt": request_of(turns_of(text)) or text if isinstance(text, str) else text,
        "request_id": record.get("vllm_request"),
    }


FORMAT = Format(
    name="vllm",
    title="vLLM's request log",
    documented="https://docs.vllm.ai/en/latest/configuration/serve_args.html",
    recognises=_recognises,
    rows=_rows,
)
