"""Language is no evidence: the same requests in other languages score alike."""

import numpy as np
import pytest

from coverage_lab.config import EncoderConfig
from coverage_lab.detect import default_scorecard
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

#: Points of the log-odds. 1.8 was measured with both encoders; 4.0 before language directions were projected
#: out of the probe. Closing the rest is open: a flag in Chinese deserves more doubt than one in English.
MOST_APART = 2.0


def style_points(encoder, card):
    features = np.full((len(SAID), len(card.features)), np.nan)
    means = np.array([encoder.encode(list(texts)).mean(axis=0) for texts in SAID.values()])
    return dict(zip(SAID, card.points(np.column_stack([features, means]))[:, -1], strict=True))


@pytest.mark.parametrize("name", ["static", "minilm"])
def test_style_is_the_same_in_every_language(name):
    card = default_scorecard(name)
    points = style_points(load_encoder(EncoderConfig(name=name, device="cpu"), threads=1), card)
    assert max(points.values()) - min(points.values()) < MOST_APART, points
    assert card.style.benign_p95 - card.style.benign_p05 > max(points.values()) - min(points.values())
