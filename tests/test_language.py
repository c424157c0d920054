"""Language is no evidence: the same requests in other languages score alike."""

import numpy as np
import pytest

from coverage_lab.accounts.prompt_features import openings
from coverage_lab.config import EncoderConfig
from coverage_lab.detect import default_scorecard
from coverage_lab.detect.features import FEATURES, Features
from coverage_lab.encoders import load_encoder

#: The same eight everyday requests, written for this test.
SAID = {
    "en": (
        "Where is my parcel? It should have arrived on Tuesday.",
        "Please cancel my hotel booking for next weekend.",
        "How do I reset the password of my account?",
        "What is the weather like in the mountains tomorrow?",
        "My bicycle brakes squeak when it rains. What can I do?",
        "Can you recommend a quiet restaurant near the station?",
        "I was charged twice for the same order.",
        "How long do I have to boil potatoes?",
    ),
    "de": (
        "Wo ist mein Paket? Es hätte am Dienstag ankommen sollen.",
        "Bitte stornieren Sie meine Hotelbuchung für nächstes Wochenende.",
        "Wie setze ich das Passwort meines Kontos zurück?",
        "Wie wird morgen das Wetter in den Bergen?",
        "Meine Fahrradbremsen quietschen, wenn es regnet. Was kann ich tun?",
        "Können Sie ein ruhiges Restaurant in der Nähe des Bahnhofs empfehlen?",
        "Mir wurde dieselbe Bestellung zweimal berechnet.",
        "Wie lange muss ich Kartoffeln kochen?",
    ),
    "zh": (
        "我的包裹在哪里？它本该星期二就到了。",
        "请取消我下周末的酒店预订。",
        "我怎样重置账户的密码？",
        "明天山里的天气怎么样？",
        "下雨的时候我的自行车刹车会响，我该怎么办？",
        "你能推荐一家车站附近安静的餐厅吗？",
        "同一个订单我被收了两次钱。",
        "土豆要煮多久？",
    ),
    "ru": (
        "Где моя посылка? Она должна была прийти во вторник.",
        "Пожалуйста, отмените мою бронь гостиницы на следующие выходные.",
        "Как мне сбросить пароль от моей учётной записи?",
        "Какая завтра погода в горах?",
        "Тормоза моего велосипеда скрипят, когда идёт дождь. Что делать?",
        "Можете посоветовать тихий ресторан рядом с вокзалом?",
        "С меня дважды взяли деньги за один и тот же заказ.",
        "Сколько времени варить картошку?",
    ),
}

#: Points of the log-odds that style and opening words add; 3.8 (static) and 3.3 (minilm) were measured. With
#: language directions from ordinary accounts alone, not all benign ones, it was 2.8 and 2.0, yet 3.9% of 128
#: Chinese accounts were false alarms by static in place of 0.8% (none by minilm either way). Closing the rest
#: is open: a flag in Chinese deserves more doubt than one in English.
MOST_APART = 4.0


def points_by_language(encoder, card):
    texts = [list(said) for said in SAID.values()]
    features = Features(
        named=np.full((len(SAID), len(FEATURES)), np.nan),
        style=np.array([encoder.encode(said).mean(axis=0) for said in texts]),
        wording=np.array([np.asarray(openings(said).mean(axis=0)).ravel() for said in texts]),
        prompts=np.full(len(SAID), 8),
    )
    points = card.points(features)[:, len(FEATURES) : len(FEATURES) + 2].sum(axis=1)
    return dict(zip(SAID, points, strict=True))


@pytest.mark.parametrize("name", ["static", "minilm"])
def test_content_is_scored_alike_in_every_language(name):
    card = default_scorecard(name)
    points = points_by_language(load_encoder(EncoderConfig(name=name, device="cpu"), threads=1), card)
    apart = max(points.values()) - min(points.values())
    assert apart < MOST_APART, points
