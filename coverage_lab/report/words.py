"""The report's vocabulary: what verdicts, archetypes and terms are called for people.

Levels and measures have their words in `coverage_lab.schema`.
"""

from __future__ import annotations

from typing import NamedTuple


class Verdict(NamedTuple):
    """How a verdict is shown; the sign repeats the colour for those who can't tell colours apart."""

    rank: int
    sign: str
    symbol: str  # the same shape by Plotly's name
    meaning: str


VERDICTS = {
    "review": Verdict(0, "▲", "triangle-up", "a person should look at this account now"),
    "watch": Verdict(1, "◆", "diamond", "unusual; look again when there is more traffic"),
    "inconclusive": Verdict(
        2, "○", "circle-open", "too few prompts, or mixed traffic that can't be told apart"
    ),
    "clear": Verdict(3, "●", "circle", "nothing unusual in how it covers the ground"),
}


def rank_of(verdict: str) -> int:
    """Position of a verdict from the gravest, 0; one that is not known comes last."""
    return VERDICTS[verdict].rank if verdict in VERDICTS else len(VERDICTS)


ARCHETYPES = {
    "task_use": "task use",
    "mixed_product": "mixed product",
    "personal_use": "personal use",
    "multi_tenant": "multi-tenant",
    "data_processing": "data processing",
    "evaluation_run": "evaluation run",
    "red_team_research": "red-team research",
    "harvesting": "harvesting",
    "unknown": "unknown",
}

#: What a reviewer weighs beside score and p-value; each is in the glossary.
ARCHETYPE = "Archetype"
HARVESTED_SHARE = "Harvested share"
Q_VALUE = "q-value"
WITHOUT_TOP = "Score without its top topics"
NOT_KNOWN = "n/a"


class Line(NamedTuple):
    """One line of a growth plot."""

    key: str  # column prefix of schema.CURVES, and the colour's name
    title: str
    meaning: str
    dash: str


ACCOUNT_LINE = Line(
    "account", "This account", "distinct cells after n prompts, in the order they came", "solid"
)
NULL_LINES = (
    Line("own", "Own prompts, shuffled", "the same prompts in random order (rarefaction)", "dot"),
    Line("reference", "Ordinary traffic", "as many prompts drawn from ordinary use", "dash"),
    Line("uniform", "Uniform sweep", "every cell equally likely, as a systematic sweep would", "dashdot"),
)

GLOSSARY = (
    (
        "Account",
        "Whatever the input calls account_id. One account may be one person, one product or many users.",
    ),
    (
        "Atlas",
        "A frozen map of what people ask models to do, cut into cells at three levels: coarse (broad "
        "topics), middle (topics), fine (narrow topics). Numbers from different atlases are never mixed.",
    ),
    (
        "Cell",
        "A small region of that map: prompts that are alike in meaning. Its label is a hint, not a rule.",
    ),
    (
        "Novelty",
        "How unlike a prompt is to the closest earlier one of its account: 0 is a repeat, 1 is unrelated.",
    ),
    (
        "Growth curve",
        "How many different cells an account has reached after each number of prompts. People return to "
        "their tasks, so the curve bends; a sweep keeps climbing.",
    ),
    (
        "Rarefaction",
        "The growth curve that the account's own prompts would give in random order. A curve that runs above "
        "it reached new ground sooner than chance would.",
    ),
    (
        "Ordinary traffic",
        "The mix of cells in the traffic that the atlas was built from, every account weighing the same.",
    ),
    ("Uniform sweep", "An imagined account that visits every cell with the same chance."),
    (
        "Score",
        "From 0 to 1: how much an account's measures look like harvesting to the model. It is not the "
        "probability that the account harvests.",
    ),
    (
        "p-value",
        "How often an ordinary account of similar size would score at least this high. 0.01 means one in a "
        "hundred, so among many accounts some reach it by chance alone.",
    ),
    (
        "Prompt bank",
        "A set of prompts that was collected or made, for training or testing a model, rather than asked by "
        "people or products for a purpose of their own.",
    ),
    (
        "Instruction",
        "The constant words that many prompts of an account share at their beginning or end. What varies "
        "between them is the content.",
    ),
    (
        "Sign of harvesting",
        "A kind of evidence that moved the score: strong from half of the most that one kind can add, some "
        "from a quarter, little from a tenth. Its value is 0 at the median of ordinary accounts of its size "
        "and 1 at their 95th percentile; how many of them it exceeds is estimated by a normal curve through "
        "the two. Points are what it adds to the score’s log-odds.",
    ),
    (
        "Percentile",
        "The share of the other accounts in this run with a smaller value; ties count half. Beside the signs "
        "of harvesting: of ordinary accounts of its size, estimated.",
    ),
    (
        Q_VALUE,
        "The p-value adjusted for how many accounts the run judged (Benjamini–Hochberg). Of accounts with "
        "q at most 0.1, on average at most one in ten is there by chance.",
    ),
    (
        ARCHETYPE,
        "The explanation that fits best, with the model’s probability where it was asked. All kinds count as "
        "equally common beforehand. A hint for the reviewer, not a finding.",
    ),
    (
        HARVESTED_SHARE,
        "Estimated share of the account’s prompts that is harvested, told from how they read, with a 90% "
        "interval. An interval from 0% says that it may as well be none.",
    ),
    (
        WITHOUT_TOP,
        "What the score would be had the account not sent the prompts in its three top narrow topics: the "
        "measures of its ground without them, everything else as it is. A score that falls shows that one "
        "narrow topic carries it. n/a: the score is not unusual, or hardly anything is left.",
    ),
    (
        "Quarantine",
        "Rows that could not be used, kept apart with their reason; they are in no number above.",
    ),
)
