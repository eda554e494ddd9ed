"""Negative prompts put together and taken apart."""

from __future__ import annotations

import random

import pytest

from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO, Limits, ModelCard, Span
from zimage_app.domain.negatives import (
    NegativeEntry,
    combine,
    guiding_stage,
    holds_phrase,
    phrases,
    toggled,
    without_phrase,
)
from zimage_app.domain.request import REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text

OFF = Stage(cfg=1.0)
PLAIN = ModelCard("plain", Text("p", "p"), Text("p", "p"), stages=(OFF,))


@pytest.mark.parametrize(
    ("text", "chosen", "result"),
    [
        ("", ["模糊", "水印"], "模糊，水印"),
        ("blurry, text", ["水印"], "blurry, text，水印"),
        ("模糊，", ["模糊", "水印"], "模糊，水印"),
        ("模糊、噪点\n", ["噪点", " 水印 ", "水印"], "模糊、噪点，水印"),
        ("ＨＤＲ 过度", ["hdr  过度"], "ＨＤＲ 过度"),
        ("十分模糊", ["模糊"], "十分模糊，模糊"),
        ("  typed  ", [], "  typed  "),
        ("  typed  ", ["", "  "], "  typed  "),
        ("，", ["模糊"], "模糊"),
    ],
)
def test_what_was_typed_stays_and_nothing_stands_twice(text: str, chosen: list[str], result: str) -> None:
    assert combine(chosen, text) == result
    assert combine(chosen, result) == result


@pytest.mark.parametrize(
    ("text", "phrase", "result"),
    [
        ("模糊，水印，噪点", "水印", "模糊，噪点"),
        ("模糊，水印", "水印", "模糊"),
        ("模糊，水印", "模糊", "水印"),
        ("a, b, c", "A", "b, c"),
        ("a, b, c", "b", "a, c"),
        ("a, b, a", "a", "b"),
        ("a，\nb", "b", "a"),
        ("a", "a", ""),
        ("十分模糊", "模糊", "十分模糊"),
    ],
)
def test_a_phrase_is_taken_out_with_its_separator(text: str, phrase: str, result: str) -> None:
    assert without_phrase(text, phrase) == result


def test_any_order_of_toggles_gives_each_chosen_phrase_once() -> None:
    draw = random.Random(7)
    pool = ["模糊", "水印", "多余的手指", "HDR 过度", "Q 版"]
    for _ in range(200):
        text = own = draw.choice(["", "typed", "typed, 自己的，", "一；二"])
        on: list[str] = []
        for phrase in draw.choices(pool, k=12):
            text = toggled(text, phrase)
            on = [each for each in on if each != phrase] if phrase in on else [*on, phrase]
        assert phrases(text) == (*phrases(own), *on)
        assert all(holds_phrase(text, phrase) == (phrase in on) for phrase in pool)


def test_an_entry_is_found_in_either_language_however_it_is_written() -> None:
    entry = NegativeEntry("HDR 过度", "overdone HDR", Text("Unreal landscapes", "风景不真实"))
    for search in ("", "hdr", "ＨＤＲ", "过度", "OVER hdr", "风景", "landscapes 过"):
        assert entry.matches(search), search
    for search in ("hdr portrait", "over-done", "指"):
        assert not entry.matches(search), search


def test_the_stage_that_would_give_an_effect_is_the_first_that_runs() -> None:
    assert guiding_stage((OFF, OFF), Z_IMAGE_TURBO) == (0, REFERENCE_STAGES[0].cfg) == (0, 2.0)
    assert guiding_stage((Stage(enabled=False, cfg=7.0), OFF), Z_IMAGE) == (1, 4.0)
    assert guiding_stage((OFF, Stage(cfg=1.5)), Z_IMAGE) is None
    assert guiding_stage((Stage(enabled=False),), Z_IMAGE) is None
    assert guiding_stage((OFF,), PLAIN) == (0, 2.0)


@pytest.mark.parametrize(("high", "result"), [(3.5, (0, 3.5)), (1.0, None)])
def test_a_card_without_guidance_is_asked_for_its_limits(high: float, result: object) -> None:
    steps, cfg = Span(1, 9), Span(1.0, high)
    card = ModelCard("x", PLAIN.title, PLAIN.description, stages=(OFF,), limits=Limits(steps, cfg))
    assert guiding_stage((OFF,), card) == result
