"""The HTTP layer: who may ask, how much, and errors in one form. What is answered is `Scoring`'s."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive

import coverage_lab
from coverage_lab.config import ServiceConfig
from coverage_lab.service.answer import (
    CampaignResponse,
    CampaignsResponse,
    FlagsResponse,
    Health,
    LookupResponse,
    Readiness,
    ScoreResponse,
    StandingResponse,
)
from coverage_lab.service.docs import docs_page
from coverage_lab.service.gate import Gate, Note, note_of
from coverage_lab.service.keys import Key, KeyRing, Throttle
from coverage_lab.service.logs import AuditLog, event
from coverage_lab.service.metrics import CONTENT_TYPE, Metrics
from coverage_lab.service.refusal import ErrorAnswer, RefusalError
from coverage_lab.service.request import (
    AskedAccount,
    LookupRequest,
    ScoreRequest,
    parse_lookup,
    parse_request,
)
from coverage_lab.service.scoring import Scoring
from coverage_lab.service.standings import CURSOR, MOST_FLAGS, USUAL_FLAGS, Standings, Told
from coverage_lab.service.unpack import CODINGS, pieces
from coverage_lab.service.work import Work, WorkQueue, busy, stopping

_log = logging.getLogger(__name__)

_DESCRIPTION: Final = (
    "Is this account using the model, or harvesting it? Send an account's prompts, get the score, verdict "
    "and reasons that `coverage-lab run` gives for the same prompts. The answers recommend; people decide. "
    "Nothing of a request is kept, and no text of it is logged."
)

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        400: "`invalid_json`: the body is not JSON in UTF-8. `invalid_encoding`: it is not what its "
        "`Content-Encoding` says.",
        408: "`slow_body`: the body took too long to arrive.",
        413: "`body_too_large`, `too_many_accounts`, `too_many_prompts` or `too_many_values`: split the "
        "request by account.",
        415: "`unsupported_media_type`: the body is not declared as `application/json`, plain or with the "
        "`Content-Encoding` gzip or zstd.",
        421: "`misdirected`: the service is not known by this `Host`.",
        422: "`invalid_request`: the JSON has another structure; the message names the field.",
        500: "`internal`: a fault of the service; its log says where.",
        503: "`busy`, `too_late`, `no_audit` or `stopping`: try again after `Retry-After` seconds.",
    }.items()
}
_LOCKED: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        401: "`unauthorized`: the API key is missing or wrong.",
        403: "`forbidden`: the key is right, but not for this.",
        429: "`quota` or `wrong_keys`: try again after `Retry-After` seconds.",
    }.items()
}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {
        "model": ErrorAnswer,
        "description": "`unknown_account` or `unknown_campaign`: the last run has none of this name.",
    }
}


def _body_of(model: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _parameter(name: str, place: str, said: str, **schema: object) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": said,
        "schema": {"type": "string", **schema},
    }


_ACCOUNT_ID: Final = {"parameters": [_parameter("account_id", "path", "The account.", minLength=1)]}
_CAMPAIGN_NAME: Final = {"parameters": [_parameter("campaign", "path", "Its name.", minLength=1)]}
_PAGE: Final = {
    "parameters": [
        _parameter("since", "query", "The cursor of an earlier answer; all flags without.", pattern=CURSOR),
        _parameter(
            "limit",
            "query",
            "Flags at most.",
            type="integer",
            minimum=1,
            maximum=MOST_FLAGS,
            default=USUAL_FLAGS,
        ),
    ]
}
#: Bodies that are decoded where they are; larger ones in another thread, so that others are heard meanwhile.
_SMALL_BODY: Final = 64 * 1024
#: A body that is sent as it is.
_PLAIN: Final = "identity"
#: How long the answer to a wrong key is held back once an address has sent many.
_HELD_BACK_SECONDS: Final = 1.0
_AUDIT_AGAIN_SECONDS: Final = 30.0
#: Readers of the last run's tables at once: one fewer would wait for the disk, more would hold many answers.
_READERS: Final = 2


def create_app(
    scoring: Scoring,
    *,
    keys: KeyRing | None = None,
    queue: WorkQueue | None = None,
    metrics: Metrics | None = None,
    hosts: Iterable[str] = (),
    audit: AuditLog | None = None,
    standings: Standings | None = None,
) -> FastAPI:
    """Make the ASGI application.

    Parameters
    ----------
    scoring : Scoring
        What answers; its limits are enforced here.
    keys : KeyRing, optional
        Who may ask for scores and metrics; anybody where it has none. `/healthz`, `/readyz`, `/docs` and
        `/openapi.json` are open.
    queue : WorkQueue, optional
        Where requests wait; one of its own when not given.
    metrics : Metrics, optional
        What is counted; its own when not given.
    hosts : iterable of str
        Names that callers may use, besides those of the limits.
    audit : AuditLog, optional
        Where it is written down who asked about whom.
    standings : Standings, optional
        What the last run said; without it, there are no routes that tell of it.

    Returns
    -------
    FastAPI
        For one process and one event loop.
    """
    limits = scoring.limits
    keys = keys or KeyRing()
    metrics = metrics or Metrics(scoring.health())
    queue = queue or WorkQueue(scoring, limits, lanes=scoring.lanes, on_batch=metrics.batch)
    app = _Service(locked=bool(keys), readings=standings is not None)
    app.add_middleware(Gate, hosts=(*limits.hosts, *hosts), metrics=metrics)
    desk = _Desk(scoring, queue, metrics, Doorkeeper(keys, metrics), audit)
    health = scoring.health().model_dump_json().encode()
    ready = Readiness(status="ready").model_dump_json().encode()

    async def score(request: Request) -> Response:
        """Score accounts by their prompts, all that each is to be judged by."""
        return _json(await desk.answer(request))

    async def healthz() -> Response:
        """Say that the service is up and what it judges with."""
        return Response(health, media_type="application/json")

    async def readyz() -> Response:
        """Say whether requests should be sent here: models are loaded and warm, and nothing is stopping."""
        if not queue.ready:
            raise busy(503, "stopping" if queue.stopping else "warming_up", "not ready", 1)
        return Response(ready, media_type="application/json")

    async def metrics_page(request: Request) -> Response:
        await desk.doorkeeper.check(request, "metrics")
        requests, prompts = queue.waiting
        metrics.waiting_requests.set(requests)
        metrics.waiting_prompts.set(prompts)
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @functools.cache
    def page() -> bytes:
        return docs_page(app.openapi()).encode()

    async def docs() -> Response:
        return Response(page(), media_type="text/html")

    @functools.cache
    def description() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    async def openapi() -> Response:
        return Response(description(), media_type="application/json")

    locked: dict[int | str, dict[str, Any]] = _LOCKED if keys else {}
    misdirected: dict[int | str, dict[str, Any]] = {421: _REFUSALS[421]}
    app.add_api_route(
        "/v1/score",
        score,
        methods=["POST"],
        response_model=ScoreResponse,
        response_description="Scores, and the prompts that could not be used.",
        responses=locked | _REFUSALS,
        openapi_extra=_body_of("ScoreRequest"),
    )
    app.add_api_route(
        "/healthz",
        healthz,
        methods=["GET"],
        response_model=Health,
        response_description="It is up.",
        responses=misdirected,
    )
    app.add_api_route(
        "/readyz",
        readyz,
        methods=["GET"],
        response_model=Readiness,
        response_description="It is ready.",
        responses=misdirected
        | {
            503: {"model": ErrorAnswer, "description": "`warming_up` or `stopping`: send requests elsewhere."}
        },
    )
    app.add_api_route("/metrics", metrics_page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/docs", docs, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/openapi.json", openapi, methods=["GET", "HEAD"], include_in_schema=False)
    for path, endpoint in (("/healthz", healthz), ("/readyz", readyz)):
        app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    if standings is not None:
        _add_readings(app, desk, standings, locked)
    app.state.desk = desk
    return app


def _add_readings(
    app: FastAPI, desk: _Desk, standings: Standings, locked: dict[int | str, dict[str, Any]]
) -> None:
    """Add the routes that tell what the last run said."""

    async def account(request: Request) -> Response:
        """Tell what the last run says of an account."""
        name = request.path_params["account_id"]
        return _json(await desk.told(request, [name], lambda: standings.tables().account(name)))

    async def lookup(request: Request) -> Response:
        """Tell what the last run says of many accounts, in short."""
        return _json(await desk.looked_up(request, standings))

    async def flags(request: Request) -> Response:
        """Tell the last run's flags, page by page: ask with `since` until `left` is 0, and later for more.

        `limit` is how many at most, 1 to 1,000; 100 where it is not given.
        """
        return _json(await desk.told(request, [], lambda: _page_of_flags(request, standings)))

    async def campaigns(request: Request) -> Response:
        """Tell of the last run's campaigns, without their members."""
        return _json(await desk.told(request, [], lambda: standings.tables().campaigns()))

    async def campaign(request: Request) -> Response:
        """Tell of a campaign of the last run, with its members."""
        name = request.path_params["campaign"]
        return _json(await desk.told(request, [], lambda: standings.tables().campaign(name)))

    reading = locked | {status: _REFUSALS[status] for status in (421, 500, 503)}
    unknown = reading | _UNKNOWN
    asked = reading | {status: _REFUSALS[status] for status in (400, 408, 413, 415, 422)}
    for path, endpoint, method, model, refusals, extra in (
        (
            "/v1/accounts/{account_id:anything}",
            account,
            "GET",
            StandingResponse,
            unknown,
            _ACCOUNT_ID,
        ),
        ("/v1/accounts:lookup", lookup, "POST", LookupResponse, asked, _body_of("LookupRequest")),
        ("/v1/flags", flags, "GET", FlagsResponse, reading | {422: _REFUSALS[422]}, _PAGE),
        ("/v1/campaigns", campaigns, "GET", CampaignsResponse, reading, {}),
        (
            "/v1/campaigns/{campaign:anything}",
            campaign,
            "GET",
            CampaignResponse,
            unknown,
            _CAMPAIGN_NAME,
        ),
    ):
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_model=model,
            response_description="What the run said.",
            responses=refusals,
            openapi_extra=extra,
        )


