"""The client: splits a table by account, asks for its parts, waits where told to, puts answers together."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import false_discovery_control

from coverage_lab.config import DetectConfig
from coverage_lab.errors import ConfigError, CoverageLabError, MissingExtraError
from coverage_lab.schema import ACCOUNTS, CELLS, OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from coverage_lab.untrusted.text import shown

try:
    import httpx
except ImportError as error:
    raise MissingExtraError("httpx", "client", "coverage_lab.client") from error

#: What asking again does not mend.
_FOR_GOOD: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)

_COLUMNS: Final = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
_QUARANTINED: Final = pa.schema(
    [
        ("account_id", pa.large_string()),
        ("index", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
#: Answers after which the same question may be asked again.
_AGAIN: Final = (429, 502, 503, 504)
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0
#: As a service may tell; beyond it the caller decides whether to wait.
_LONGEST_TOLD_WAIT: Final = 300.0
_TOO_LARGE: Final = 413
_LAST_PORT: Final = 65_535
_IDS: Final = ("atlas_id", "encoder_id", "model_id", "config_id", "version")
_NOT_OURS: Final = "an answer that is not the service's"


class ServiceError(CoverageLabError):
    """The service refused, or could not be reached.

    Attributes
    ----------
    status : int
        HTTP status; 0 where there was no answer.
    code : str
        The error's code; empty where there was none.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ArrowTable(Protocol):
    """A table of Arrow, pandas, Polars or whatever else speaks Arrow's C stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True)
class Scores:
    """What a service said of some accounts.

    Attributes
    ----------
    accounts : pyarrow.Table
        A row an account, sorted by account, with the columns of a run's accounts.parquet; `q_value` is taken
        over the accounts that were asked about.
    cells : pyarrow.Table
        The cells that each account stands out in.
    quarantined : pyarrow.Table
        Prompts that could not be used: account, place among the account's prompts as sent, reason, detail.
    ids : mapping
        What was judged with: atlas_id, encoder_id, model_id, config_id, version.
    """

    accounts: pa.Table
    cells: pa.Table
    quarantined: pa.Table
    ids: Mapping[str, str | None]


@dataclass(frozen=True)
class _Answer:
    """One answer of the service, as tables."""

    accounts: pa.Table
    cells: pa.Table
    quarantined: pa.Table
    ids: dict[str, str | None]


@dataclass(frozen=True)
class _Account:
    name: str
    rows: list[dict[str, object]]
    size: int


class Client:
    """A scoring service.

    Parameters
    ----------
    url : str
        For instance ``http://127.0.0.1:8711``.
    key : str, optional
        An API key; never shown.
    parallel : int
        Requests at once.
    max_accounts, max_prompts, max_bytes : int
        Of one request; an account is never cut. A request that the service finds too large is halved.
    attempts : int
        How often one request is sent while the service is busy or can't be reached.
    timeout : float
        Seconds that one answer may take, besides up to five minutes where the service tells to wait.
    verify : bool or str
        False trusts any certificate; a path names the certificates to trust.

    Raises
    ------
    ConfigError
        The url or the key can't be used, or a number is below 1.

    Examples
    --------
    >>> from coverage_lab.client import Client
    >>> Client("http://127.0.0.1:8711", "a-key-of-the-service")
    Client('http://127.0.0.1:8711')
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        parallel: int = 4,
        max_accounts: int = 200,
        max_prompts: int = 5_000,
        max_bytes: int = 16 * 2**20,
        attempts: int = 10,
        timeout: float = 120.0,
        verify: bool | str = True,
    ) -> None:
        for name, value in (
            ("parallel", parallel),
            ("max_accounts", max_accounts),
            ("max_prompts", max_prompts),
            ("max_bytes", max_bytes),
            ("attempts", attempts),
        ):
            if value < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {value}")
        self._url = _checked_url(url)
        if key is not None and not (key and all("!" <= character <= "~" for character in key)):
            raise ConfigError("key: expected ASCII letters, digits and signs without spaces")
        self._headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        self._parallel = parallel
        self._max_accounts, self._max_prompts, self._max_bytes = max_accounts, max_prompts, max_bytes
        self._attempts = attempts
        self._timeout = timeout
        self._verify = verify
        self._random = random.Random()

    def __repr__(self) -> str:
        return f"Client({self._url!r})"

    def score(
        self,
        table: ArrowTable,
        *,
        min_prompts: int = DetectConfig().min_prompts,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Scores:
        """Score the accounts of a table.

        Parameters
        ----------
        table : table of Arrow, pandas or Polars
            A row a prompt, with the columns account_id, prompt and timestamp, and any of the optional ones;
            other columns are not sent. All prompts that an account is to be judged by are in it.
        min_prompts : int
            Accounts with fewer get no q-value and are not counted in the others'; the service's
            `detect.min_prompts`.
        progress : callable
            Told how many accounts are done, and of how many.

        Raises
        ------
        ConfigError
            A column is missing or holds what can't be sent, or an account_id is null.
        ServiceError
            The service refused, was busy or out of reach for all attempts, or told to wait for too long; what
            answered is no such service; or its scorecard changed between two answers.
        """
        # In a thread of its own: a notebook has an event loop that runs already.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(
                asyncio.run, self.score_async(table, min_prompts=min_prompts, progress=progress)
            ).result()

    async def score_async(
        self,
        table: ArrowTable,
        *,
        min_prompts: int = DetectConfig().min_prompts,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Scores:
        """Score the accounts of a table: `score` for programs with an event loop."""
        accounts = list(_accounts_of(table))
        places = asyncio.Semaphore(self._parallel)
        done = 0
        async with httpx.AsyncClient(
            headers=self._headers, timeout=self._timeout, verify=self._verify
        ) as http:

            async def ask(part: list[_Account]) -> list[_Answer]:
                nonlocal done
                async with places:
                    answer = await self._ask(http, part)
                if answer is not None:
                    done += len(part)
                    progress(done, len(accounts))
                    return [answer]
                half = len(part) // 2
                return [*await ask(part[:half]), *await ask(part[half:])]

            tasks = [asyncio.create_task(ask(part)) for part in self._parts(accounts)]
            try:
                answers = await asyncio.gather(*tasks)
            finally:
                # Where one has failed, the others are not waited for.
                for task in tasks:
                    task.cancel()
        return self._together([answer for part in answers for answer in part], min_prompts)

    def _together(self, answers: list[_Answer], min_prompts: int) -> Scores:
        ids = answers[0].ids if answers else dict.fromkeys(_IDS)
        for answer in answers:
            for name, value in answer.ids.items():
                if value != ids[name]:
                    raise ServiceError(
                        f"{self._url}: answers differ in {name} ({ids[name]!r}, {value!r}): the service was "
                        "changed meanwhile; ask again"
                    )
        accounts = pa.concat_tables([ACCOUNTS.empty_table(), *(answer.accounts for answer in answers)])
        return Scores(
            accounts=_with_q_values(accounts.combine_chunks(), min_prompts),
            cells=pa.concat_tables([CELLS.empty_table(), *(answer.cells for answer in answers)]),
            quarantined=pa.concat_tables(
                [_QUARANTINED.empty_table(), *(answer.quarantined for answer in answers)]
            ),
            ids=ids,
        )

    def _parts(self, accounts: list[_Account]) -> Iterator[list[_Account]]:
        part: list[_Account] = []
        prompts = size = 0
        for account in accounts:
            if part and (
                len(part) >= self._max_accounts
                or prompts + len(account.rows) > self._max_prompts
                or size + account.size > self._max_bytes
            ):
                yield part
                part, prompts, size = [], 0, 0
            part.append(account)
            prompts += len(account.rows)
            size += account.size
        if part:
            yield part

    async def _ask(self, http: httpx.AsyncClient, part: list[_Account]) -> _Answer | None:
        """Answer for some accounts; None where they are too many for one request."""
        body = orjson.dumps({"accounts": [{"account_id": one.name, "prompts": one.rows} for one in part]})
        refused = ServiceError(f"{self._url}: never asked")
        wait = 0.0
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(wait)
            backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
            wait = self._random.uniform(backoff / 2, backoff)
            try:
                response = await http.post(
                    f"{self._url}/v1/score", content=body, headers={"Content-Type": "application/json"}
                )
            except httpx.RequestError as error:
                refused = ServiceError(f"{self._url}: can't be reached ({type(error).__name__})")
                if isinstance(error, _FOR_GOOD) or not isinstance(error, httpx.TransportError):
                    break
                continue
            if response.status_code == 200:
                try:
                    answer = _read(response.content)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise ServiceError(f"{self._url} answered 200, {_NOT_OURS}", status=200) from error
                self._check_whole(answer, [one.name for one in part])
                return answer
            refused = _refusal(response)
            if response.status_code == _TOO_LARGE and len(part) > 1:
                return None
            if response.status_code not in _AGAIN:
                break
            told = response.headers.get("Retry-After", "")
            if told.isdecimal():
                if float(told) > _LONGEST_TOLD_WAIT:
                    longest = f"at most {_LONGEST_TOLD_WAIT:g} s are waited"
                    refused = ServiceError(
                        f"{refused} (told to wait {float(told):.0f} s; {longest})",
                        status=refused.status,
                        code=refused.code,
                    )
                    break
                # A little later each, so that those who were refused together don't come back together.
                wait = float(told) * self._random.uniform(1.0, 1.25)
        raise refused

    def _check_whole(self, answer: _Answer, asked: list[str]) -> None:
        """Refuse an answer that leaves out an account, or tells of one twice or of one not asked about."""
        scored = answer.accounts["account_id"].to_pylist()
        told = {*scored, *answer.quarantined["account_id"].to_pylist()}
        wrong = {
            "leaves out": [name for name in asked if name not in told],
            "was not asked about": sorted(told.difference(asked)),
            "tells twice of": sorted(name for name, times in Counter(scored).items() if times > 1),
        }
        for what, names in wrong.items():
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise ServiceError(
                    f"{self._url} answered 200, but {what} account '{shown(names[0])}'{more}: "
                    "it is not the service, or something between changes its answers",
                    status=200,
                )


def _checked_url(url: str) -> str:
    """The url without a slash at its end."""
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigError(
            f"url: expected one like http://127.0.0.1:8711, got {url!r:.100} ({error})"
        ) from None
    if found.scheme not in ("http", "https") or not found.host or (found.port or 0) > _LAST_PORT:
        raise ConfigError(f"url: expected one like http://127.0.0.1:8711, got {url!r:.100}")
    return url.rstrip("/")


def _can_be_sent(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_timestamp,
            pa.types.is_date,
            pa.types.is_null,
        )
    )


