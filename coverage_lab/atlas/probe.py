"""Sentences whose vectors show that an encoder still is the one that an atlas was built with."""

from __future__ import annotations

import numpy as np

from coverage_lab.atlas.model import Atlas
from coverage_lab.encoders import Encoder
from coverage_lab.errors import AtlasError

#: Part of every atlas: changing one needs a new atlas format.
PROBE = (
    "Write a short letter that thanks a neighbour for watering the plants.",
    "What is the difference between a stack and a queue?",
    "def area(width, height):\n    return width * height",
    "SELECT name, price FROM products WHERE price > 10 ORDER BY name;",
    "Solve for x: 3x + 7 = 22.",
    "Summarise the causes of the tides in two sentences.",
    "Translate 'good morning' into five languages.",
    "Which vitamins are found in carrots?",
    "Welche Zutaten braucht man für einen einfachen Apfelkuchen?",
    "¿Cómo se calcula el interés compuesto de un préstamo?",
    "Explique en une phrase ce qu'est la photosynthèse.",
    "Составь список вещей для похода на три дня.",
    "请用一句话说明地球为什么有四季。",
    "電車の時刻表の読み方を教えてください。",
    "اكتب وصفاً قصيراً لمدينة ساحلية.",
    "कृपया पानी बचाने के तीन उपाय बताइए।",
)

#: Least cosine between the encoder's vectors now and those in the atlas. Lower precision keeps 0.9998,
#: another CPU more; another model or pooling is far below.
MIN_COSINE = 0.999


def check_encoder(atlas: Atlas, encoder: Encoder) -> None:
    """Raise AtlasError unless `encoder` gives the vectors that `atlas` was built with.

    Ids must be equal, and each vector of `PROBE` must have a cosine of at least 0.999 to the atlas' own.
    """
    if encoder.id != atlas.encoder_id:
        raise AtlasError(
            f"atlas {atlas.id[:12]} was built with encoder '{atlas.encoder_name}' ({atlas.encoder_id[:12]}), "
            f"got '{encoder.name}' ({encoder.id[:12]}): choose that encoder or another atlas"
        )
    now = encoder.encode(PROBE)
    if now.shape != atlas.probe.shape:
        raise AtlasError(f"encoder '{encoder.name}': expected {atlas.dim} dimensions, got {now.shape[1]}")
    cosines = np.einsum("ij,ij->i", now, atlas.probe, dtype=np.float64)
    if not cosines.min() >= MIN_COSINE:
        raise AtlasError(
            f"encoder '{encoder.name}' gives other vectors here than when atlas {atlas.id[:12]} was built: "
            f"expected a cosine of {MIN_COSINE} or more on every probe sentence, got {cosines.min():.4f}"
        )