def _page_of_flags(request: Request, standings: Standings) -> Told:
    limit = request.query_params.get("limit", str(USUAL_FLAGS))
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 1 <= int(limit) <= MOST_FLAGS):
        raise RefusalError(422, "invalid_request", f"limit: expected a whole number from 1 to {MOST_FLAGS}")
    return standings.tables().flags(request.query_params.get("since"), int(limit))


class _Anything(PathConvertor):
    """The rest of a path, whatever is in it: an account's id may have slashes and line breaks."""

    regex = r"[\s\S]*"


register_url_convertor("anything", _Anything())


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


class Doorkeeper:
    """Lets requests with the right key pass, and slows down those with wrong ones."""

    def __init__(self, keys: KeyRing, metrics: Metrics) -> None:
        self._keys = keys
        self._metrics = metrics
        self._throttle = Throttle()

    @property
    def lets_anybody_in(self) -> bool:
        """Whether no key is asked for."""
        return not self._keys

    async def check(self, request: Request, scope: str) -> Key:
        """Return whose key a request has.

        Raises
        ------
        RefusalError
            401: no key or a wrong one. 403: not for this. 429: one of many wrong keys from this address. A
            right key is let in whatever its address sent before.
        """
        if self.lets_anybody_in:
            return Key("", frozenset({scope}))
        note = note_of(request.scope)
        given = request.headers.get("authorization", "")
        key = self._keys.find(given)
        if key is not None:
            note.key = key.name
            if scope not in key.scopes:
                raise RefusalError(403, "forbidden", f"this key has no scope '{scope}'")
            return key
        if given:
            self._metrics.wrong_keys.inc()
            wait = self._throttle.wrong(note.address)
            if wait:
                await asyncio.sleep(_HELD_BACK_SECONDS)
                raise busy(429, "wrong_keys", "too many wrong keys from this address", wait)
        raise RefusalError(
            401,
            "unauthorized",
            "expected the header 'Authorization: Bearer KEY' with a key of this service",
            headers={"WWW-Authenticate": "Bearer"},
        )


