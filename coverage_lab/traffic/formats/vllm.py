"""vLLM's log of requests: text lines, among them one a request with its templated prompt.

A line becomes a record of `time`, `request_id` and `prompt` in `coverage_lab.traffic.text_log`.
"""

import re
from collections.abc import Iterator

from coverage_lab.traffic.chat import Request, request_of
from coverage_lab.traffic.formats.format import Format, Record, Row, has

#: How chat templates begin a turn: the role is the group; a turn ends where the next mark stands.
_TURN = re.compile(
    r"<\|im_start\|>(?P<a>\w+)\n?|<\|start_header_id\|>(?P<b>\w+)<\|end_header_id\|>\s*"
    r"|<start_of_turn>(?P<c>\w+)\n?|<\|(?P<d>system|user|assistant)\|>\n?|<\|turn>(?P<f>\w+)\n?"
    r"|(?P<e>\[INST\])|<\|start\|>(?P<g>\w+)(?:<\|channel\|>\w+)?<\|message\|>"
)
_END = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|\[/INST\]|</s>|<s>|<\|endoftext\|>|<turn\|>|<\|return\|>"
)
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>\s*", re.DOTALL)


def _recognises(record: Record) -> bool:
    return has(record, "vllm_request", "prompt")


def _rows(record: Record) -> Iterator[Row]:
    text = record.get("prompt")
    yield {
        "account_id": record.get("user"),
        "timestamp": record.get("time"),
        "prompt": templated(text) if isinstance(text, str) else text,
        "request_id": record.get("vllm_request"),
    }


def templated(text: str) -> Request | str:
    """Take the turns out of a prompt that a chat template made; text without a template as it is."""
    marks = list(_TURN.finditer(text))
    messages = []
    for at, mark in enumerate(marks):
        stop = marks[at + 1].start() if at + 1 < len(marks) else len(text)
        content = text[mark.end() : stop]
        end = _END.search(content)
        role = next((group for name, group in mark.groupdict().items() if group and name != "e"), "user")
        inner = content[: end.start()] if end else content
        if (system := _SYSTEM.search(inner)) is not None:
            messages.append({"role": "system", "content": system.group(1).strip()})
            inner = _SYSTEM.sub("", inner)
        messages.append({"role": {"model": "assistant"}.get(role, role), "content": inner.strip()})
    return request_of(messages) or text if messages else text


FORMAT = Format(
    name="vllm",
    title="vLLM's request log",
    documented="https://docs.vllm.ai/en/latest/configuration/serve_args.html",
    recognises=_recognises,
    rows=_rows,
)
