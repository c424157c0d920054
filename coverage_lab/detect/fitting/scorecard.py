"""Accounts whose truth is known → a scorecard.

Each kind of evidence is fitted by itself (logistic regression, customers weighted alike), scored on accounts
whose fold it did not see, brought to one scale by those scores, and added up; a last
two-parameter logistic turns the sum into log-odds. With some hundred harvest corpora in all, fitting the
kinds against one another was no better than adding them, and the reasons are easier to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from coverage_lab.detect.archetype import CLIP, ArchetypeModel, clipped
from coverage_lab.detect.features import FEATURES, VECTORS, Features
from coverage_lab.detect.fitting.accounts import (
    ARCHETYPE_OF,
    GrowingAccounts,
    TrainingAccounts,
    even_weights,
    side_weights,
)
from coverage_lab.detect.fitting.evidence import HeldOut, fit_part
from coverage_lab.detect.fitting.frame import Frame, Row, frame_of
from coverage_lab.detect.scorecard import (
    ADDITIVE,
    ARCHETYPE_VECTORS,
    NAMED_PARTS,
    PARTS,
    Calibration,
    Feature,
    GrowthCalibration,
    Linear,
    Mixture,
    Part,
    Scorecard,
    evidence_of,
)
from coverage_lab.errors import ConfigError

#: What each kind of evidence counts for in the sum. The two that read openings say much the same, so they
#: count as one together: held out by families, AUROC rises by .006 to .013 against 1 each.
WEIGHT = dict.fromkeys(PARTS, 1.0) | {"openings": 0.5, "content_openings": 0.5}
#: Sizes that scales are worked out at, as far as accounts reach them; and how far from one an account counts.
_SIZES = (50, 100, 250, 500, 1000, 2000)
_WITHIN = 1.6
#: Least spread of a kind of evidence, in standard deviations of all accounts.
_LEAST_SPREAD = 0.1
#: Customers below which a size has no scale of its own.
_FEWEST = 20
#: `Features.wrapped` from which an account counts as wrapped where scales are worked out.
_WRAPPED = 0.3
_ARCHETYPE_PENALTY = 0.01
#: What archetypes are told by, and the scale that each is weighed on beside features of about 1.
_ARCHETYPE_SCALE = {"direction of prompts": 4.0, "topics": 4.0, "spread": 30.0, "openings": 3.0}


def fit_scorecard(
    labelled: TrainingAccounts,
    *,
    atlas_id: str,
    encoder_id: str,
    parts: Sequence[str] = PARTS,
    card: dict[str, str | float | int] | None = None,
    archetypes: ArchetypeModel | None = None,
    grown: GrowingAccounts | None = None,
    known: TrainingAccounts | None = None,
    scales_of: Scorecard | None = None,
) -> Scorecard:
    """Fit the score, the archetypes and the calibration.

    Parameters
    ----------
    labelled : TrainingAccounts
        Harvests and ordinary accounts; evaluation runs and research for the archetypes.
    parts : subset of `coverage_lab.detect.scorecard.PARTS`
        Evidence to use; the others add no points.
    archetypes : ArchetypeModel, optional
        To take as they are; fitted where not given.
    grown : GrowingAccounts, optional
        Ordinary accounts as they grew: p-values are calibrated on them, at every size that they reached, and
        so are looks at growing accounts (`coverage_lab.detect.trajectory`). Without it p-values are
        calibrated on the ordinary accounts of `labelled`, and the scorecard has no calibration for looks.
    known : TrainingAccounts, optional
        Without `grown`: ordinary accounts to calibrate p-values on, in place of those of `labelled`.
    scales_of : Scorecard, optional
        Compare named features with accounts of their size as this one does. Needed with its `archetypes`,
        whose weights are of features that are compared so.

    Returns
    -------
    Scorecard
        Calibrated on the ordinary accounts' scores by weights that did not see their corpora.

    Raises
    ------
    ConfigError
        A part is not known, or harvests or ordinary accounts come from fewer than two clusters.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ConfigError(f"parts: expected some of {PARTS}, got {list(parts)}")
    scored = labelled.at(labelled.ordinary | labelled.pure)
    benign = scored.at(~scored.harvest)
    for side, accounts in (("harvests", scored.at(scored.harvest)), ("ordinary accounts", benign)):
        if len(np.unique(accounts.cluster)) < 2:
            raise ConfigError(f"{side}: expected accounts of at least two clusters of corpora")
    frame = frame_of(benign)
    if scales_of is not None:
        frame = frame.compared_as(scales_of)
    held_out = HeldOut.of(scored, frame, parts)
    values = held_out.values(scored)
    scales = _scales(values, scored, parts)
    last = LogisticRegression(C=1e6, max_iter=1000)
    last.fit(
        _total(values, scales, parts, scored.features)[:, None],
        scored.harvest,
        sample_weight=side_weights(scored.harvest, scored.customer),
    )
    slope, intercept = max(float(last.coef_[0, 0]), 0.0), float(last.intercept_[0])
    weights = {part: fit_part(part, scored, frame) for part in parts}
    # The largest size's spread, for one gain at every size: a mixture's value must be that of its parts.
    gain = {name: scales[name].weight / scales[name].spread[-1] for name in ADDITIVE}
    additive = held_out.additive(scored, gain)
    if grown is not None:
        known = grown.accounts
    elif known is None:
        known = benign
    score = expit(intercept + slope * _held_out_total(held_out, values, scored, known))
    return Scorecard(
        atlas_id=atlas_id,
        encoder_id=encoder_id,
        intercept=_short(intercept),
        slope=_short(slope),
        features=_features(weights, frame, benign),
        linear={name: _linear(weights.get(name), name, frame, benign) for name in VECTORS},
        parts=scales,
        archetypes=_archetypes(labelled, frame) if archetypes is None else archetypes,
        mixture=Mixture(
            benign=_quantiles(additive[~scored.harvest], benign.customer),
            harvest=_quantiles(additive[scored.harvest], scored.customer[scored.harvest]),
        ),
        calibration=_calibration(known, score),
        growth=None if grown is None else _growth(grown, score),
        card=card or {},
    )


