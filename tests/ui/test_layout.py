"""Every knob has a place on the page, exactly once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
import pytest
from pydantic import BaseModel, TypeAdapter

from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.settings.stage import STAGE_GROUPS, Stage
from zimage_app.ui.fields.controls import bounds, element_id, stage_form
from zimage_app.ui.fields.layout import GROUPS, SECTIONS, stage_word
from zimage_app.ui.fields.values import COUNT, REQUEST_FIELDS, stage_fields
from zimage_app.ui.page.page import build_page
from zimage_app.ui.words.i18n import catalogue, translations

FIELD_ORDER: dict[type[BaseModel], tuple[str, ...]] = {
    Stage: tuple(field for fields in SECTIONS.values() for field in fields),
    **{STAGE_GROUPS[group]: fields for group, fields in GROUPS.items()},
}


def layout_errors(model: type[BaseModel], order: tuple[str, ...]) -> set[str]:
    """The fields of ``model`` that ``order`` lacks or has twice, and names in it that are no fields."""
    fields = set(model.model_fields)
    return fields.symmetric_difference(order) | {name for name in order if order.count(name) > 1}


class _StageWithMore(Stage):
    brightness: float = 1.0


def test_every_knob_has_a_place() -> None:
    assert set(FIELD_ORDER) == {Stage, *STAGE_GROUPS.values()}
    for model, fields in FIELD_ORDER.items():
        assert layout_errors(model, fields) == set()


def test_a_new_knob_is_missed_until_it_is_placed() -> None:
    assert layout_errors(_StageWithMore, FIELD_ORDER[Stage]) == {"brightness"}
    assert layout_errors(Stage, (*FIELD_ORDER[Stage], "steps")) == {"steps"}
    assert layout_errors(Stage, FIELD_ORDER[Stage][1:]) == {"enabled"}


def test_a_stage_is_drawn_with_every_knob_once() -> None:
    knobs = [knob for section in stage_form()["sections"].values() for knob in section]
    names = Counter(each["name"] for knob in knobs for each in (knob, *knob.get("group", ())))
    assert names == Counter(name for name, _, _ in stage_fields())


def test_the_page_holds_a_control_for_every_field_once(tmp_path: Path) -> None:
    studio = QuickPageStudio(tmp_path)
    page = build_page(studio, translations(studio.cards()), "auto")
    ids = Counter(block.elem_id for block in page.blocks.values() if str(block.elem_id).startswith("knob-"))
    expected = [element_id(name) for name in ("model", *REQUEST_FIELDS, COUNT, "size")]
    assert ids == Counter(expected)


@pytest.mark.parametrize("model", list(FIELD_ORDER))
def test_sliders_stay_inside_the_bounds_of_their_field(model: type[BaseModel]) -> None:
    checked = 0
    for field, info in model.model_fields.items():
        if info.annotation in (int, float):
            low, high, step = bounds(model, field)
            kind: Any = Annotated[info.annotation, *info.metadata]
            check = TypeAdapter(kind)
            for value in (low, high, low + step):
                settled = int(value) if info.annotation is int else value
                assert check.validate_python(settled, strict=True) == value
            checked += 1
    assert checked >= 1


def test_every_text_is_there_in_both_languages() -> None:
    texts = catalogue([])
    assert len(texts) > 80
    assert [key for key, text in texts.items() if not text.en.strip() or not text.zh.strip()] == []
    i18n = translations([])
    assert isinstance(i18n, gr.I18n)
    assert set(i18n.translations["en"]) == set(i18n.translations["zh-CN"]) == set(texts)


def test_both_languages_of_a_sentence_ask_for_the_same_values() -> None:
    import string

    for text in catalogue([]).values():
        names = [{name for _, name, _, _ in string.Formatter().parse(words) if name} for words in (text.en, text.zh)]
        assert names[0] == names[1], text


def test_stages_are_named_by_their_place_in_the_run() -> None:
    assert [stage_word(place, 3) for place in range(3)] == ["stage_draft", "stage_refine", "stage_final"]
    assert [stage_word(place, 4) for place in range(4)][1:3] == ["stage_refine", "stage_refine"]
    assert stage_word(0, 1) == "stage_final"
