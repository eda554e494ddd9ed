"""The library of negative prompts: what its script is told, and in Chromium."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Visit, apply_preset, arrive, ask, expect_state, set_number
from tests.ui.doubles import QuickPageStudio
from tests.ui.page_values import with_values
from zimage_app.domain.request import MAX_PROMPT
from zimage_app.domain.settings.guidance import Nag
from zimage_app.domain.settings.stage import Stage
from zimage_app.ui.fields.values import stages_values
from zimage_app.ui.negatives.negative_picker import negatives
from zimage_app.ui.server.script_functions import script_function

MARKUP = "<img src=x onerror=alert(1)>"
HANDS = """
title: {en: Anatomy, zh: 人体结构}
entries:
  多余的手指: {en: extra fingers, when: {en: Hands close to the camera, zh: 手部靠近镜头时}}
  缺失的手指: {en: missing fingers}
"""


def fill_folder(folder: Path) -> None:
    """Two categories and a broken file."""
    folder.mkdir(parents=True)
    (folder / "10-quality.yaml").write_text(
        f"title: {{en: Flaws, zh: 技术缺陷}}\nentries: {{模糊: {{en: blurry}}, '{MARKUP}': {{}}}}\n", encoding="utf-8"
    )
    (folder / "50-anatomy.yaml").write_text(HANDS, encoding="utf-8")
    (folder / "60-bad.yaml").write_text("entries: [", encoding="utf-8")


@pytest.fixture
def folder(scripted: QuickPageStudio) -> Iterator[Path]:
    """The scripted studio's library."""
    folder = scripted.negatives.folder
    fill_folder(folder)
    scripted.negatives.categories(refresh=True)
    yield folder
    shutil.rmtree(folder)
    scripted.negatives.categories(refresh=True)


# What the script is told.


@pytest.fixture
def studio(tmp_path: Path) -> QuickPageStudio:
    fill_folder(tmp_path / "negative")
    return QuickPageStudio(tmp_path, step_seconds=0.0)


def settings(*stages: Stage, model: str = "three") -> dict[str, Any]:
    texts = {"prompt": "", "negative": "模糊", "triggers": "", "loras": [], "seed": ""}
    return texts | stages_values(stages) | {"model": model}


def test_the_library_is_told_in_the_pages_language(studio: QuickPageStudio) -> None:
    do = script_function(studio, negatives)
    quality, anatomy, bad = do({"do": "library", "language": "zh"})["categories"]
    assert (quality["title"], anatomy["entries"][0]["when"]) == ("技术缺陷", "手部靠近镜头时")
    assert (bad["entries"], "60-bad.yaml 第 1 行" in bad["problem"]) == ([], True)
    english = do({"do": "refresh", "language": "en"})["categories"][1]
    assert (english["title"], english["entries"][0]["when"]) == ("Anatomy", "Hands close to the camera")
    assert "手部" in english["entries"][0]["search"]


def test_the_state_says_phrases_tokens_and_what_would_give_an_effect(studio: QuickPageStudio) -> None:
    do = script_function(studio, negatives)
    off, on = Stage(cfg=1.0), Stage(cfg=2.5)
    assert do({"do": "state", "text": "模糊, a b", "settings": settings(off, off)}) == {
        "phrases": ("模糊", "a b"),
        "tokens": 7,
        "guide": {"stages": [1, 2], "percent": "12"},
    }
    assert do({"do": "state", "text": "模糊", "settings": settings(on, off)})["guide"] == {
        "stages": [2],
        "percent": "4",
    }
    assert do({"do": "state", "text": "模糊", "settings": settings(on, on)})["guide"] is None
    assert do({"do": "state", "text": " ", "settings": settings(off)}) == {"phrases": (), "tokens": 0, "guide": None}
    assert (
        do({"do": "state", "text": "模糊", "settings": with_values(settings(off), {"stages.0.cfg": "x"})})["guide"]
        is None
    )
    assert do({"do": "state", "text": "模糊"})["guide"] is None
    assert do({"do": "state", "text": "模糊", "settings": settings(off, model="gone"), "language": "zh"}) == {
        "error": "没有模型 gone"
    }