_UNUSED = Part(
    weight=0.0, sizes=(1,), middle=(0.0,), spread=(1.0,), wrapped_middle=(0.0,), wrapped_spread=(1.0,)
)


def _scales(values: dict[str, Row], scored: TrainingAccounts, parts: Sequence[str]) -> dict[str, Part]:
    return {name: _scale(values[name], scored, WEIGHT[name]) if name in parts else _UNUSED for name in PARTS}


def _total(values: dict[str, Row], scales: dict[str, Part], parts: Sequence[str], features: Features) -> Row:
    added = np.zeros(len(features))
    for name in parts:
        added += scales[name].weight * scales[name].standing(values[name], features)
    return added


def _held_out_total(
    held_out: HeldOut, values: dict[str, Row], scored: TrainingAccounts, known: TrainingAccounts
) -> Row:
    """Sum of the standings of accounts, by weights and scales alike that saw no account of their folds.

    A scale that an account was itself a part of fits it too well: where few customers make a scale, the next
    one would stand out more often than promised.
    """
    found, where, seen = held_out.values(known), held_out.fold_of(known), held_out.fold_of(scored)
    added = np.zeros(len(where))
    for fold in np.unique(where).tolist():
        held, rest = where == fold, seen != fold
        if not (rest & ~scored.harvest).any():
            rest[:] = True
        without = _scales({name: row[rest] for name, row in values.items()}, scored.at(rest), held_out.parts)
        mine = {name: row[held] for name, row in found.items()}
        added[held] = _total(mine, without, held_out.parts, known.features.at(held))
    return added