def _refusal(response: httpx.Response) -> ServiceError:
    try:
        problem = orjson.loads(response.content)["error"]
        code, message = str(problem["code"]), str(problem["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "", _NOT_OURS
    url = f"{response.request.url.scheme}://{response.request.url.netloc.decode()}"
    said = f"{code}: {message}" if code else message
    return ServiceError(
        f"{url} answered {response.status_code}, {said}", status=response.status_code, code=code
    )


def _accounts_of(source: ArrowTable) -> Iterator[_Account]:
    """Accounts by their ids, each with its rows in the table's order."""
    table = pa.table(source)
    missing = [name for name in REQUIRED_COLUMNS if name not in table.column_names]
    if missing:
        raise ConfigError(
            f"table: expected the columns {', '.join(REQUIRED_COLUMNS)}; there is no {', '.join(missing)}"
        )
    table = table.select([name for name in _COLUMNS if name in table.column_names])
    for field in table.schema:
        if not _can_be_sent(field.type):
            raise ConfigError(
                f"table: column {field.name}: expected text, numbers or timestamps, got {field.type}"
            )
    # Polars' strings, which Arrow can't pick from.
    plain = [pa.large_string() if field.type == pa.string_view() else field.type for field in table.schema]
    table = table.cast(pa.schema(list(zip(table.column_names, plain, strict=True))))
    if not table.num_rows:
        return
    ids = table["account_id"].cast(pa.large_string())
    if ids.null_count:
        raise ConfigError(f"table: {ids.null_count} rows have no account_id; leave them out")
    at = table.column_names.index("timestamp")
    stamps = table["timestamp"]
    if pa.types.is_timestamp(stamps.type):
        stamps = stamps.cast(pa.timestamp("us", stamps.type.tz), safe=False)
    table = table.set_column(at, "timestamp", stamps)
    rows = table.drop_columns("account_id")
    order = pc.sort_indices(pa.table({"id": ids}), sort_keys=[("id", "ascending")])
    sorted_ids = ids.take(order).combine_chunks()
    starts = np.flatnonzero(
        np.concatenate([[True], pc.not_equal(sorted_ids[1:], sorted_ids[:-1]).to_numpy(zero_copy_only=False)])
    )
    rows = rows.take(order).combine_chunks()
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), rows.num_rows], strict=True):
        mine = rows.slice(start, end - start)
        listed = [
            {name: value for name, value in row.items() if value is not None} for row in mine.to_pylist()
        ]
        size = sum(len(value) if isinstance(value, str) else 24 for row in listed for value in row.values())
        yield _Account(sorted_ids[start].as_py(), listed, size)