def test_refusals_come_in_the_pages_language_and_strangers_change_nothing(studio: QuickPageStudio) -> None:
    do = script_function(studio, negatives)
    assert "逗号" in do({"do": "add", "entry": "a,b", "language": "zh"})["error"]
    assert do({"do": "add", "entry": " ", "language": "zh"})["error"] == "词条为空；请填写一个词组"
    assert "no entry" in do({"do": "mark", "entry": "没有", "language": "en"})["error"]
    studio.shared = True
    assert do({"do": "library"})["allowed"] is False
    for action in ("add", "remove", "mark", "unmark", "nonsense"):
        assert "shared page" in do({"do": action, "entry": "新的"})["error"]
    assert not (studio.negatives.folder / "my.yaml").exists()


# In Chromium.


def open_library(page: Page, category: str = "") -> None:
    page.locator(".negatives summary").click()
    if category:
        page.locator(".negatives .categories button", has_text=category).click()


def field(page: Page) -> Any:
    return page.locator("#knob-negative textarea")


@pytest.mark.usefixtures("folder")
def test_chips_go_in_and_out_of_what_was_typed(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    field(page).fill("自己的, 模糊")
    open_library(page)
    chips = page.locator(".negatives .put")
    expect(chips.first).to_have_attribute("aria-pressed", "true")
    page.locator(".negatives .categories button", has_text="人体结构").click()
    chips.nth(0).click()
    chips.nth(1).click()
    expect(field(page)).to_have_value("自己的, 模糊，多余的手指，缺失的手指")
    expect(page.locator(".negatives .count")).to_have_text("已选 3 条 · 19 个词元")
    chips.nth(0).click()
    expect(field(page)).to_have_value("自己的, 模糊，缺失的手指")
    expect(chips.nth(0)).to_have_attribute("aria-pressed", "false")
    expect(chips.nth(1)).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(300)
    arrive(page)
    expect(field(page)).to_have_value("自己的, 模糊，缺失的手指")
    expect(page.locator(".negatives .count")).to_contain_text("已选 2 条")
    ask(page, "小船")
    expect_state(page, "done")
    assert scripted.today()[0].record.request.negative == "自己的, 模糊，缺失的手指"


@pytest.mark.usefixtures("folder")
def test_search_looks_everywhere_in_both_languages(visit: Visit) -> None:
    page = visit(locale="en-US")
    open_library(page)
    chips = page.locator(".negatives .put")
    expect(chips.first).to_contain_text("blurry")
    expect(chips.nth(1)).to_have_text(f"{MARKUP}")
    search = page.locator(".negatives input[type=search]")
    for text, found in (("FINGERS", 2), ("手部 fingers", 1), ("ｂｌｕｒ", 1), ("zzz", 0)):
        search.fill(text)
        expect(chips).to_have_count(found)
    expect(page.locator(".negatives .none")).to_have_text("Nothing matches.")
    expect(page.locator(".negatives .problems li")).to_contain_text("60-bad.yaml, line 1")
    search.fill("camera")
    chips.first.focus()
    expect(page.locator(".negatives .about")).to_have_text("extra fingers  多余的手指 · Hands close to the camera")
    page.keyboard.press("Space")
    expect(field(page)).to_have_value("多余的手指")
    expect(chips.first).to_be_focused()


def test_favourites_own_entries_new_files_and_the_order_of_what_is_found(visit: Visit, folder: Path) -> None:
    page = visit()
    open_library(page, "人体结构")
    page.locator(".negatives .star").nth(1).click()
    expect(page.locator(".negatives .star").nth(1)).to_have_attribute("aria-pressed", "true")
    page.locator(".negatives .categories button", has_text="收藏").click()
    expect(page.locator(".negatives .put")).to_have_text(["缺失的手指"])
    page.locator(".negatives .own .text").fill("发灰, 发白")
    page.locator(".negatives .own button").click()
    expect(page.locator(".negatives .answer")).to_contain_text("应为不含逗号的单个词组")
    page.locator(".negatives .own .text").fill(MARKUP.replace("x", "y"))
    page.locator(".negatives .own .text").press("Enter")
    expect(field(page)).to_have_value(MARKUP.replace("x", "y"))
    expect(page.locator(".negatives .categories [aria-pressed=true]")).to_have_text("我的词条")
    (folder / "70-new.yaml").write_text("title: {en: New, zh: 新文件}\nentries: {糊: {}}\n", encoding="utf-8")
    page.locator(".negatives .refresh").click()
    expect(page.locator(".negatives .categories button", has_text="新文件")).to_be_visible()
    page.locator(".negatives .remove").click()
    expect(page.locator(".negatives .remove")).to_have_text("确定删除？")
    expect(page.locator(".negatives .categories button", has_text="我的词条")).to_have_count(1)
    page.locator(".negatives .remove").click()
    expect(page.locator(".negatives .categories button", has_text="我的词条")).to_have_count(0)
    assert (folder / ".favourites.yaml").read_text("utf-8") == "- 缺失的手指\n"
    assert field(page).input_value() == MARKUP.replace("x", "y")
    # A search lists the category with most that fits first.
    things = "title: {en: Things, zh: 物件}\nentries: {手机界面: {en: phone interface}}\n"
    (folder / "40-things.yaml").write_text(things, encoding="utf-8")
    page.locator(".negatives .refresh").click()
    page.locator(".negatives input[type=search]").fill("手")
    expect(page.locator(".negatives .put")).to_have_text(["多余的手指", "缺失的手指", "手机界面"])


@pytest.mark.usefixtures("folder")
def test_without_guidance_the_page_offers_it(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit(locale="en-US")
    field(page).fill("blurry")
    apply_preset(page, "model:single_stage")
    # What is typed before the single stage has been filled in would be overwritten by it.
    expect(page.locator("#knob-stages-0-width input[type=number]")).to_have_value("336")
    expect(page.locator(".negatives .guide")).to_be_hidden()
    set_number(page, "stages-0-cfg", 1)
    expect(page.locator("#notes-negative")).to_contain_text("no effect")
    guide = page.locator(".negatives .guide button")
    expect(guide).to_have_text(re.compile(r"Without effect in stage 1\. Switch NAG on there \(about \d+ % more time\)"))
    page.locator("#stage-0 summary", has_text="Guidance").click()
    strength = page.locator("#knob-stages-0-nag-scale input[type=number]")
    expect(strength).to_be_hidden()
    guide.click()
    expect(page.locator("#knob-stages-0-nag input")).to_be_checked()
    expect(strength).to_be_visible()
    expect(page.locator("#notes-negative")).not_to_contain_text("no effect")
    expect(guide).to_be_hidden()
    ask(page, "boat")
    expect_state(page, "done")
    stages = scripted.today()[0].record.request.stages
    assert stages is not None
    assert (stages[0].cfg, stages[0].nag) == (1.0, Nag())


@pytest.mark.usefixtures("folder")
def test_everything_has_a_name_and_fits_a_phone(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    open_library(page, "人体结构")
    page.locator(".negatives .put").first.tap()
    expect(field(page)).to_have_value("多余的手指")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    nameless = page.locator(".negatives button, .negatives input").evaluate_all(
        "nodes => nodes.filter((node) => node.offsetParent"
        " && !(node.getAttribute('aria-label') || node.textContent)).length"
    )
    assert nameless == 0


def test_a_longer_text_than_a_prompt_is_refused(studio: QuickPageStudio) -> None:
    do = script_function(studio, negatives)
    longest, longer = "模糊，" * (MAX_PROMPT // 3), "模糊，" * MAX_PROMPT
    assert do({"do": "toggle", "text": longest, "entry": "模糊"})["text"] == ""
    for order in ({"do": "toggle", "text": longer, "entry": "模糊"}, {"do": "state", "text": longer}):
        assert do(order)["error"] == "A negative prompt may have at most 8000 characters."
    assert "最多 8000 个字符" in do({"do": "add", "entry": longer, "language": "zh"})["error"]
