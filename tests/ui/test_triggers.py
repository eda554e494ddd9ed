"""Trigger words as chips: typed, pasted, removed, moved by keyboard and mouse, and those of LoRAs among them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.service.lora_files import write_lora
from tests.ui.conftest import Visit, arrive, ask, expect_state
from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.request import GenerationRequest

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture
def inks(scripted: QuickPageStudio) -> Iterator[Path]:
    """Two LoRAs with trigger words."""
    folder = scripted.loras.folder
    folder.mkdir(exist_ok=True)
    for name, words in {"ink": "[水墨, 留白, 飞白]", "oil": "[油画, 水墨]"}.items():
        write_lora(folder / f"{name}.safetensors")
        (folder / f"{name}.yaml").write_text(f"triggers: {words}\n", encoding="utf-8")
    scripted.loras.entries(refresh=True)
    yield folder
    shutil.rmtree(folder)
    scripted.loras.entries(refresh=True)


def field(page: Page) -> Locator:
    return page.locator(".triggers input")


def chips(page: Page) -> Locator:
    return page.locator(".triggers .chip")


def expect_words(page: Page, *words: str) -> None:
    expect(page.locator(".triggers .chip .word")).to_have_text(list(words))


def expect_value(page: Page, value: str) -> None:
    """What the server will get."""
    expect(page.locator("#knob-triggers input")).to_have_value(value)


def request_of(page: Page, scripted: QuickPageStudio, prompt: str = "小船") -> GenerationRequest:
    ask(page, prompt)
    expect_state(page, "done")
    return scripted.today()[0].record.request


def test_words_are_typed_with_enter_and_commas_and_pasted(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    field(page).click()
    page.keyboard.type("水墨")
    page.keyboard.press("Enter")
    page.keyboard.type("留白，")
    page.keyboard.type(f"{{淡, 轻|浓}},{MARKUP}、")
    expect_words(page, "水墨", "留白", "{淡, 轻|浓}", MARKUP)
    page.keyboard.insert_text("a, b，last")
    expect_words(page, "水墨", "留白", "{淡, 轻|浓}", MARKUP, "a", "b")
    expect(field(page)).to_have_value("last")
    expect_value(page, f"水墨, 留白, {{淡, 轻|浓}}, {MARKUP}, a, b, last")
    page.keyboard.type(",留白,")
    expect_words(page, "水墨", "留白", "{淡, 轻|浓}", MARKUP, "a", "b", "last")
    arrive(page)
    expect_words(page, "水墨", "留白", "{淡, 轻|浓}", MARKUP, "a", "b", "last")
    assert page.locator(".triggers img").count() == 0
    drawn = request_of(page, scripted)
    assert drawn.typed.triggers == ("水墨", "留白", "{淡, 轻|浓}", MARKUP, "a", "b", "last")
    assert drawn.triggers[2] in ("淡, 轻", "浓")


def test_what_is_still_being_typed_counts_but_no_comma_of_an_unfinished_chinese_word(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    page = visit()
    field(page).click()
    cdp = page.context.new_cdp_session(page)
    cdp.send("Input.imeSetComposition", {"text": "shui,", "selectionStart": 5, "selectionEnd": 5})
    expect(field(page)).to_have_value("shui,")
    expect(chips(page)).to_have_count(0)
    cdp.send("Input.insertText", {"text": "水墨"})
    page.keyboard.press("Enter")
    expect_words(page, "水墨")
    field(page).fill("留白")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#notice")).to_contain_text("提示词")
    assert request_of(page, scripted).triggers == ("水墨", "留白")
    expect_words(page, "水墨", "留白")


def test_words_are_moved_and_removed_with_the_keyboard_and_with_the_mouse(visit: Visit) -> None:
    page = visit()
    field(page).fill("a, b, c,")
    field(page).press("ArrowLeft")
    expect(chips(page).nth(2)).to_be_focused()
    page.keyboard.press("Alt+ArrowLeft")
    expect_words(page, "a", "c", "b")
    expect(chips(page).nth(1)).to_be_focused()
    expect(page.locator(".triggers [role=status]")).to_have_text("c 已移到第 2 位（共 3 个）")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Alt+ArrowRight")
    expect_words(page, "c", "a", "b")
    expect_value(page, "c, a, b")
    word, first = (chips(page).nth(place).locator(".word") for place in (2, 0))
    # The chips are drawn anew when the server has told what the prompt reads, so no place is remembered here.
    word.drag_to(first, source_position={"x": 3, "y": 5}, target_position={"x": 4, "y": 5}, steps=8)
    expect_words(page, "b", "c", "a")
    expect_value(page, "b, c, a")
    field(page).fill("d,")
    expect_words(page, "b", "c", "a", "d")
    field(page).click()
    page.keyboard.press("Backspace")
    expect_words(page, "b", "c", "a")
    page.get_by_role("button", name="移除触发词 b").click()
    expect_words(page, "c", "a")
    expect(chips(page).first).to_be_focused()
    page.keyboard.press("Delete")
    expect_words(page, "a")
    expect(page.locator(".triggers [role=status]")).to_have_text("已移除 c")
    page.keyboard.press("Backspace")
    expect(chips(page)).to_have_count(0)
    expect(field(page)).to_be_focused()
    expect_value(page, "")


@pytest.mark.usefixtures("inks")
def test_words_of_loras_come_first_once_and_can_be_taken_off(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.locator(".loras .add").click()
    for name in ("ink", "oil"):
        page.locator(f".studio-loras .card[data-name={name}]").click()
    page.locator(".studio-loras .done").click()
    field(page).fill("free,")
    expect_words(page, "水墨", "留白", "飞白", "油画", "free")
    expect(page.locator(".triggers .chip .name")).to_have_text(["ink", "ink", "ink", "oil"])
    chips(page).nth(1).press("Delete")
    expect_words(page, "水墨", "飞白", "油画", "free")
    chips(page).nth(1).press("Alt+ArrowLeft")
    expect_words(page, "飞白", "水墨", "油画", "free")
    page.locator("#knob-prompt textarea").fill("飞白的山")
    expect(chips(page).first).to_have_class("chip of held")
    expect(page.locator(".reading .text")).to_have_text("水墨, 油画, free, 飞白的山")
    made = request_of(page, scripted, "飞白的山")
    assert [use.triggers for use in made.loras] == [("飞白", "水墨"), ("油画", "水墨")]
    assert made.triggers == ("free",)


def test_on_a_phone_words_stay_inside_and_wrong_ones_are_marked(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, locale="en-US")
    field(page).fill(f"{'词' * 201},")
    ask(page, "boat")
    expect(page.locator("#notice .notice")).to_contain_text("Trigger words: ")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
