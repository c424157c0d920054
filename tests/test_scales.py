"""Scales of the kinds of evidence, with and without instructions, and p-values that few keep honest."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from coverage_lab.detect.features import FEATURES, VECTORS, Features
from coverage_lab.detect.fitting import TrainingAccounts, fit_scorecard
from coverage_lab.detect.scorecard import Part

Rng = np.random.Generator
#: Columns of each vector here.
WIDE = 3


def part(**changes: object) -> Part:
    columns: dict[str, object] = {
        "weight": 1.0,
        "sizes": (100, 1000),
        "middle": (0.0, 1.0),
        "spread": (1.0, 1.0),
        "wrapped_middle": (2.0, 3.0),
        "wrapped_spread": (4.0, 4.0),
    }
    return Part.model_validate(columns | changes)


def wrapped(share: list[float], prompts: int = 100) -> Features:
    vectors = {name: np.zeros((len(share), WIDE), np.float32) for name in VECTORS}
    vectors["instruction"][:, 0] = share
    named = np.full((len(share), len(FEATURES)), np.nan)
    return Features(named, vectors, np.full(len(share), prompts))


def test_a_half_wrapped_account_lies_between_the_two_scales() -> None:
    middle, spread = part().usual(wrapped([0, 0.5, 1, 7]))
    assert middle == pytest.approx([0, 1, 2, 2])
    assert spread == pytest.approx([1, 2, 4, 4])
    assert part().standing(np.full(3, 4.0), wrapped([0, 0.5, 1])) == pytest.approx([2.5, 1.5, 0.5])
    assert part().usual(wrapped([0, 1], prompts=1000))[0] == pytest.approx([1, 3])


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"wrapped_middle": (1.0,)}, "equally long"), ({"wrapped_spread": (1.0, 0.0)}, "above 0")],
)
def test_scales_that_do_not_fit_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        part(**changes)


def accounts_of(rng: Rng, customers: int, *, harvests: int, wrapped_share: float) -> TrainingAccounts:
    """Two accounts of every customer; what a wrapped customer's prompts say lies three times as far off."""
    sides = np.repeat([False, True], [customers, harvests])
    wraps = rng.random(len(sides)) < wrapped_share
    centre = rng.normal(size=(len(sides), WIDE)) * np.where(wraps, 0.6, 0.2)[:, None]
    centre[:, 0] += np.where(sides, 0.4, 0.0)
    row = np.repeat(np.arange(len(sides)), 2)
    vectors: dict[str, NDArray[np.float32]] = {
        name: (centre[row] + rng.normal(size=(len(row), WIDE)) * 0.05).astype(np.float32) for name in VECTORS
    }
    instruction = np.zeros((len(row), WIDE))
    instruction[:, 1] = wraps[row] * 0.9
    vectors["instruction"] = instruction.astype(np.float32)
    named = rng.normal(size=(len(row), len(FEATURES)))
    name = np.array([f"customer {at:04d}" for at in row])
    return TrainingAccounts(
        features=Features(named, vectors, rng.choice([80, 100, 120], len(row))),
        kind=np.where(sides[row], "harvest", np.where(wraps[row], "payload", "task")),
        customer=name,
        cluster=name,
        fold=row % 4,
        language=np.full(len(row), "en"),
        pure=np.full(len(row), True),
    )


def test_p_values_hold_for_new_customers_where_few_are_wrapped() -> None:
    found, apart = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        known = accounts_of(rng, 160, harvests=80, wrapped_share=0.2)
        card = fit_scorecard(known, atlas_id="", encoder_id="")
        apart.append(card.parts["prompts"].wrapped_spread[-1] / card.parts["prompts"].spread[-1])
        new = accounts_of(rng, 1000, harvests=0, wrapped_share=0.2)
        p = card.p_value(card.score(card.points(new.features)), new.features.prompts)
        found.append(float((p <= 0.05).mean()))
    # By simulation: 0.030, and 0.047 where accounts are calibrated by scales that they are a part of.
    assert 0.01 < np.mean(found) < 0.042
    assert np.median(apart) > 1.2, "wrapped customers spread wider here, and their scale must show it"