class _Desk:
    """From a request to its answer: key, body, accounts, queue."""

    def __init__(
        self,
        scoring: Scoring,
        queue: WorkQueue,
        metrics: Metrics,
        doorkeeper: Doorkeeper,
        audit: AuditLog | None,
    ) -> None:
        self._scoring = scoring
        self._limits = scoring.limits
        self.queue = queue
        self._metrics = metrics
        self.doorkeeper = doorkeeper
        self._audit = audit
        self._held = 0
        self._readers = asyncio.Semaphore(_READERS)
        self._reading: set[asyncio.Timeout] = set()

    def stop(self) -> None:
        """Refuse what is queued, and bodies that have not arrived."""
        self.queue.stop()
        now = asyncio.get_running_loop().time()
        for timer in self._reading:
            # One that is just firing can't be moved; it refuses its body by itself.
            with contextlib.suppress(RuntimeError):
                timer.reschedule(now)

    async def answer(self, request: Request) -> bytes:
        """Answer a request.

        Raises
        ------
        RefusalError
            It is not answered.
        """
        accounts: list[str] = []
        return await self._audited_answer(
            request, accounts, lambda note: self._answered(request, note, accounts)
        )

    async def told(self, request: Request, accounts: list[str], look: Callable[[], Told]) -> bytes:
        """Answer with what `look` finds, in another thread; `accounts` are asked about.

        Raises
        ------
        RefusalError
            It is not answered.
        """

        async def answered(note: Note) -> bytes:
            await self._let_read(request)
            return await self._found(look, note, accounts)

        return await self._audited_answer(request, accounts, answered)

    async def looked_up(self, request: Request, standings: Standings) -> bytes:
        """Answer with the standing of the accounts that the body names.

        Raises
        ------
        RefusalError
            It is not answered.
        """
        accounts: list[str] = []

        async def answered(note: Note) -> bytes:
            await self._let_read(request)
            async with self._body(request, note) as body:
                accounts[:] = parse_lookup(bytes(body.content))
                return await self._found(lambda: standings.tables().lookup(accounts), note, accounts)

        return await self._audited_answer(request, accounts, answered)

    async def _let_read(self, request: Request) -> None:
        await self.doorkeeper.check(request, "read")
        if self.queue.stopping:
            raise stopping()

    async def _found(self, look: Callable[[], Told], note: Note, accounts: list[str]) -> bytes:
        try:
            async with asyncio.timeout(self._limits.answer_seconds), self._readers:
                told = await asyncio.to_thread(look)
        except TimeoutError:
            raise busy(503, "busy", "too many readers of the last run are waiting", 1) from None
        accounts[:] = told.accounts
        note.fields["accounts"] = len(accounts)
        return told.body

    async def _audited_answer(
        self, request: Request, accounts: list[str], answered: Callable[[Note], Awaitable[bytes]]
    ) -> bytes:
        note = note_of(request.scope)
        try:
            answer = await answered(note)
        except BaseException as error:
            self._audited(note, accounts, _status_of(error))
            raise
        if not self._audited(note, accounts, 200):
            # A score that nobody can find out about later is not given.
            raise busy(503, "no_audit", "the audit log can't be written", _AUDIT_AGAIN_SECONDS)
        return answer

    def _audited(self, note: Note, accounts: list[str], status: int) -> bool:
        """Write down who asked; False where that failed. Callers without a right key asked about nobody."""
        if self._audit is None or not (note.key or self.doorkeeper.lets_anybody_in):
            return True
        try:
            self._audit.asked(
                request_id=note.request_id,
                key=note.key,
                address=note.address,
                accounts=accounts,
                status=status,
            )
        except OSError as error:
            event(
                _log,
                logging.ERROR,
                f"the audit log can't be written ({error.strerror})",
                request_id=note.request_id,
            )
            return False
        return True

    async def _answered(self, request: Request, note: Note, names: list[str]) -> bytes:
        """Answer, and add the accounts that are asked about to `names` once they are known."""
        key = await self.doorkeeper.check(request, "score")
        if self.queue.stopping:
            raise stopping()
        async with self._body(request, note) as body:
            started = time.perf_counter()
            accounts = await self._decoded(bytes(body.content))
            body.content.clear()
            names += [account.account_id for account in accounts]
            note.fields |= {"accounts": len(accounts), "prompts": sum(len(one.rows) for one in accounts)}
            self._stage(note, "decode", started)
            return await self._worked_on(request, accounts, key.name, note)

    @contextlib.asynccontextmanager
    async def _body(self, request: Request, note: Note) -> AsyncIterator[_Body]:
        """Read a body, unpacked; it counts as held until the block ends."""
        declared, coding = _declared(request, self._limits)
        body = _Body(self, declared)
        try:
            started = time.perf_counter()
            await self._read(request, body)
            note.fields["bytes"] = len(body.content)
            if coding != _PLAIN:
                await self._unpack(body, coding)
            self._stage(note, "read", started)
            yield body
        finally:
            body.release()

    async def _unpack(self, body: _Body, coding: str) -> None:
        """Put what a compressed body holds in its place; counted while it grows, as bytes that arrive are."""
        unpacked = pieces(body.taken(), coding)
        piece = next(unpacked, b"")
        while piece:
            if len(body.content) + len(piece) > self._limits.max_body_bytes:
                raise _too_large(self._limits)
            body.add(piece)
            # A first piece costs less than going to another thread.
            piece = await asyncio.to_thread(next, unpacked, b"")

    async def _decoded(self, body: bytes) -> list[AskedAccount]:
        if len(body) <= _SMALL_BODY:
            return parse_request(body, self._limits)
        return await asyncio.to_thread(parse_request, body, self._limits)

    async def _worked_on(
        self, request: Request, accounts: list[AskedAccount], owner: str, note: Note
    ) -> bytes:
        work = self.queue.submit(accounts, owner)
        gone = asyncio.create_task(_gone(request.receive))
        try:
            either: list[asyncio.Future[Any]] = [work.answered, gone]
            await asyncio.wait(
                either,
                timeout=self._limits.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            gone.cancel()
            if not work.answered.done():
                self.queue.cancel(work)
        if work.answered.done():
            self._stages_of(work, note)
            return work.answered.result()
        if gone.done() and not gone.cancelled():
            self._metrics.gone.inc()
            raise _gone_refusal()
        _, ahead = self.queue.waiting
        raise busy(
            503,
            "too_late",
            f"no answer within {self._limits.answer_seconds:g} s",
            self.queue.seconds_for(ahead),
        )

    def _stages_of(self, work: Work, note: Note) -> None:
        now = time.monotonic()
        begun = work.started or now
        for stage, seconds in (("queue", begun - work.arrived), ("judge", now - begun)):
            note.fields[f"{stage}_ms"] = round(1e3 * seconds, 1)
            self._metrics.seconds.labels(stage).observe(seconds)

    def _stage(self, note: Note, stage: str, started: float) -> float:
        now = time.perf_counter()
        note.fields[f"{stage}_ms"] = round(1e3 * (now - started), 1)
        self._metrics.seconds.labels(stage).observe(now - started)
        return now

    async def _read(self, request: Request, body: _Body) -> None:
        """Read the body, and count while it comes: a declared length may be wrong or missing."""
        try:
            async with asyncio.timeout(self._limits.body_seconds) as timer:
                self._reading.add(timer)
                try:
                    async for chunk in request.stream():
                        if len(body.content) + len(chunk) > self._limits.max_body_bytes:
                            raise _too_large(self._limits)
                        body.add(chunk)
                finally:
                    self._reading.discard(timer)
        except TimeoutError:
            if self.queue.stopping:
                raise stopping() from None
            raise RefusalError(
                408, "slow_body", f"the body did not arrive within {self._limits.body_seconds:g} s"
            ) from None
        except ClientDisconnect:
            self._metrics.gone.inc()
            raise _gone_refusal() from None

    def hold(self, more: int) -> None:
        """Count bytes in memory.

        Raises
        ------
        RefusalError
            503: there are too many.
        """
        if more > 0 and self._held and self._held + more > self._limits.max_held_bytes:
            _, prompts = self.queue.waiting
            raise busy(503, "busy", "too many bytes are waiting", self.queue.seconds_for(prompts))
        self._held += more
        self._metrics.held_bytes.set(self._held)


class _Body:
    """A body while it is held: its declared length is counted before it has come."""

    def __init__(self, desk: _Desk, declared: int) -> None:
        self._desk = desk
        self._counted = self._taken = 0
        self.content = bytearray()
        self._count(declared)

    def _count(self, size: int) -> None:
        if size > self._counted:
            self._desk.hold(size - self._counted)
            self._counted = size

    def add(self, chunk: bytes) -> None:
        self._count(self._taken + len(self.content) + len(chunk))
        self.content += chunk

    def taken(self) -> bytes:
        """What has come, still counted; from now on `content` is what is made of it."""
        packed = bytes(self.content)
        self._taken = len(packed)
        self.content.clear()
        return packed

    def release(self) -> None:
        self._desk.hold(-self._counted)
        self._counted = 0


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _status_of(error: BaseException) -> int:
    """What a request is answered that ended so; 0 for one that is given up without an answer."""
    if isinstance(error, RefusalError):
        return error.status
    return 500 if isinstance(error, Exception) else 0


def _gone_refusal() -> RefusalError:
    return RefusalError(400, "disconnected", "the client went away before it was answered")


def _declared(request: Request, limits: ServiceConfig) -> tuple[int, str]:
    """Refuse by the headers what would be refused after reading.

    Returns the length that they declare (0 for none) and the body's coding.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", _PLAIN).strip().lower()
    if kind != "application/json" or coding not in (_PLAIN, *CODINGS):
        raise RefusalError(
            415,
            "unsupported_media_type",
            "expected 'Content-Type: application/json', and no Content-Encoding but gzip or zstd",
        )
    declared = request.headers.get("content-length", "")
    length = int(declared[:20]) if declared.isdecimal() and declared.isascii() else 0
    if length > limits.max_body_bytes:
        raise _too_large(limits)
    return length, coding


def _too_large(limits: ServiceConfig) -> RefusalError:
    return RefusalError(
        413,
        "body_too_large",
        f"expected a body of at most {limits.max_body_bytes} bytes; split it by account",
    )


class _Service(FastAPI):
    """FastAPI with our errors and an OpenAPI schema that has the body that is read by hand."""

    def __init__(self, *, locked: bool, readings: bool) -> None:
        super().__init__(
            title="coverage-lab",
            version=coverage_lab.__version__,
            description=_DESCRIPTION,
            openapi_url=None,  # FastAPI's own route writes it anew for each request
            docs_url=None,  # Swagger's page loads scripts from a CDN; ours is whole without any
            redoc_url=None,
            redirect_slashes=False,  # a redirect would repeat the request's Host
            exception_handlers={RefusalError: _refused, HTTPException: _refused_by_router},
        )
        self._locked = locked
        self._bodies: tuple[type[BaseModel], ...] = (
            (ScoreRequest, LookupRequest) if readings else (ScoreRequest,)
        )

    def openapi(self) -> dict[str, Any]:
        """Describe the service as OpenAPI 3.1."""
        if self.openapi_schema is None:
            schema = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            components = schema.setdefault("components", {})
            models = components.setdefault("schemas", {})
            for body in self._bodies:
                asked = body.model_json_schema(ref_template="#/components/schemas/{model}")
                models.update(asked.pop("$defs", {}))
                models[body.__name__] = asked
            if self._locked:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                for path, methods in schema["paths"].items():
                    for operation in methods.values() if path.startswith("/v1/") else ():
                        operation["security"] = [{"key": []}]
            self.openapi_schema = schema
        return self.openapi_schema


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return _refusal(request, error)


async def _refused_by_router(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return _refusal(
        request, RefusalError(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))
    )


def _refusal(request: Request, error: RefusalError) -> Response:
    note_of(request.scope).code = error.code
    return Response(error.body(), error.status, headers=error.headers, media_type="application/json")
