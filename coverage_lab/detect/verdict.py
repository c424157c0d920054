"""Score and context → verdict and archetype. The system recommends; people decide."""

from __future__ import annotations

from coverage_lab.config import DetectConfig

#: From this many times ordinary traffic's same-cell pairs on, an account is taken to have one purpose.
NARROW_COLLISION_RATIO = 30.0


#: How far beyond the calibration accounts' sizes a p-value may still carry a review.
SIZE_SLACK = 1.5


def verdict_of(
    *,
    prompts: int,
    end_users: int,
    p_value: float | None,
    calibrated_prompts: tuple[int, int],
    config: DetectConfig,
) -> tuple[str, list[str]]:
    """Decide what a person should do about an account, and say why where the score alone does not.

    Parameters
    ----------
    prompts, end_users : int
        Prompts seen and distinct end users named (0 = none named).
    p_value : float or None
        Conformal p-value; None where there is no calibration for the atlas.
    calibrated_prompts : (int, int)
        Prompts of the smallest and largest calibration account. An account more than `SIZE_SLACK`
        times outside is compared with accounts unlike it in size: watched at most, never for review.

    Returns
    -------
    (verdict, notes)
        Verdict is one of `coverage_lab.schema.VERDICTS`; notes are sentences for the reasons.
    """
    if prompts < config.min_prompts:
        return "inconclusive", [f"Too few prompts to judge: {prompts} (at least {config.min_prompts} needed)"]
    if p_value is None:
        return "inconclusive", ["No benign calibration for this atlas: measures and score only"]
    if p_value > config.watch_p:
        return "clear", []
    if end_users >= config.multi_tenant_end_users:
        return "inconclusive", [
            f"{end_users} end users share this account: breadth is expected of a reseller; "
            "look at its end users one by one before concluding anything"
        ]
    smallest, largest = calibrated_prompts
    if not smallest / SIZE_SLACK <= prompts <= largest * SIZE_SLACK:
        return "watch", [
            f"Its size ({prompts:,} prompts) lies outside the calibration ({smallest:,} to {largest:,}): the "
            "p-value compares it with accounts of another size, so it is watched rather than reviewed"
        ]
    return ("review" if p_value <= config.review_p else "watch"), []


def archetype_of(
    *, verdict: str, prompts: int, end_users: int, middle_collision_ratio: float, config: DetectConfig
) -> str:
    """Name the best simple explanation of an account; one of `coverage_lab.schema.ARCHETYPES`.

    `middle_collision_ratio` is the account's same-cell pairs over ordinary traffic's at the middle
    level: large for one purpose, near 1 for the breadth of everybody together.
    """
    if prompts < config.min_prompts:
        return "unknown"
    if end_users >= config.multi_tenant_end_users:
        return "multi_tenant"
    if verdict in ("watch", "review"):
        return "harvesting"
    if middle_collision_ratio >= NARROW_COLLISION_RATIO:
        return "task_use"
    return "mixed_product"
