"""Groups of accounts that ask alike and harvest nothing: what a search for campaigns must leave alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from coverage_lab.simulate import kinds, pacing
from coverage_lab.simulate.exam import exam
from coverage_lab.simulate.harvest import harvest_bank
from coverage_lab.simulate.kinds import Turn
from coverage_lab.simulate.persona import Persona
from coverage_lab.simulate.purposes import Voice, purposes, tables

#: Accounts of a group.
ACCOUNTS = 10

_SHEET = 60
_LIST = 120
_SEGMENTS = 90
_SHELLS = (
    "You are a helpful assistant with access to tools. Think step by step, then answer.\n\nUser: {}",
    "Answer the question below as best you can, using the context of this conversation.\n\nQuestion: {}",
    "System: you are an agent. Decide what to do next and reply in Markdown.\n\nInput: {}",
)
_LANGUAGES = ("German", "French", "Spanish", "Italian", "Polish", "Dutch", "Czech", "Danish", "Greek", "Thai")


def _dealt(turns: list[Turn], rng: np.random.Generator) -> list[list[Turn]]:
    """Deal turns at random, as a load balancer does."""
    share = rng.permutation(np.arange(len(turns)) % ACCOUNTS)
    return [[turns[i] for i in np.flatnonzero(share == part)] for part in range(ACCOUNTS)]


def evaluation_run(rng: np.random.Generator) -> list[list[Turn]]:
    """One benchmark on ten workers."""
    return _dealt(kinds.evaluation_run(rng), rng)


def task_workers(rng: np.random.Generator) -> list[list[Turn]]:
    """One task with a constant instruction on ten workers."""
    wrapped = [purpose for purpose in purposes(*kinds.WORK) if purpose.constant]
    voice = Voice.drawn(wrapped[int(rng.integers(len(wrapped)))], rng)
    asked = [voice.ask(rng) for _ in range(int(rng.integers(600, 1200)))]
    times = pacing.steady(len(asked), rng)
    return _dealt([Turn(float(s), text) for s, text in zip(times, asked, strict=True)], rng)


def company_keys(rng: np.random.Generator) -> list[list[Turn]]:
    """One company's product under ten keys."""
    turns = kinds.product(rng)
    while len(turns) < 50 * ACCOUNTS:
        turns = kinds.product(rng)
    return _dealt(turns, rng)


def exercise_sheet(rng: np.random.Generator) -> list[list[Turn]]:
    """A class on one sheet of one subject: some questions are put in a student's own words."""
    subjects = list(tables("exam"))
    sheet = exam(_SHEET, rng, subjects=[subjects[int(rng.integers(len(subjects)))]])
    found = []
    for _ in range(ACCOUNTS):
        student = Persona.drawn(rng)
        done = [question for question in sheet if rng.random() < 0.9]
        sent = [text if rng.random() < 0.75 else student.write(text, rng) for text in done]
        (times,) = pacing.sittings(np.array([len(sent)]), rng, zone=0.0)
        found.append([Turn(float(s), text) for s, text in zip(times, sent, strict=True)])
    return found


def prompt_list(rng: np.random.Generator) -> list[list[Turn]]:
    """Users of one popular list of prompts, who ask for things of their own too."""
    popular = harvest_bank(_LIST, rng)
    found = []
    for _ in range(ACCOUNTS):
        own = kinds.person(rng)[:80]
        picked = rng.permutation(_LIST)[: int(rng.integers(50, 100))]
        times = pacing.by_the_hour(len(picked), rng, zone=0.0)
        listed = [Turn(float(s), popular[i]) for s, i in zip(times, picked, strict=True)]
        found.append(own + listed)
    return found


def framework(rng: np.random.Generator) -> list[list[Turn]]:
    """Customers of one framework: its text around the prompts of ten unlike tasks."""
    shell = _SHELLS[int(rng.integers(len(_SHELLS)))]
    own = [kinds.task(rng)[:150] for _ in range(ACCOUNTS)]
    return [[replace(turn, prompt=shell.format(turn.prompt)) for turn in turns] for turns in own]


def named_users(rng: np.random.Generator) -> list[list[Turn]]:
    """A reseller's named end users under ten keys."""
    return _dealt(kinds.multi_tenant(rng)[:1000], rng)


def unnamed_users(rng: np.random.Generator) -> list[list[Turn]]:
    """A reseller's end users under ten keys, none of them named."""
    return [[replace(turn, end_user=None) for turn in turns] for turns in named_users(rng)]


def one_document(rng: np.random.Generator) -> list[list[Turn]]:
    """Translation agencies on one document, each into a language of its own."""
    (purpose,) = (purpose for purpose in purposes(*kinds.WORK) if purpose.name == "translate")
    voice = Voice.drawn(purpose, rng)
    segments = [voice.grammar.expand("#source#", rng) for _ in range(_SEGMENTS)]
    found = []
    for language in rng.permutation(_LANGUAGES)[:ACCOUNTS]:
        times = pacing.by_the_hour(len(segments), rng, zone=0.0)
        asked = [f"Translate into {language}, keep names as they are: {segment}" for segment in segments]
        found.append([Turn(float(s), text) for s, text in zip(times, asked, strict=True)])
    return found


def release_day(rng: np.random.Generator) -> list[list[Turn]]:
    """Ordinary accounts that all begin within ten minutes of a model's release."""
    release = float(rng.uniform(0.3, 0.6)) * pacing.DAY_SECONDS
    found = []
    for i in range(ACCOUNTS):
        turns = (kinds.task, kinds.product, kinds.person)[i % 3](rng)[:200]
        first = min(turn.second for turn in turns)
        room = pacing.DAY_SECONDS - release - 700
        begin = release + float(rng.uniform(0, 600))
        pace = room / pacing.DAY_SECONDS
        found.append([replace(turn, second=begin + pace * (turn.second - first)) for turn in turns])
    return found


#: Kind of group → what draws it: a list of turns for each of its accounts.
LOOK_ALIKES: Mapping[str, Callable[[np.random.Generator], list[list[Turn]]]] = {
    "evaluation run": evaluation_run,
    "task on workers": task_workers,
    "company's keys": company_keys,
    "exercise sheet": exercise_sheet,
    "popular prompts": prompt_list,
    "framework": framework,
    "named users": named_users,
    "unnamed users": unnamed_users,
    "one document": one_document,
    "release day": release_day,
}
