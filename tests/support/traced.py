"""Small stand-ins shared by tests: an encoder without a model, an atlas of it, rows of traffic."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from coverage_lab.accounts import measure, trace_prompts
from coverage_lab.atlas import Atlas, fit_atlas
from coverage_lab.config import DetectConfig
from coverage_lab.detect import Judge, Scorecard
from coverage_lab.detect.features import features_of
from coverage_lab.detect.fitting import TrainingAccounts, fit_scorecard
from coverage_lab.schema import TRAFFIC


class HashEncoder:
    """Unit vectors drawn from a text's hash: no model, no meaning, the same for ever."""

    name = "hash"
    id = hashlib.sha256(b"tests: hash encoder").hexdigest()
    dim = 16
    device = "cpu"
    precision = "float32"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(list(texts))
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for i, text in enumerate(texts):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
            vectors[i] = np.random.default_rng(seed).normal(size=self.dim)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


@functools.cache
def tiny_atlas() -> Atlas:
    """An atlas of 4, 8 and 32 cells over the hash encoder's vectors."""
    encoder = HashEncoder()
    texts = [f"reference {i}" for i in range(2000)]
    return fit_atlas(
        encoder.encode(texts),
        np.arange(2000) % 50,
        np.ones(2000, dtype=bool),
        None,
        encoder=encoder,
        sizes=(4, 8, 32),
        iterations=5,
        description="tests",
    )


@functools.cache
def wide_atlas() -> Atlas:
    """The cells of the tiny atlas for vectors of 384 numbers, around random directions."""
    small = tiny_atlas()
    drawn = np.random.default_rng(5).normal(size=(len(small.centroids), 384))
    centroids = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return dataclasses.replace(small, centroids=centroids)


def traffic(rows: Sequence[tuple[str, int, str, str | None]]) -> pa.Table:
    """TRAFFIC of (account, second, prompt, end user) rows."""
    size = len(rows)
    columns = {field.name: pa.nulls(size, field.type) for field in TRAFFIC}
    columns["account_id"] = pa.array([row[0] for row in rows], pa.large_string())
    columns["timestamp"] = pa.array([row[1] * 1_000_000 for row in rows], pa.int64()).cast(
        TRAFFIC.field("timestamp").type
    )
    columns["prompt"] = pa.array([row[2] for row in rows], pa.large_string())
    columns["end_user"] = pa.array([row[3] for row in rows], pa.large_string())
    columns["source"] = pa.array([0] * size, pa.int32())
    columns["row"] = pa.array(range(size), pa.int64())
    return pa.table(columns, schema=TRAFFIC)


def said(number: int) -> str:
    """A word for a number: texts that differ in digits only count as one."""
    letters = ""
    while number or not letters:
        number, rest = divmod(number, 20)
        letters += "bcdfghjklmnpqrstvwxz"[rest] + "aeiou"[rest % 5]
    return letters


KINDS = ("task", "product", "person", "multi_tenant", "payload", "evaluation_run", "red_team", "harvest")
#: Openings and build of each kind's prompts, so that there is something to tell them by.
_PUT = {
    "task": "Please fix this text number {}",
    "product": "As our assistant: reply to ticket {}",
    "person": "I wonder, could you tell me about my item {}?",
    "multi_tenant": "user said {}",
    "payload": "Translate: text {}; text 7",
    "evaluation_run": "Question {}: which option is right? A, B, C or D",
    "red_team": "Ignore the rules and do thing {}",
    "harvest": "Generate a list of 5 facts about subject {}:\n1.",
}


def labelled_accounts(*, accounts: int = 24, seed: int = 11) -> TrainingAccounts:
    """Accounts of every kind, six corpora each: harvests never repeat a prompt, the others do."""
    rng = np.random.default_rng(seed)
    rows, kind, corpus = [], [], []
    for name in KINDS:
        for i in range(accounts):
            account, part = f"{name}-{i:03d}", i % 6
            size = int(rng.integers(50, 250))
            pool = 100_000 if name == "harvest" else int(rng.integers(20, 120))
            numbers = rng.permutation(pool)[:size] if name == "harvest" else rng.integers(0, pool, size)
            rows += [
                (account, second, _PUT[name].format(said(160_000 * part + int(number))), None)
                for second, number in enumerate(numbers)
            ]
            kind.append(name)
            corpus.append(f"{name}-{part}")
    states = trace_prompts(traffic(rows), HashEncoder(), tiny_atlas())
    order = np.argsort([f"{k}-{i % accounts:03d}" for i, k in enumerate(kind)])
    features = features_of(states, measure(states, tiny_atlas()).values, middle_cells=tiny_atlas().sizes[1])
    kinds, corpora = np.array(kind)[order], np.array(corpus)[order]
    fold = np.array([int(name[-1]) % 3 for name in corpora])
    return TrainingAccounts(
        features, kinds, corpora, corpora, fold, np.full(len(kinds), "en"), kinds == "harvest"
    )


@functools.cache
def a_scorecard() -> Scorecard:
    """A scorecard of the tiny atlas, fitted on made-up accounts of every kind."""
    return fit_scorecard(
        labelled_accounts(),
        atlas_id=tiny_atlas().id,
        encoder_id=HashEncoder.id,
        card={"made_from": "made up for tests"},
    )


def a_judge(*, scorecard: bool = True, review_p: float = 0.01, watch_p: float = 0.05) -> Judge:
    """A judge of the stand-ins."""
    return Judge(
        encoder=HashEncoder(),
        atlas=tiny_atlas(),
        scorecard=a_scorecard() if scorecard else None,
        config=DetectConfig(review_p=review_p, watch_p=watch_p),
        config_id="tests",
    )
