"""Negative prompts put together and taken apart."""

from __future__ import annotations

import random
from typing import Any

import pytest

from zimage_app.domain.negatives import (
    NegativeEntry,
    combine,
    holds_phrase,
    nag_need,
    phrases,
    toggled,
    with_nag,
    without_phrase,
)
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import Nag, NegPip
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.domain.text import Text


@pytest.mark.parametrize(
    ("text", "chosen", "result"),
    [
        ("", ["模糊", "水印"], "模糊，水印"),
        ("blurry, text", ["水印"], "blurry, text，水印"),
        ("", ["blurry", "extra fingers"], "blurry, extra fingers"),
        ("bad hands,", ["blurry", "水印", "text"], "bad hands, blurry，水印，text"),
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


def test_help_is_nag_in_the_running_stages_without_an_effect() -> None:
    found = nag_need(enumerate(REFERENCE_STAGES))
    assert found is not None
    assert found.stages == (1, 2)
    assert 0.08 < found.extra < 0.13  # engine/guidance/nag.py: 10 to 12 percent at these sizes
    cached = [(number, stage.model_copy(update={"nag": Nag()})) for number, stage in enumerate(REFERENCE_STAGES)]
    assert nag_need(cached) is None


@pytest.mark.parametrize(
    ("settings", "acts"),
    [
        ({}, False),
        ({"cfg": 2.0}, True),
        ({"nag": Nag()}, True),
        ({"nag": Nag(scale=1.0)}, False),
        ({"nag": Nag(alpha=0.0)}, False),
        ({"negpip": NegPip()}, True),
        ({"negpip": NegPip(weight=0.0)}, False),
    ],
)
def test_what_gives_a_negative_prompt_an_effect(settings: dict[str, Any], acts: bool) -> None:
    assert (nag_need([(0, Stage(**settings))]) is None) == acts


def test_nag_is_switched_on_only_where_it_is_needed() -> None:
    request = GenerationRequest(prompt="x", negative="云", stages=REFERENCE_STAGES)
    assert [stage.nag for stage in with_nag(request).stages or ()] == [None, Nag(), Nag()]
    assert with_nag(with_nag(request)) == with_nag(request)
