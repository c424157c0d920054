"""One account of each kind: what it asks, when, in which sittings, for which end users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from coverage_lab.simulate import pacing
from coverage_lab.simulate.exam import exam
from coverage_lab.simulate.harvest import harvest_bank
from coverage_lab.simulate.persona import Persona
from coverage_lab.simulate.purposes import Purpose, Voice, purposes
from coverage_lab.simulate.variety import Said

WORK = ("work_text", "work_code", "work_shop")
LIFE = ("person_home", "person_life")
ABROAD = ("languages",)
TOOLS = ("emails", "code_review", "formulas")  # purposes of companies that single people have too

KINDS = (
    "task",
    "product",
    "person",
    "multi_tenant",
    "evaluation_run",
    "red_team",
    "harvest",
    "split_harvest",
)
SPLIT_OVER = 10


@dataclass(frozen=True)
class Turn:
    """One prompt of an account, `second` after midnight UTC."""

    second: float
    prompt: str
    session: str | None = None
    end_user: str | None = None


def _size(low: int, typical: float, high: int, rng: np.random.Generator) -> int:
    return int(np.clip(rng.lognormal(np.log(typical), 0.5), low, high))


def _some(found: Sequence[Purpose], count: int, rng: np.random.Generator) -> list[Purpose]:
    return [found[i] for i in rng.permutation(len(found))[:count]]


def _plain(prompts: Sequence[str], seconds: NDArray[np.float64]) -> list[Turn]:
    return [Turn(float(second), prompt) for second, prompt in zip(seconds, prompts, strict=True)]


def _turn(voice: Voice, may_follow: bool, writer: Persona, rng: np.random.Generator) -> str:
    """Compose a fresh request or, within a sitting, a short follow-up: alone, doubled, or with a request."""
    if not may_follow or rng.random() >= 0.45:
        return writer.write(voice.ask(rng), rng)
    text, more = voice.follow_up(rng), rng.random()
    if more < 0.35:
        text = f"{text.rstrip('. ')}{'' if text.endswith('?') else '.'} {voice.follow_up(rng)}"
    elif more < 0.45:
        text = f"{text.rstrip('. ')}{'' if text.endswith('?') else '.'} {voice.ask(rng)}"
    return writer.write(text, rng)


def _sitting(
    voices: Sequence[Voice],
    weights: NDArray[np.float64],
    size: int,
    writer: Persona,
    said: Said,
    rng: np.random.Generator,
) -> list[str]:
    """Turns of one sitting: one subject, follow-ups, now and then the same again or another subject."""
    voice = voices[int(rng.choice(len(voices), p=weights))]
    prompts: list[str] = []
    for turn in range(size):
        if prompts and rng.random() < 0.015 and said.may_repeat(prompts[-1]):
            said.note(prompts[-1])
            prompts.append(prompts[-1])
            continue
        if turn and rng.random() < 0.1:
            voice = voices[int(rng.choice(len(voices), p=weights))]
        prompts.append(said.fresh(partial(_turn, voice, bool(turn), writer, rng)))
    return prompts


def _sittings_of(
    count: int,
    voices: Sequence[Voice],
    writer: Persona,
    said: Said,
    rng: np.random.Generator,
    *,
    zone: float,
    mean: float,
) -> list[Turn]:
    """`count` turns in sittings of about `mean`."""
    weights = rng.dirichlet(np.full(len(voices), 2.0))
    sizes: list[int] = []
    while sum(sizes) < count:
        sizes.append(min(1 + int(rng.geometric(1 / mean)), count - sum(sizes)))
    turns = []
    for times in pacing.sittings(np.array(sizes), rng, zone=zone):
        session = rng.bytes(4).hex()
        prompts = _sitting(voices, weights, len(times), writer, said, rng)
        turns += [Turn(float(s), p, session) for s, p in zip(times, prompts, strict=True)]
    return turns


def _people(rng: np.random.Generator, count: int) -> tuple[list[Voice], Persona]:
    """Draw what one person writes about, and how."""
    if rng.random() < 0.2:
        own = _some(purposes(*ABROAD), 1, rng)
        return [Voice.drawn(purpose, rng) for purpose in own], Persona.drawn(rng, tidy=True)
    own = _some(purposes(*LIFE), count, rng)
    if rng.random() < 0.5:
        own += _some([purpose for purpose in purposes(*WORK) if purpose.name in TOOLS], 1, rng)
    return [Voice.drawn(purpose, rng) for purpose in own], Persona.drawn(rng)


def person(rng: np.random.Generator) -> list[Turn]:
    """One individual over a day, about a handful of own subjects."""
    voices, writer = _people(rng, int(rng.integers(3, 7)))
    count, zone = _size(70, 110, 260, rng), float(rng.integers(-8, 10))
    return _sittings_of(count, voices, writer, Said(count), rng, zone=zone, mean=7.0)


def task(rng: np.random.Generator) -> list[Turn]:
    """A customer with one purpose; where it has a constant instruction, a program sends it."""
    voice = Voice.drawn(_some(purposes(*WORK), 1, rng)[0], rng)
    count, zone = _size(90, 260, 1200, rng), float(rng.integers(-8, 10))
    if voice.instruction is not None:
        times = pacing.steady(count, rng) if rng.random() < 0.5 else pacing.by_the_hour(count, rng, zone=zone)
        return _plain([voice.ask(rng) for _ in range(count)], times)
    return _population(count, [voice], int(np.ceil(count / 6)), zone, rng)


def _population(
    count: int, voices: Sequence[Voice], users: int, zone: float, rng: np.random.Generator
) -> list[Turn]:
    """Turns of `users` people, each with their own way of writing, all with the account's voices."""
    turns: list[Turn] = []
    said = Said(count)
    for share in rng.multinomial(count, rng.dirichlet(np.full(users, 1.5))):
        if share:
            turns += _sittings_of(int(share), voices, Persona.drawn(rng), said, rng, zone=zone, mean=4.0)
    return turns