def _scale(values: Row, scored: TrainingAccounts, weight: float) -> Part:
    """Scale of one kind of evidence: halfway between all ordinary accounts and those that are wrapped alike.

    Halfway, because few customers wrap their prompts: by their own scale alone other accounts get worse, and
    by everybody's a product behind an instruction that nobody has seen looks like a harvest.
    """
    benign, value = scored.at(~scored.harvest), values[~scored.harvest]
    # Ordinary accounts that are all alike say nothing of how far from them is far.
    least = max(_LEAST_SPREAD * float(values.std()), 1e-9)
    prompts, wrapped = benign.features.prompts, benign.features.wrapped > _WRAPPED
    rows: list[tuple[int, float, float, float, float]] = []
    for size in _SIZES:
        near = np.abs(np.log(np.maximum(prompts, 1) / size)) <= np.log(_WITHIN)
        if len(np.unique(benign.customer[near])) >= _FEWEST:
            rows.append((size, *_halfway(value, benign.customer, near, wrapped, least)))
    if not rows:
        near = np.full(len(value), True)
        rows.append((int(np.median(prompts)), *_halfway(value, benign.customer, near, wrapped, least)))
    sizes, *columns = zip(*rows, strict=True)
    middle, spread, wrapped_middle, wrapped_spread = (tuple(map(_short, column)) for column in columns)
    return Part(
        weight=weight,
        sizes=sizes,
        middle=middle,
        spread=spread,
        wrapped_middle=wrapped_middle,
        wrapped_spread=wrapped_spread,
    )


def _halfway(
    value: Row,
    customer: NDArray[np.str_],
    near: NDArray[np.bool_],
    wrapped: NDArray[np.bool_],
    least: float,
) -> tuple[float, float, float, float]:
    """Middle and spread of accounts without instructions, and of wrapped ones, each half everybody's."""

    def of(rows: NDArray[np.bool_]) -> tuple[float, float]:
        low, high = _weighted_quantiles(value[rows], even_weights(customer[rows]), (0.5, 0.95))
        return low, max(high - low, least)

    middle, spread = of(near)
    found: list[float] = []
    for group in (near & ~wrapped, near & wrapped):
        own = of(group) if len(np.unique(customer[group])) >= _FEWEST else (middle, spread)
        found += [(middle + own[0]) / 2, float(np.sqrt(spread * own[1]))]
    return found[0], found[1], found[2], found[3]


