"""Phrases to subtract: numbers, line ends and brackets, in linear time."""

from __future__ import annotations

import pytest

from zimage_app.domain.card import ModelCard
from zimage_app.domain.negpip import Phrase, subtracted
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Text


@pytest.mark.parametrize(
    ("prompt", "negative", "result"),
    [
        ("a, (fog:-1), b", "", ("a,  , b", (Phrase("fog", -1.0),))),
        ("a (fog: -.5 ) b", "", ("a   b", (Phrase("fog", -0.5),))),
        ("(2:-1) (fog:-1.)", "", ("(2:-1) (fog:-1.)", ())),
        ("a ,  \n\n  b \nc", "", ("a , b, c", ())),
        ("a", "fog : 1.5, ", ("a,  ", (Phrase("fog : 1.5", -1.0),))),
        ("a", "fog : 1.5", ("a,  ", (Phrase("fog", -1.5),))),
        ("a.", "(fog) ((rain):2)", ("a.  ,  ", (Phrase("fog", -1.1), Phrase("rain", -2.2)))),
        ("a", "x) (y", ("a,  ,  ", (Phrase("x)", -1.0), Phrase("y", -1.0)))),
    ],
)
def test_phrases_and_what_is_left_of_the_prompt(
    prompt: str, negative: str, result: tuple[str, tuple[Phrase, ...]]
) -> None:
    assert subtracted(prompt, negative) == result


@pytest.mark.parametrize(
    "text",
    [
        "(a:-" + "1" * 300_000,
        "(a:" + " " * 300_000 + "x",
        "a" + " " * 300_000 + "b",
        "a," + " " * 300_000 + "b:1" + " " * 300_000 + "c",
        "(" * 30_000 + "a" + ")" * 30_000,
        "(" * 31 + "(a)" * 10_000 + ")" * 31,
    ],
    ids=["digits", "before a number", "spaces", "around a number", "depth", "width"],
)
def test_long_texts_take_time_by_their_length(text: str) -> None:
    prompt, phrases = subtracted("x", text)  # these took minutes
    assert prompt.startswith("x")
    assert phrases
    assert subtracted(text)[0].startswith(text[:1])


def test_a_plan_reads_the_texts_once_for_each_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*given: object) -> object:
        calls.append(given)
        return subtracted(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("zimage_app.domain.plan.subtracted", counted)
    stages = [{"negpip": {}}, {"negpip": {}}, {"negpip": {"weight": 0.5}, "enabled": False}, {}]
    make_plan(parse_request({"prompt": "x", "negative": "fog", "stages": stages}), ModelCard("a", Text("a"), Text("a")))
    assert calls == [("x",), ("x", "fog", 1.0)]
