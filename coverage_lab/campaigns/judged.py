"""A group judged as one account, and what to make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coverage_lab.accounts import AccountStates, measure
from coverage_lab.campaigns.pool import pooled, thinned
from coverage_lab.config import DetectConfig
from coverage_lab.detect import Judge
from coverage_lab.detect.features import features_of
from coverage_lab.detect.mixture import HarvestedShare
from coverage_lab.detect.reasons import reasons
from coverage_lab.detect.verdict import GOOD_FAITH, few_texts, verdict_of
from coverage_lab.schema import LEVELS

#: Archetypes that explain a group that sweeps, where one is so many times as probable as harvesting.
_EXPLAINED = {
    "task_use": "one task",
    "mixed_product": "a product with several purposes",
    "personal_use": "people's own use",
    "data_processing": "data processing with a constant instruction",
    "evaluation_run": "an evaluation run",
    "red_team_research": "red-team or safety research",
}
EXPLAINED_TIMES = 2.0
#: From this probability up that it is many users behind one account a group is held for that.
SHARED_PROBABILITY = 0.5
#: From this probability up that it sweeps in good faith (`GOOD_FAITH`, all of them together) a group is
#: watched at most, whatever is likelier still. Of evaluation runs that stand as high as harvests do half
#: are told by it, of harvests one in ten.
GOOD_FAITH_PROBABILITY = 0.35

#: A group whose typical member sent at least this share of its different texts in common with others, where
#: members repeat one another at least so many times more than themselves, goes through one list.
SHARED_TEXTS = 0.2
SHARED_RATIO = 2.0


@dataclass(frozen=True)
class PooledJudgement:
    """What the detector says of all prompts of a group together; None and nothing without a scorecard.

    `chances` are the probabilities of the archetypes.
    `prompts` and `texts` are the prompts that were judged and the different texts among them;
    `calibrated_prompts` are those of the smallest and the largest account that they are compared with.
    """

    score: float | None
    p_value: float | None
    chances: Mapping[str, float]
    end_users: int
    prompts: int
    texts: int
    calibrated_prompts: tuple[int, int]
    reasons: list[str]

    @property
    def archetype(self) -> str:
        """The likeliest archetype; "unknown" without a scorecard."""
        return max(self.chances, key=self.chances.__getitem__, default="unknown")

    @property
    def archetype_probability(self) -> float | None:
        """Its probability; None without a scorecard."""
        return max(self.chances.values(), default=None)

    @property
    def good_faith(self) -> float:
        """Probability of all archetypes that sweep in good faith together (`GOOD_FAITH`)."""
        return sum(self.chances.get(name, 0.0) for name in GOOD_FAITH)


def judge_pool(states: AccountStates, judge: Judge, *, name: str) -> PooledJudgement:
    """Judge the members of a group as one account, at a size that the scorecard was calibrated on.

    Parameters
    ----------
    states : AccountStates
        Of the members.
    judge : Judge
        Whose encoder and atlas made the states; a cascade's first stage.
    name : str
        What the account is called.
    """
    whole = pooled(states, name=name)
    end_users = int(whole.end_users.counts(1)[0])
    card = judge.scorecard
    if card is None:
        texts = len(np.unique(whole.digests))
        prompts = len(whole.digests)
        return PooledJudgement(None, None, {}, end_users, prompts, texts, (0, 0), [])
    one = thinned(whole, most=card.calibrated_prompts[1])
    features = features_of(one, measure(one, judge.atlas).values, middle_cells=judge.atlas.sizes[1])
    points = card.points(features)
    score = card.score(points)
    chances = card.archetype_chances(features)[0].tolist()
    unknown = np.full(1, np.nan)
    told = reasons(
        card,
        features,
        share=HarvestedShare(unknown, unknown, unknown),
        account_ids=one.account_ids,
        topics={},
        topic_labels=judge.atlas.names[LEVELS.index("middle")],
    )[0]
    return PooledJudgement(
        score=float(score[0]),
        p_value=float(card.p_value(score, one.prompts)[0]),
        chances=dict(zip(card.archetypes.names, chances, strict=True)),
        end_users=end_users,
        prompts=len(one.digests),
        texts=len(np.unique(one.digests)),
        calibrated_prompts=card.calibrated_prompts,
        reasons=[reason.sentence for reason in told],
    )


def group_verdict(
    judged: PooledJudgement, *, shared_texts: float, text_ratio: float, config: DetectConfig
) -> tuple[str, list[str]]:
    """Decide what a person should do about a group whose accounts are linked, and say why.

    What holds of any account holds of the group taken as one (`coverage_lab.detect.verdict.verdict_of`): too
    few prompts or texts, many users behind it, another size than was calibrated. What explains a group away
    comes on top.

    Parameters
    ----------
    judged : PooledJudgement
    shared_texts : float
        Share of its different texts that another member sent too, of the median member, 0..1.
    text_ratio : float
        How much oftener members repeat one another than themselves (`meeting_ratio` of texts); NaN where
        nobody repeats anything.
    config : DetectConfig

    Returns
    -------
    (verdict, notes)
        "clear" is no campaign: a group that covers ground as ordinary accounts do, that goes through one
        list, or that has another explanation. Notes are sentences.
    """
    p_value, archetype, probability = judged.p_value, judged.archetype, judged.archetype_probability
    if p_value is None or probability is None:
        return "inconclusive", ["No benign calibration for this atlas: the accounts are alike, no more"]
    verdict, notes = verdict_of(
        prompts=judged.prompts,
        end_users=judged.end_users,
        p_value=p_value,
        probable=(archetype, probability) if probability >= SHARED_PROBABILITY else None,
        calibrated_prompts=judged.calibrated_prompts,
        config=config,
        told_by_texts=few_texts(judged.texts, judged.prompts),
    )
    told = [f"Taken as one account: {note[0].lower()}{note[1:]}" for note in notes]
    if verdict == "clear" or p_value > config.watch_p:
        return "clear", ["Together they cover ground as ordinary accounts do"]
    if shared_texts >= SHARED_TEXTS and np.nan_to_num(text_ratio) >= SHARED_RATIO:
        return "clear", [
            f"{shared_texts:.0%} of a typical one's texts came from others of them too: they go through one "
            "list, as a class on one exercise sheet does, and don't divide it"
        ]
    if verdict == "inconclusive":
        return verdict, told
    if archetype in _EXPLAINED and probability >= EXPLAINED_TIMES * judged.chances.get("harvesting", 0.0):
        return "clear", [f"Together they read as {_EXPLAINED[archetype]}, probability {probability:.0%}"]
    if archetype != "harvesting":
        return "watch", [
            f"Together they read most like {archetype.replace('_', '-')}, probability {probability:.0%}: "
            "watched rather than reviewed"
        ]
    if verdict == "review" and judged.good_faith >= GOOD_FAITH_PROBABILITY:
        return "watch", [
            f"Together they may be {' or '.join(GOOD_FAITH.values())}, probability {judged.good_faith:.0%}: "
            "such groups sweep on purpose, so this one is watched rather than reviewed; ask whose questions "
            "they are"
        ]
    return verdict, told
