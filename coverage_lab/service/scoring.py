"""Accounts → answers: the same steps as the main job's, on the accounts of one request or of several."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from threadpoolctl import ThreadpoolController

import coverage_lab
from coverage_lab.config import ServiceConfig, TrafficConfig
from coverage_lab.detect import Judge, JudgedAccounts, judge_prompts
from coverage_lab.schema import BEHAVIOUR_COLUMNS, MEASURE_COLUMNS
from coverage_lab.service.answer import AccountScore, Health, QuarantinedPrompt, ScoreResponse, Stage, TopCell
from coverage_lab.service.request import AskedAccount, parse_request
from coverage_lab.traffic import drop_repeated_requests, validate_records

_SOURCE = "request"


@dataclass(frozen=True)
class AccountAnswer:
    """What is answered for one account: its score, None without a usable prompt, and what was unusable."""

    score: AccountScore | None
    quarantined: tuple[QuarantinedPrompt, ...]


class Scoring:
    """Answers requests; holds nothing of them afterwards.

    Parameters
    ----------
    judge : Judge
        Encoder, atlas and scorecard that belong together.
    traffic : TrafficConfig
        How rows are validated. `columns` is not used: a request has our names.
    limits : ServiceConfig
        What `answer` refuses, and what the HTTP layer in front of this does.
    threads : int, optional
        Threads that numerical libraries may take at once; their own choice when None.
    """

    def __init__(
        self, judge: Judge, traffic: TrafficConfig, limits: ServiceConfig, *, threads: int | None = None
    ) -> None:
        self._judge = judge
        self._traffic = traffic.model_copy(update={"columns": {}})
        self._limits = limits
        self._threads = _Threads(threads)
        self._model_id = judge.model_id if judge.scorecard is not None else None
        self._second = _second(judge)

    @property
    def limits(self) -> ServiceConfig:
        """What a request may ask for."""
        return self._limits

    @property
    def lanes(self) -> int:
        """Threads that may judge at once: two on CPUs; a GPU's index is for one."""
        return 2 if self._judge.device == "cpu" else 1

    def answer(self, body: bytes) -> bytes:
        """Answer a request's body with a response's; JSON to JSON, no NaN in it.

        Raises
        ------
        RefusalError
            The body is not a request within the limits.
        """
        return self.response(self.judge(parse_request(body, self._limits)))

    def warm_up(self) -> None:
        """Judge made-up prompts, so that no caller waits for what is loaded or compiled at first use."""
        words = ("invoice", "garden", "poem", "proof", "recipe", "contract")
        rows = [
            {"prompt": f"{words[i % 6]} {words[i // 6 % 6]} {'x' * i}", "timestamp": 1_600_000_000 + i}
            for i in range(60)
        ]
        self.response(self.judge([AskedAccount("warm-up", rows)]))

    def judge(self, accounts: Sequence[AskedAccount]) -> list[AccountAnswer]:
        """Judge accounts, in their order.

        Parameters
        ----------
        accounts : sequence of AskedAccount
            Whole accounts, each id once: nothing is remembered. What is answered for one does not depend on
            the others, so accounts of several requests may be judged together.

        Returns
        -------
        list of AccountAnswer
            Every prompt is either counted in its account's answer or listed as quarantined.
        """
        places = [(at, index) for at, account in enumerate(accounts) for index in range(len(account.rows))]
        records = ({"account_id": account.account_id, **row} for account in accounts for row in account.rows)
        now = self._traffic.as_of or datetime.now(UTC)
        batch = validate_records(records, self._traffic, as_of=now, source_name=_SOURCE)
        kept, repeated = drop_repeated_requests(batch.good, [_SOURCE])
        with self._threads.limited():
            judged = judge_prompts(kept, self._judge, curves=False)
        scores = _scores(judged)
        quarantined: list[list[QuarantinedPrompt]] = [[] for _ in accounts]
        for line in pa.concat_tables([batch.quarantined, repeated]).sort_by("row").to_pylist():
            at, index = places[line["row"]]
            quarantined[at].append(
                QuarantinedPrompt(
                    account_id=accounts[at].account_id,
                    index=index,
                    reason=line["reason"],
                    detail=line["detail"],
                )
            )
        return [
            AccountAnswer(scores.get(account.account_id), tuple(rows))
            for account, rows in zip(accounts, quarantined, strict=True)
        ]

    def score(self, accounts: Sequence[AskedAccount]) -> ScoreResponse:
        """Judge the accounts of one request."""
        return self._response(self.judge(accounts))

    def response(self, answers: Sequence[AccountAnswer]) -> bytes:
        """Put a request's answers together as JSON."""
        return self._response(answers).model_dump_json().encode()

    def _response(self, answers: Sequence[AccountAnswer]) -> ScoreResponse:
        return ScoreResponse(
            accounts=[answer.score for answer in answers if answer.score is not None],
            quarantined=[row for answer in answers for row in answer.quarantined],
            atlas_id=self._judge.atlas.id,
            encoder_id=self._judge.encoder.id,
            model_id=self._model_id,
            second=self._second,
            config_id=self._judge.config_id,
            version=coverage_lab.__version__,
        )

    def health(self) -> Health:
        """What is judged with."""
        return Health(
            status="ok",
            version=coverage_lab.__version__,
            encoder=self._judge.encoder.name,
            encoder_id=self._judge.encoder.id,
            atlas_id=self._judge.atlas.id,
            model_id=self._model_id,
            second=self._second,
            config_id=self._judge.config_id,
        )


class _Threads:
    """Limits the threads of numerical libraries; looks for these again only when something was imported.

    What was before the first that is inside is put back by the last that leaves. OpenMP counts by thread, so
    each that comes in limits its own.
    """

    def __init__(self, threads: int | None) -> None:
        self._threads = threads
        self._modules = 0
        self._turn = threading.Lock()
        self._inside = 0
        self._before = ExitStack()

    @contextmanager
    def limited(self) -> Iterator[None]:
        with self._turn:
            if len(sys.modules) != self._modules:
                self._found = ThreadpoolController()
                self._modules = len(sys.modules)
            if self._inside == 0:
                self._before.enter_context(self._found.limit(limits=self._threads))
            self._inside += 1
            own = self._found.select(user_api="openmp")
        try:
            with own.limit(limits=self._threads):
                yield
        finally:
            with self._turn:
                self._inside -= 1
                if self._inside == 0:
                    self._before.close()


def _second(judge: Judge) -> Stage | None:
    second = judge.second
    if second is None:
        return None
    return Stage(
        encoder=second.encoder.name,
        encoder_id=second.encoder.id,
        atlas_id=second.atlas.id,
        model_id=second.model_id,
        escalate_p=judge.escalate_p,
    )


def _scores(judged: JudgedAccounts) -> dict[str, AccountScore]:
    cells: dict[str, list[TopCell]] = {}
    for cell in judged.cells.to_pylist():
        cells.setdefault(cell.pop("account_id"), []).append(TopCell(**cell))
    scores: dict[str, AccountScore] = {}
    for row in judged.accounts.to_pylist():
        account_id = row["account_id"]
        measures = {name: _finite(row.pop(name)) for name in MEASURE_COLUMNS}
        behaviour = {name: _finite(row.pop(name)) for name in BEHAVIOUR_COLUMNS}
        scores[account_id] = AccountScore(
            **row, measures=measures, behaviour=behaviour, top_cells=cells.get(account_id, [])
        )
    return scores


def _finite(value: float | None) -> float | None:
    """JSON has no infinities."""
    return value if value is not None and math.isfinite(value) else None
