"""Score and context → verdict and archetype. The system recommends; people decide."""

from __future__ import annotations

from coverage_lab.config import DetectConfig

#: Archetypes that sweep on purpose and in good faith: a person is told, but the account is not for review.
GOOD_FAITH = {
    "evaluation_run": "an evaluation run (a published benchmark's questions)",
    "red_team_research": "red-team or safety research",
}

#: How far beyond the calibration accounts' sizes a p-value may still carry a review.
SIZE_SLACK = 1.5

#: An account with a larger share of prompts without readable text is inconclusive.
UNREADABLE_SHARE = 0.5

#: An account with no more different texts than these (a health probe, a cron job) is never flagged.
FEW_TEXTS = 3


def verdict_of(
    *,
    prompts: int,
    end_users: int,
    p_value: float | None,
    probable: tuple[str, float] | None,
    calibrated_prompts: tuple[int, int],
    config: DetectConfig,
    told_by_texts: str | None = None,
) -> tuple[str, list[str]]:
    """Decide what a person should do about an account, and say why where the score alone does not.

    Parameters
    ----------
    prompts, end_users : int
        Prompts seen and distinct end users named (0 = none named).
    p_value : float or None
        Conformal p-value; None where there is no calibration for the atlas.
    probable : (str, float) or None
        Likeliest archetype and its probability. One of `GOOD_FAITH` is watched at most. "multi_tenant"
        makes a raised score inconclusive where no end user is named: nobody can be told apart then.
    calibrated_prompts : (int, int)
        Prompts of the smallest and largest calibration account. An account more than `SIZE_SLACK`
        times outside is compared with accounts unlike it in size: watched at most, never for review.
    told_by_texts : str or None
        Why the account's texts give no ground for a verdict: it is inconclusive then, for this reason.

    Returns
    -------
    (verdict, notes)
        Verdict is one of `coverage_lab.schema.VERDICTS`; notes are sentences for the reasons.
    """
    if prompts < config.min_prompts:
        return "inconclusive", [f"Too few prompts to judge: {prompts} (at least {config.min_prompts} needed)"]
    if told_by_texts is not None:
        return "inconclusive", [told_by_texts]
    if p_value is None:
        return "inconclusive", ["No benign calibration for this atlas: measures and score only"]
    if p_value > config.watch_p:
        return "clear", []
    if end_users >= config.multi_tenant_end_users:
        return "inconclusive", [
            f"{end_users} end users share this account: breadth is expected of a reseller; "
            "look at its end users one by one before concluding anything"
        ]
    if end_users == 0 and probable is not None and probable[0] == "multi_tenant":
        return "inconclusive", [
            f"It looks like many users behind one account, probability {probable[1]:.0%}, whose breadth is "
            "no sign of harvesting: ask for end-user ids and look at its end users one by one"
        ]
    smallest, largest = calibrated_prompts
    if not smallest / SIZE_SLACK <= prompts <= largest * SIZE_SLACK:
        return "watch", [
            f"Its size ({prompts:,} prompts) lies outside the calibration ({smallest:,} to {largest:,}): the "
            "p-value compares it with accounts of another size, so it is watched rather than reviewed"
        ]
    if probable is not None and probable[0] in GOOD_FAITH:
        return "watch", [
            f"It reads most like {GOOD_FAITH[probable[0]]}, probability {probable[1]:.0%}: such accounts "
            "sweep on purpose, so it is watched rather than reviewed"
        ]
    if p_value > config.review_p:
        return "watch", []
    if probable is not None and probable[0] != "harvesting":
        return "review", [
            f"Its archetype alone would read as {probable[0].replace('_', ' ')}, probability "
            f"{probable[1]:.0%}: weigh that against the points below"
        ]
    return "review", []


def few_texts(distinct: int, prompts: int) -> str | None:
    """Say that an account sent so few different texts that they cover nothing; None where it sent more.

    Parameters
    ----------
    distinct : int
        Different texts of the account; 0 where nobody looked.
    prompts : int
        Prompts that were looked at.
    """
    if not 0 < distinct <= FEW_TEXTS:
        return None
    return (
        f"It sent {distinct} {'text' if distinct == 1 else 'different texts'} in {prompts:,} "
        "prompts, apart from digits, punctuation and case: so few cover nothing"
    )


def archetype_of(
    *, verdict: str, prompts: int, end_users: int, probable: tuple[str, float] | None, config: DetectConfig
) -> str:
    """Name the best explanation of an account; one of `coverage_lab.schema.ARCHETYPES`.

    What the context says comes first: too few prompts leave it unknown, many named end users make it
    multi-tenant. An account that is up for review is harvesting, whatever else is likelier by the archetype
    model; "harvesting" is never said of an account whose score is not unusual.
    """
    if prompts < config.min_prompts or probable is None:
        return "unknown"
    if end_users >= config.multi_tenant_end_users:
        return "multi_tenant"
    if verdict == "review":
        return "harvesting"
    if probable[0] == "harvesting" and verdict != "watch":
        return "unknown"
    return probable[0]
