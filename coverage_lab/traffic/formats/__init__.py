"""Shapes of logged requests: one module each, data and a small function; `FORMATS` lists them by name.

To add one, copy the module that is most like it, list it below, name it in
`coverage_lab.config.TrafficFormat`, and give the table of `docs/reference` an example.
"""

from typing import Final

from coverage_lab.traffic.formats import (
    anthropic_batch,
    anthropic_messages,
    azure_apim,
    helicone,
    kong,
    langfuse,
    litellm,
    lmsys,
    openai_batch,
    openai_chat,
    openai_responses,
    otel_genai,
    phoenix,
    vllm,
    wildchat,
)
from coverage_lab.traffic.formats.format import Format, Row

#: By name, the more particular shapes first: a body of messages can be part of most of them.
FORMATS: Final[dict[str, Format]] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        openai_batch,
        anthropic_batch,
        litellm,
        langfuse,
        helicone,
        otel_genai,
        vllm,
        wildchat,
        lmsys,
        phoenix,
        kong,
        azure_apim,
        anthropic_messages,
        openai_responses,
        openai_chat,
    )
}

__all__ = ["FORMATS", "Format", "Row"]