def _weighted_quantiles(values: Row, weight: Row, shares: Sequence[float]) -> list[float]:
    """Smallest values below or at which these shares of the weight lie."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    at = np.searchsorted(reached, np.array(shares) * reached[-1] - 1e-12)
    return [float(values[order[min(i, len(order) - 1)]]) for i in at]


def _numbered(customer: NDArray[np.str_]) -> NDArray[np.int64]:
    _, number = np.unique(customer, return_inverse=True)
    return np.asarray(number, dtype=np.int64)


def _calibration(benign: TrainingAccounts, score: Row) -> Calibration:
    number, prompts = _numbered(benign.customer), benign.features.prompts
    order = np.lexsort((prompts, number))
    return Calibration(
        neighbours=len(np.unique(number)),
        prompts=tuple(prompts[order].tolist()),
        score=tuple(_short(float(s)) for s in score[order]),
        customer=tuple(number[order].tolist()),
    )


def _growth(grown: GrowingAccounts, score: Row) -> GrowthCalibration:
    """Lay out scores as trajectories, an account a row."""
    prompts = grown.accounts.features.prompts
    sizes = np.unique(prompts)
    names, first, row = np.unique(grown.trajectory, return_index=True, return_inverse=True)
    table = np.full((len(names), len(sizes)), np.nan)
    table[row, np.searchsorted(sizes, prompts)] = score
    return GrowthCalibration(
        sizes=tuple(int(n) for n in sizes),
        score=tuple(tuple(_short(float(s)) for s in line[~np.isnan(line)]) for line in table),
        customer=tuple(_numbered(grown.accounts.customer)[first].tolist()),
    )


def _features(weights: dict[str, Row], frame: Frame, benign: TrainingAccounts) -> tuple[Feature, ...]:
    named = benign.features.named
    low, mid, high = np.nanquantile(named, (0.05, 0.5, 0.95), axis=0)
    z, even = frame.z(benign.features), even_weights(benign.customer)
    features = []
    for part, columns in NAMED_PARTS.items():
        at = 0
        for j in range(*columns.indices(len(FEATURES))):
            steps = len(frame.edges[j]) + 1
            points = weights[part][at : at + steps] if part in weights else np.zeros(steps)
            at += steps
            points = np.round(points, 4)
            known = ~np.isnan(z[:, j])
            mine = points[np.searchsorted(frame.edges[j], z[known, j], side="right")]
            usual = float(np.average(mine, weights=even[known])) if known.any() else 0.0
            features.append(
                Feature(
                    name=FEATURES[j],
                    by_size=(
                        _short(frame.by_size[j, 0]),
                        _short(frame.by_size[j, 1]),
                        _short(frame.by_size[j, 2]),
                    ),
                    sd=_short(frame.sd[j]),
                    edges=tuple(float(edge) for edge in frame.edges[j]),
                    points=tuple(float(p) for p in points),
                    benign_points=_short(usual),
                    benign_p05=_short(low[j]),
                    benign_median=_short(mid[j]),
                    benign_p95=_short(high[j]),
                )
            )
    return tuple(features)


def _linear(weight: Row | None, name: str, frame: Frame, benign: TrainingAccounts) -> Linear:
    x = evidence_of(benign.features, name)
    if weight is None:
        return Linear(weight=(0.0,) * x.shape[1], offset=0.0, benign_p05=0, benign_median=0, benign_p95=0)
    kept = np.array([_short(w) for w in weight * frame.scale[name]])
    offset = _short(-float(frame.centre[name] @ kept))
    low, mid, high = _weighted_quantiles(x @ kept + offset, even_weights(benign.customer), (0.05, 0.5, 0.95))
    return Linear(
        weight=tuple(kept.tolist()),
        offset=offset,
        benign_p05=_short(low),
        benign_median=_short(mid),
        benign_p95=_short(high),
    )


def _archetypes(labelled: TrainingAccounts, frame: Frame) -> ArchetypeModel:
    kinds = np.array([ARCHETYPE_OF[str(kind)] for kind in labelled.kind])
    named = clipped(frame.z(labelled.features))
    vectors = [ARCHETYPE_VECTORS[name](labelled.features) for name in _ARCHETYPE_SCALE]
    weight = side_weights(kinds, labelled.customer)
    centres = [np.average(x, axis=0, weights=weight) for x in vectors]
    scaled = [
        (x - centre) * scale
        for x, centre, scale in zip(vectors, centres, _ARCHETYPE_SCALE.values(), strict=True)
    ]
    model = LogisticRegression(C=_ARCHETYPE_PENALTY, max_iter=1000)
    model.fit(np.concatenate([named / CLIP, *scaled], axis=1), kinds, sample_weight=weight)
    cuts = np.cumsum([named.shape[1], *(x.shape[1] for x in vectors)])
    blocks = np.split(model.coef_, cuts[:-1], axis=1)
    blocks = [blocks[0] / CLIP, *(b * s for b, s in zip(blocks[1:], _ARCHETYPE_SCALE.values(), strict=True))]
    intercept = model.intercept_ - sum(b @ c for b, c in zip(blocks[1:], centres, strict=True))
    return ArchetypeModel(
        names=tuple(str(name) for name in model.classes_),
        vectors=tuple(_ARCHETYPE_SCALE),
        intercept=tuple(_short(b) for b in intercept),
        weight=tuple(tuple(_short(w) for w in row) for row in np.concatenate(blocks, axis=1)),
    )


def _quantiles(values: Row, customer: NDArray[np.str_]) -> tuple[float, ...]:
    """A hundred and one quantiles, customers alike: enough for mixtures, and no account of its own."""
    if not len(values):
        return ()
    found = _weighted_quantiles(values, even_weights(customer), np.linspace(0, 1, 101).tolist())
    return tuple(_short(v) for v in found)


def _short(value: float) -> float:
    """Keep six digits: what is written is what is used."""
    return float(f"{value:.6g}")
