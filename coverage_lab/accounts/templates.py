"""The constant part that an account's prompts share at their beginnings and ends, and the content between.

A product, and a harvest, wrap what varies in an instruction that stays the same. Encoded whole, every prompt
then lies where the instruction lies; so the constant part is told apart before anything is encoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

#: A template is what at least so many of an account's distinct prompts, and such a share of them, begin with.
LEAST_PROMPTS = 8
LEAST_SHARE = 0.1
#: Of the prompts that share a beginning, so many must share its next stretch too for that to be constant.
AGREEMENT = 0.9
#: A stretch counts from so many bytes of UTF-8: about six English words, or ten Chinese characters.
LEAST_OPENING = 32
LEAST_ENDING = 16
#: So much of a prompt is compared at either end.
COMPARED = 8_000

#: Digits are compared as one: "Question 17:" and "Question 18:" begin alike.
_DIGITS = {ord(digit): "0" for digit in "123456789"}


@dataclass(frozen=True, eq=False)
class Templates:
    """Where the content of each prompt begins and ends.

    Attributes
    ----------
    start, stop : int64 (n,)
        Prompt i's content is ``text[start[i]:stop[i]]``; the rest is constant. 0 and the
        length where nothing is.
    opening, ending : int64 (n,)
        Number of the constant beginning and of the constant end that the prompt has; -1 without one.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    opening: NDArray[np.int64]
    ending: NDArray[np.int64]

    @property
    def wrapped(self) -> NDArray[np.bool_]:
        """Prompts that have a constant part, (n,)."""
        found: NDArray[np.bool_] = (self.opening >= 0) | (self.ending >= 0)
        return found


def find_templates(texts: Sequence[str]) -> Templates:
    """Tell the constant part of one account's prompts from their content.

    Prompts are sorted, so that those with the same beginning stand together. A beginning is constant as far
    as `AGREEMENT` of the prompts that share it go on sharing it; where they part, each branch of enough
    prompts is looked at in the same way. Ends are found likewise, on what is left, read backwards.

    Parameters
    ----------
    texts : sequence of str (n,)
        Distinct prompts of one account, of any script, in any order.

    Returns
    -------
    Templates
        Nothing is constant in fewer than `LEAST_PROMPTS` prompts, nor a prompt as a whole.
    """
    least = max(LEAST_PROMPTS, math.ceil(LEAST_SHARE * len(texts)))
    found = _ends(texts, least, _DIGITS)
    # Prompts that differ in numbers only: the numbers are what varies.
    alike = np.flatnonzero(found.stop < 0)
    if len(alike):
        again = _ends([texts[i] for i in alike.tolist()], least, {})
        for mine, theirs in ((found.start, again.start), (found.stop, again.stop)):
            mine[alike] = theirs
        for mine, theirs in ((found.opening, again.opening), (found.ending, again.ending)):
            mine[alike] = np.where(theirs < 0, -1, theirs + len(texts))
    # A prompt that is constant as a whole has no other content than itself.
    whole = found.stop < 0
    found.start[whole], found.opening[whole], found.ending[whole] = 0, -1, -1
    found.stop[whole] = np.fromiter(map(len, texts), np.int64, len(texts))[whole]
    return found


def _ends(texts: Sequence[str], least: int, folded: dict[int, str]) -> Templates:
    """Constant beginnings and ends; `stop` is -1 where a prompt is constant as a whole."""
    size = len(texts)
    length = np.fromiter(map(len, texts), np.int64, size)
    start, opening = np.zeros(size, np.int64), np.full(size, -1, np.int64)
    tail, ending = np.zeros(size, np.int64), np.full(size, -1, np.int64)
    if size >= least:
        heads = [text[:COMPARED].translate(folded) for text in texts]
        start, opening = _shared_beginnings(heads, least, LEAST_OPENING)
        ends = [
            text[max(begin, len(text) - COMPARED) :].translate(folded)[::-1]
            for text, begin in zip(texts, start.tolist(), strict=True)
        ]
        tail, ending = _shared_beginnings(ends, least, LEAST_ENDING)
    stop = np.where(start + tail >= length, -1, length - tail)
    stop[length == 0] = 0
    return Templates(start, stop, opening, ending)


