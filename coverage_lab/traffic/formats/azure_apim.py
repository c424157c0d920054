"""Azure API Management's log of language-model requests, as exported (`properties`) or from Log Analytics."""

from collections.abc import Iterator, Mapping

from coverage_lab.traffic.formats.format import Format, Record, Row, asked, first

_MESSAGES = ("RequestMessages", "properties.requestMessages", "properties.RequestMessages", "requestMessages")


def _recognises(record: Record) -> bool:
    if first(record, "category", "Type") in ("GatewayLlmLogs", "ApiManagementGatewayLlmLog"):
        return True
    if "RequestMessages" in record:
        return True
    inner = record.get("properties")
    return isinstance(inner, Mapping) and "requestMessages" in inner


def _rows(record: Record) -> Iterator[Row]:
    messages = first(record, *_MESSAGES)
    if messages is None and first(record, "properties.responseMessages", "ResponseMessages") is not None:
        return  # one of the records that hold the answer
    yield {
        "account_id": first(
            record,
            "ApimSubscriptionId",
            "properties.apimSubscriptionId",
            "properties.subscriptionId",
            "ProductId",
            "UserId",
        ),
        "timestamp": first(record, "TimeGenerated", "time", "timestamp"),
        "prompt": asked(messages),
        "request_id": first(record, "CorrelationId", "correlationId", "properties.correlationId"),
        "tokens_in": first(record, "PromptTokens", "properties.promptTokens"),
        "tokens_out": first(record, "CompletionTokens", "properties.completionTokens"),
    }


FORMAT = Format(
    name="azure-apim",
    title="Azure API Management's LLM log",
    documented="https://learn.microsoft.com/azure/azure-monitor/reference/tables/apimanagementgatewayllmlog",
    recognises=_recognises,
    rows=_rows,
)