def product(rng: np.random.Generator) -> list[Turn]:
    """A product with two to six purposes, whose users come back to them."""
    own = _some(
        [purpose for purpose in purposes(*WORK) if not purpose.constant], int(rng.integers(2, 7)), rng
    )
    count = _size(120, 260, 900, rng)
    zone = float(rng.integers(-8, 10))
    return _population(count, [Voice.drawn(purpose, rng) for purpose in own], count // 7, zone, rng)


def multi_tenant(rng: np.random.Generator) -> list[Turn]:
    """A reseller: 50 to 300 end users, each with subjects of their own."""
    turns: list[Turn] = []
    for number in range(int(rng.integers(50, 301))):
        voices, writer = _people(rng, int(rng.integers(1, 4)))
        count = int(np.clip(rng.geometric(1 / 7), 1, 40))
        zone = float(rng.integers(-8, 10))
        own = _sittings_of(count, voices, writer, Said(count), rng, zone=zone, mean=5.0)
        turns += [Turn(turn.second, turn.prompt, turn.session, f"u{number:03d}") for turn in own]
    return turns[:1500]


def evaluation_run(rng: np.random.Generator) -> list[Turn]:
    """A benchmark, subject after subject."""
    count = _size(300, 600, 1200, rng)
    return _plain(exam(count, rng), pacing.one_run(count, rng))


def red_team(rng: np.random.Generator) -> list[Turn]:
    """Safety research in working hours: probes with variations."""
    voice = Voice.drawn(purposes("red_team")[0], rng)
    writer = Persona.drawn(rng, tidy=True)
    count, zone = _size(120, 220, 400, rng), float(rng.integers(-8, 3))
    return _sittings_of(count, [voice], writer, Said(count), rng, zone=zone, mean=15.0)


def harvest(rng: np.random.Generator) -> list[Turn]:
    """One account that collects a broad training set, day and night."""
    count = _size(700, 1000, 1500, rng)
    return _plain(harvest_bank(count, rng), pacing.steady(count, rng))


def split_harvest(rng: np.random.Generator) -> list[list[Turn]]:
    """One harvest bank, shuffled and dealt over ten accounts of 300 to 700 prompts."""
    sizes = rng.integers(300, 701, SPLIT_OVER)
    bank = harvest_bank(int(sizes.sum()), rng)
    shuffled = [bank[i] for i in rng.permutation(len(bank))]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    return [_plain(shuffled[low:high], pacing.steady(int(high - low), rng)) for low, high in pairwise(bounds)]