def _shared_beginnings(
    texts: Sequence[str], least: int, bytes_least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Length of each text's constant beginning, and its number (-1: none)."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ordered = [texts[i] for i in order]
    shared = np.fromiter(map(_common, ordered, ordered[1:]), np.int64, max(len(texts) - 1, 0))
    depth = np.zeros(len(texts), np.int64)
    number = np.full(len(texts), -1, np.int64)
    found = 0
    ranges = [(0, len(texts), 0)]
    while ranges:
        first, last, known = ranges.pop()
        if last - first < least:
            continue
        run, reach = _agreed(shared[first : last - 1], last - first)
        low, high = first + run[0], first + run[1]
        reach = _whole_word(ordered[low], reach, known)
        if len(ordered[low][known:reach].encode("utf-8", "surrogatepass")) >= bytes_least:
            depth[low:high], number[low:high] = reach, found
            found += 1
            ranges += [(first, low, known), (low, high, reach), (high, last, known)]
            continue
        # No stretch that nearly all share: look at each branch by itself, if there are several.
        cuts = np.flatnonzero(shared[first : last - 1] < known + bytes_least // 3) + first + 1
        parts = [first, *cuts.tolist(), last]
        if len(parts) > 2:
            ranges += [(a, b, known) for a, b in pairwise(parts) if b - a >= least]
    places, numbers = np.zeros(len(texts), np.int64), np.full(len(texts), -1, np.int64)
    places[order], numbers[order] = depth, number
    return places, numbers


def _agreed(shared: NDArray[np.int64], size: int) -> tuple[tuple[int, int], int]:
    """Longest beginning that `AGREEMENT` of a range's texts share: which of them, and how long it is."""
    window = max(math.ceil(AGREEMENT * size) - 1, 1)
    # Minimum over `window` neighbours from each place on; the filter centres its window.
    lowest = minimum_filter1d(shared, window, origin=-(window // 2))
    lowest = lowest[: len(shared) - window + 1]
    at = int(np.argmax(lowest))
    reach = int(lowest[at])
    low, high = at, at + window
    while low > 0 and shared[low - 1] >= reach:
        low -= 1
    while high < len(shared) and shared[high] >= reach:
        high += 1
    return (low, high + 1), reach


def _whole_word(text: str, reach: int, known: int) -> int:
    """Step back to the end of a word, so that no content loses the head of its first word."""
    while reach > known and text[reach - 1].isalnum() and ord(text[reach - 1]) < 0x2E80:
        reach -= 1
    return reach


def _common(one: str, other: str) -> int:
    """Characters that two texts have in common at their beginning."""
    most = min(len(one), len(other))
    step = 16
    while step < most and one[:step] == other[:step]:
        step *= 2
    low, high = (0 if step == 16 else step // 2), min(step, most)
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True, eq=False)
class Parted:
    """Prompts of many accounts, each parted into instruction and content.

    Attributes
    ----------
    content : list of str (n,)
        What varies; the prompt itself where nothing is constant.
    instruction : list of str (n,)
        The constant part of the prompt's template, the same text for all its prompts; "" without one.
    constant : int64 (n,)
        Characters that are constant.
    """

    content: list[str]
    instruction: list[str]
    constant: NDArray[np.int64]


def part_prompts(texts: Sequence[str], offsets: NDArray[np.int64]) -> Parted:
    """Part every account's prompts into instruction and content.

    Parameters
    ----------
    texts : sequence of str (n,)
    offsets : int64 (A + 1,)
        Account i sent ``texts[offsets[i]:offsets[i + 1]]``. Repeats count once.

    Returns
    -------
    Parted
        In the order of `texts`; depends on which prompts an account sent, not on their order.
    """
    content, instruction = list(texts), [""] * len(texts)
    constant = np.zeros(len(texts), np.int64)
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        if last - first < LEAST_PROMPTS:
            continue
        mine = texts[first:last]
        distinct = sorted(set(mine))
        found = find_templates(distinct)
        wrapped = np.flatnonzero(found.wrapped)
        if not len(wrapped):
            continue
        named: dict[tuple[int, int], str] = {}
        parted: dict[str, tuple[str, str, int]] = {}
        for i in wrapped.tolist():
            text, start, stop = distinct[i], int(found.start[i]), int(found.stop[i])
            within = text[start:stop].strip()
            if not within:
                continue
            template = int(found.opening[i]), int(found.ending[i])
            said = named.setdefault(template, f"{text[:start].strip()} {text[stop:].strip()}".strip())
            parted[text] = within, said, start + len(text) - stop
        for i, text in enumerate(mine, start=first):
            if text in parted:
                content[i], instruction[i], constant[i] = parted[text]
    return Parted(content, instruction, constant)
