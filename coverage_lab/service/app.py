"""The HTTP layer: who may ask, how much, and errors in one form. What is answered is `Scoring`'s."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import coverage_lab
from coverage_lab.service.answer import Health, ScoreResponse
from coverage_lab.service.docs import docs_page
from coverage_lab.service.key import KeyCheck
from coverage_lab.service.limits import Limits
from coverage_lab.service.refusal import ErrorAnswer, RefusalError
from coverage_lab.service.request import ScoreRequest
from coverage_lab.service.scoring import Scoring
from coverage_lab.service.waiting import WaitingRoom

_log = logging.getLogger(__name__)

_DESCRIPTION: Final = (
    "Is this account using the model, or harvesting it? Send an account's prompts, get the score, verdict "
    "and reasons that `coverage-lab run` gives for the same prompts. The answers recommend; people decide. "
    "Nothing of a request is kept, and no text of it is logged."
)

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'",
    ),
)

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        400: "`invalid_json`: the body is not JSON in UTF-8.",
        408: "`slow_body`: the body took too long to arrive.",
        413: "`body_too_large`, `too_many_accounts` or `too_many_prompts`: split the request by account.",
        415: "`unsupported_media_type`: the body is not declared as plain `application/json`.",
        422: "`invalid_request`: the JSON has another structure; the message names the field.",
        500: "`internal`: a fault of the service; its log says where.",
        503: "`busy`: too many requests are waiting; try again after `Retry-After` seconds.",
    }.items()
}
_UNAUTHORIZED: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": ErrorAnswer, "description": "`unauthorized`: the API key is missing or wrong."}
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ScoreRequest"}}},
    }
}


def create_app(scoring: Scoring, *, api_key: str | None) -> FastAPI:
    """Make the ASGI application.

    Parameters
    ----------
    scoring : Scoring
        What answers; its limits are enforced here.
    api_key : str or None
        Needed for `/v1/score` where given; `/healthz`, `/docs` and `/openapi.json` are open. Only its
        digest is kept.

    Returns
    -------
    FastAPI
        For one process and one event loop; requests are worked on one at a time.
    """
    app = _Service(locked=api_key is not None)
    room = WaitingRoom(scoring.limits.max_waiting)
    health = scoring.health()

    async def score(request: Request) -> Response:
        """Score accounts by their prompts, all that each is to be judged by."""
        _check_declared(request, scoring.limits)
        with room.place():
            body = await _read(request, scoring.limits)
            answer = await room.work(lambda: _answer(scoring, body))
        return Response(answer, media_type="application/json")

    async def healthz() -> Health:
        """Say that the service is up and what it judges with."""
        return health

    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    app.add_api_route(
        "/v1/score",
        score,
        methods=["POST"],
        response_model=ScoreResponse,
        response_description="Scores, and the prompts that could not be used.",
        responses=_REFUSALS if api_key is None else _UNAUTHORIZED | _REFUSALS,
        dependencies=[] if api_key is None else [Depends(KeyCheck(api_key))],
        openapi_extra=_BODY,
    )
    app.add_api_route(
        "/healthz", healthz, methods=["GET"], response_model=Health, response_description="It is up."
    )
    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
    return app


class _Service(FastAPI):
    """FastAPI with our errors, headers and an OpenAPI schema that has the body that is read by hand."""

    def __init__(self, *, locked: bool) -> None:
        super().__init__(
            title="coverage-lab",
            version=coverage_lab.__version__,
            description=_DESCRIPTION,
            docs_url=None,  # Swagger's page loads scripts from a CDN; ours is whole without any
            redoc_url=None,
            exception_handlers={
                RefusalError: _refused,
                HTTPException: _refused_by_router,
                Exception: _failed,
            },
        )
        self._locked = locked
        self.add_middleware(_SecurityHeaders)

    def openapi(self) -> dict[str, Any]:
        """Describe the service as OpenAPI 3.1."""
        if self.openapi_schema is None:
            schema = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            components = schema.setdefault("components", {})
            asked = ScoreRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            models = components.setdefault("schemas", {})
            models.update(asked.pop("$defs"))
            models["ScoreRequest"] = asked
            if self._locked:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                schema["paths"]["/v1/score"]["post"]["security"] = [{"key": []}]
            self.openapi_schema = schema
        return self.openapi_schema


class _SecurityHeaders:
    """ASGI middleware: the same headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _check_declared(request: Request, limits: Limits) -> None:
    """Refuse by the headers what would be refused after reading."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if kind != "application/json" or encoding != "identity":
        raise RefusalError(
            415, "unsupported_media_type", "expected 'Content-Type: application/json' and no Content-Encoding"
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and declared.isascii() and int(declared[:20]) > limits.max_body_bytes:
        raise _too_large(limits)


async def _read(request: Request, limits: Limits) -> bytes:
    """Read the body, and count while it comes: a declared length may be wrong or missing."""
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.max_body_bytes:
                    raise _too_large(limits)
                body += chunk
    except TimeoutError:
        raise RefusalError(
            408, "slow_body", f"the body did not arrive within {limits.body_seconds:g} s"
        ) from None
    except ClientDisconnect:
        raise RefusalError(400, "disconnected", "the client went away before its body was read") from None
    return bytes(body)


def _too_large(limits: Limits) -> RefusalError:
    return RefusalError(
        413,
        "body_too_large",
        f"expected a body of at most {limits.max_body_bytes} bytes; split it by account",
    )


def _answer(scoring: Scoring, body: bytes) -> bytes:
    try:
        return scoring.answer(body)
    except RefusalError:
        raise
    except Exception as error:
        # Neither its message nor a traceback, which may hold prompt text: only where it happened.
        _log.error("POST /v1/score failed: %s at %s", type(error).__name__, _where(error))
        raise _internal() from None


def _where(error: Exception) -> str:
    """Module and line of each frame, outermost first."""
    places = []
    frame = error.__traceback__
    while frame is not None:
        places.append(f"{frame.tb_frame.f_globals.get('__name__', '?')}:{frame.tb_lineno}")
        frame = frame.tb_next
    return " > ".join(places)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return _refusal(error)


async def _refused_by_router(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return _refusal(
        RefusalError(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))
    )


async def _failed(request: Request, error: Exception) -> Response:
    return _refusal(_internal())


def _internal() -> RefusalError:
    return RefusalError(500, "internal", "the service failed on this request; its log says where")


def _refusal(error: RefusalError) -> Response:
    return Response(error.body(), error.status, headers=error.headers, media_type="application/json")
