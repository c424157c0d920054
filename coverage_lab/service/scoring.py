"""Request → answer: the same steps as the main job's, on one request's accounts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
from threadpoolctl import threadpool_limits

import coverage_lab
from coverage_lab.config import TrafficConfig
from coverage_lab.detect import Judge, JudgedAccounts, judge_prompts
from coverage_lab.schema import MEASURE_COLUMNS
from coverage_lab.service.answer import AccountScore, Health, QuarantinedPrompt, ScoreResponse, Stage, TopCell
from coverage_lab.service.limits import Limits
from coverage_lab.service.request import ScoreRequest, parse_request
from coverage_lab.traffic import drop_repeated_requests, validate_records

_SOURCE = "request"


class Scoring:
    """Answers requests; holds nothing of them afterwards.

    Parameters
    ----------
    judge : Judge
        Encoder, atlas and scorecard that belong together.
    traffic : TrafficConfig
        How rows are validated. `columns` is not used: a request has our names.
    limits : Limits
        What `answer` refuses, and what the HTTP layer in front of this does.
    threads : int, optional
        Threads that numerical libraries may take for one request; their own choice when None.
        With the same number as `run` has, the answers are the same to the last bit.
    """

    def __init__(
        self, judge: Judge, traffic: TrafficConfig, limits: Limits, *, threads: int | None = None
    ) -> None:
        self._judge = judge
        self._traffic = traffic.model_copy(update={"columns": {}})
        self._limits = limits
        self._threads = threads

    @property
    def limits(self) -> Limits:
        """What a request may ask for."""
        return self._limits

    def answer(self, body: bytes) -> bytes:
        """Answer a request's body with a response's; JSON to JSON, no NaN in it.

        Raises
        ------
        RefusalError
            The body is not a request within the limits.
        """
        return self.score(parse_request(body, self._limits)).model_dump_json().encode()

    def score(self, request: ScoreRequest) -> ScoreResponse:
        """Judge the accounts of a request.

        Parameters
        ----------
        request : ScoreRequest
            Whole accounts: nothing is remembered between requests.

        Returns
        -------
        ScoreResponse
            Every prompt is either counted in its account's answer or listed in `quarantined`.
        """
        places = [
            (account.account_id, index)
            for account in request.accounts
            for index in range(len(account.prompts))
        ]
        records = (
            {"account_id": account.account_id, **dict(row)}
            for account in request.accounts
            for row in account.prompts
        )
        now = self._traffic.as_of or datetime.now(UTC)
        batch = validate_records(records, self._traffic, as_of=now, source_name=_SOURCE)
        kept, repeated = drop_repeated_requests(batch.good, [_SOURCE])
        with threadpool_limits(limits=self._threads):
            judged = judge_prompts(kept, self._judge)
        refused = pa.concat_tables([batch.quarantined, repeated]).sort_by("row")
        scorecard = self._judge.scorecard
        return ScoreResponse(
            accounts=_accounts(judged, [account.account_id for account in request.accounts]),
            quarantined=[
                QuarantinedPrompt(
                    account_id=places[line["row"]][0],
                    index=places[line["row"]][1],
                    reason=line["reason"],
                    detail=line["detail"],
                )
                for line in refused.to_pylist()
            ],
            atlas_id=self._judge.atlas.id,
            encoder_id=self._judge.encoder.id,
            model_id=scorecard.id if scorecard is not None else None,
            second=_second(self._judge),
            config_id=self._judge.config_id,
            version=coverage_lab.__version__,
        )

    def health(self) -> Health:
        """What is judged with."""
        scorecard = self._judge.scorecard
        return Health(
            status="ok",
            version=coverage_lab.__version__,
            encoder=self._judge.encoder.name,
            encoder_id=self._judge.encoder.id,
            atlas_id=self._judge.atlas.id,
            model_id=scorecard.id if scorecard is not None else None,
            second=_second(self._judge),
            config_id=self._judge.config_id,
        )


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


def _accounts(judged: JudgedAccounts, order: Sequence[str]) -> list[AccountScore]:
    cells: dict[str, list[TopCell]] = {}
    for cell in judged.cells.to_pylist():
        cells.setdefault(cell.pop("account_id"), []).append(TopCell(**cell))
    answers: dict[str, AccountScore] = {}
    for row in judged.accounts.to_pylist():
        account_id = row["account_id"]
        measures = {name: _finite(row.pop(name)) for name in MEASURE_COLUMNS}
        answers[account_id] = AccountScore(**row, measures=measures, top_cells=cells.get(account_id, []))
    return [answers[account_id] for account_id in order if account_id in answers]


def _finite(value: float | None) -> float | None:
    """JSON has no infinities."""
    return value if value is not None and math.isfinite(value) else None
