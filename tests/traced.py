"""Small stand-ins shared by tests: an encoder without a model, an atlas of it, rows of traffic."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from coverage_lab.atlas import Atlas, fit_atlas
from coverage_lab.config import DetectConfig
from coverage_lab.detect import Judge, Scorecard
from coverage_lab.detect.features import FEATURES
from coverage_lab.detect.scorecard import Calibration, Feature, Style
from coverage_lab.schema import TRAFFIC


class HashEncoder:
    """Unit vectors drawn from a text's hash: no model, no meaning, the same for ever."""

    name = "hash"
    id = hashlib.sha256(b"tests: hash encoder").hexdigest()
    dim = 16
    device = "cpu"

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


def a_scorecard() -> Scorecard:
    """A scorecard of the tiny atlas with made-up weights."""
    rng = np.random.default_rng(3)
    return Scorecard(
        atlas_id=tiny_atlas().id,
        encoder_id=HashEncoder.id,
        intercept=0.0,
        features=tuple(
            Feature(
                name=name,
                mean=0.5,
                sd=0.4,
                weight=float(weight),
                benign_p05=0.1,
                benign_median=0.5,
                benign_p95=0.9,
            )
            for name, weight in zip(FEATURES, rng.normal(0, 0.2, len(FEATURES)), strict=True)
        ),
        style=Style(
            mean=(0.0,) * HashEncoder.dim,
            sd=(0.2,) * HashEncoder.dim,
            weight=tuple(float(w) for w in rng.normal(0, 0.1, HashEncoder.dim)),
            benign_p05=-1.0,
            benign_median=0.0,
            benign_p95=1.0,
        ),
        calibration=Calibration(
            neighbours=99,
            prompts=tuple(range(50, 250)),
            score=tuple(float(s) for s in rng.uniform(0, 1, 200)),
        ),
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