def _read(content: bytes) -> _Answer:
    """An answer as tables; a lookup or type error where it is not the service's."""
    answer = orjson.loads(content)
    accounts: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for account in answer["accounts"]:
        row = {**account, **account["measures"], **account["behaviour"]}
        for name in ("first_seen", "last_seen"):
            row[name] = datetime.fromisoformat(row[name])
        accounts.append({name: row.get(name) for name in ACCOUNTS.names})
        cells += [{"account_id": account["account_id"], **cell} for cell in account["top_cells"]]
    return _Answer(
        accounts=pa.Table.from_pylist(accounts, schema=ACCOUNTS),
        cells=pa.Table.from_pylist(cells, schema=CELLS),
        quarantined=pa.Table.from_pylist(answer["quarantined"], schema=_QUARANTINED),
        ids={name: answer.get(name) for name in _IDS},
    )


def _with_q_values(accounts: pa.Table, min_prompts: int) -> pa.Table:
    """Benjamini-Hochberg over the accounts that have a p-value and enough prompts."""
    p = accounts["p_value"].to_numpy().astype(np.float64)
    counted = ~np.isnan(p) & (accounts["prompts"].to_numpy() >= min_prompts)
    q = np.full(len(p), np.nan)
    if counted.any():
        q[counted] = false_discovery_control(p[counted], method="bh")
    at = accounts.schema.get_field_index("q_value")
    return accounts.set_column(at, ACCOUNTS.field("q_value"), pa.array(q, pa.float64(), from_pandas=True))
