"""By the prompt: what the model reads, wildcards, and the browser's history of prompts; in Chromium too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.service.lora_files import write_lora
from tests.ui.conftest import Visit, arrive, ask, expect_state
from tests.ui.doubles import QuickPageStudio
from zimage_app.ui.fields.values import stages_values
from zimage_app.ui.prompt import prompt_tools
from zimage_app.ui.server.script_functions import script_function

MARKUP = "<img src=x onerror=alert(1)>"


def fill_folder(folder: Path) -> None:
    (folder / "my").mkdir(parents=True)
    for name, text in {"time": "# When\ndawn\nnoon\n", "时间": "清晨\n正午\n黄昏\n", "my/odd": f"{MARKUP}\n"}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    (folder / "bad.txt").write_bytes("红".encode("gb18030"))


@pytest.fixture
def folder(scripted: QuickPageStudio) -> Iterator[Path]:
    """The scripted studio's lists."""
    folder = scripted.wildcards.folder
    fill_folder(folder)
    yield folder
    shutil.rmtree(folder)


# What the script is told.


@pytest.fixture
def studio(tmp_path: Path) -> QuickPageStudio:
    fill_folder(tmp_path / "wildcards")
    return QuickPageStudio(tmp_path, step_seconds=0.0)


def reads(studio: QuickPageStudio, prompt: str, language: str = "en", example: int = 0, **values: object) -> Any:
    settings = {"prompt": prompt, "negative": "", "triggers": "", "loras": [], "seed": "7", "model": "quick"}
    settings |= stages_values(studio.card("quick").stages) | values
    order = {"do": "preview", "settings": settings, "language": language, "example": example}
    return script_function(studio, prompt_tools.prompt)(order)


def test_lists_are_told_with_samples_and_problems(studio: QuickPageStudio) -> None:
    lists = script_function(studio, prompt_tools.prompt)({"do": "wildcards", "language": "zh"})["lists"]
    bad, odd, time, chinese = lists
    assert time == {"name": "time", "about": "When", "lines": ("dawn", "noon"), "count": 2, "problem": ""}
    assert "不是 UTF-8" in bad["problem"]
    assert (odd["name"], odd["lines"], chinese["count"]) == ("my/odd", (MARKUP,), 3)


def test_what_the_model_reads_is_told_with_its_tokens(studio: QuickPageStudio) -> None:
    told = reads(studio, "a boat")
    assert told == {
        "text": "a boat",
        "same": True,
        "words": (),
        "loras": [],
        "tokens": 6,
        "limit": 1000,
        "problem": "",
        "combinations": "",
        "drawn": "",
        "example": False,
    }
    told = reads(studio, "a boat", triggers="ink, boat")
    assert (told["text"], told["same"], told["words"], told["tokens"]) == ("ink, a boat", False, ("ink",), 11)
    assert reads(studio, "x" * 1001, "zh")["problem"] == "共 1001 个词元，而此模型最多接受 1000 个；请缩短"
    assert reads(studio, "x" * 8001, "zh")["problem"].endswith("最多 8000 个字符")
    blank = reads(studio, "  ", triggers="ink")
    assert (blank["text"], blank["same"], blank["tokens"]) == ("", True, 0)
    assert reads(studio, "a", seed="x") == {}


def test_what_is_drawn_is_told_by_the_seed_or_as_an_example(studio: QuickPageStudio) -> None:
    told = reads(studio, "a {red|blue} boat at __time__", triggers="{x|y, z}")
    assert (told["combinations"], told["example"], told["same"]) == ("8", False, False)
    assert told["drawn"] == "{red|blue}  __time__  {x|y, z}"
    assert told == reads(studio, "a {red|blue} boat at __time__", triggers="{x|y, z}", example=5)
    texts = {reads(studio, "{a|b|c} __time__", seed="", example=turn)["text"] for turn in range(30)}
    assert texts == {f"{letter} {time}" for letter in "abc" for time in ("dawn", "noon")}
    assert reads(studio, "{a|b}", seed="")["example"] is True
    many = "{" + "|".join("abcdefghij") + "}"
    assert reads(studio, many * 15)["combinations"] == "10^15"


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [("{a|", "{a| the choice is not closed"), ("__tim__", "there is no wildcard __tim__; there are time")],
)
def test_what_is_wrong_with_a_choice_is_told_at_once(studio: QuickPageStudio, prompt: str, problem: str) -> None:
    assert reads(studio, prompt)["problem"].startswith(problem)


def test_a_lora_whose_words_are_drawn_is_not_taken_for_a_tag(studio: QuickPageStudio) -> None:
    write_lora(studio.loras.folder / "ink.safetensors")
    told = reads(studio, "a boat", loras=[{"name": "ink", "triggers": ["{x|y}"]}])
    assert (told["loras"], told["combinations"]) == ([], "2")
    assert told["words"] in (("x",), ("y",))
    assert reads(studio, "a boat <lora:ink:0.5>")["loras"] == ["ink 0.5"]


# In Chromium.


def prompt_of(page: Page) -> Locator:
    return page.locator("#knob-prompt textarea")


def rows(page: Page) -> Locator:
    return page.locator(".prompt-tools .panel li")


def open_panel(page: Page, name: str) -> None:
    page.locator(f".prompt-tools .open[data-panel={name}]").click()
    expect(page.locator(".prompt-tools .panel input")).to_be_focused()


@pytest.mark.usefixtures("folder")
def test_a_wildcard_is_found_inserted_drawn_and_remembered(visit: Visit) -> None:
    page = visit()
    prompt_of(page).fill("一艘小船，")
    open_panel(page, "wildcards")
    expect(rows(page).locator(".text")).to_have_text(["__时间__", "__bad__", "__my/odd__", "__time__"])
    expect(rows(page).nth(1).locator(".put")).to_be_disabled()
    page.keyboard.type("黄昏")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(prompt_of(page)).to_have_value("一艘小船，__时间__")
    expect(page.locator(".prompt-tools .count")).to_contain_text("3 种组合")
    expect(page.locator(".reading .text")).to_contain_text("一艘小船，")
    expect(page.locator(".reading b")).to_have_text("例如：")
    page.keyboard.press("Escape")
    expect(page.locator(".prompt-tools .panel")).to_be_hidden()
    expect(page.locator(".open[data-panel=wildcards]")).to_be_focused()
    page.locator("#knob-seed input").fill("11")
    expect(page.locator(".reading b")).to_have_text("模型读到：")
    said = page.locator(".reading .text").text_content()
    page.locator("#generate").click()
    expect_state(page, "done")
    expect(page.locator(".facts dd").first).to_have_text(said or "")
    expect(page.locator(".facts")).to_contain_text("一艘小船，__时间__")
    prompt_of(page).fill("别的")
    page.locator(".canvas .acts").get_by_role("button", name="使用此参数").click()
    expect(prompt_of(page)).to_have_value("一艘小船，__时间__")


@pytest.mark.usefixtures("folder")
def test_lines_can_be_looked_at_and_markup_in_them_stays_text(visit: Visit) -> None:
    page = visit(locale="en-US", viewport={"width": 390, "height": 844})
    prompt_of(page).fill("{a|")
    expect(page.locator(".prompt-tools .problem")).to_contain_text("the choice is not closed")
    prompt_of(page).fill("")
    open_panel(page, "wildcards")
    row = rows(page).filter(has_text="__my/odd__")
    row.locator(".look").click()
    row.locator(".line").click()
    expect(prompt_of(page)).to_have_value(MARKUP)
    assert page.locator(".prompt-tools img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_prompts_are_kept_in_this_browser_searched_pinned_and_deleted(visit: Visit) -> None:
    page = visit()
    for text in ("第一 apple", "第二 banana", f"第三 {MARKUP}"):
        ask(page, text)
        expect_state(page, "done")
        expect(page.locator("#generate")).to_be_enabled()
    arrive(page)
    open_panel(page, "history")
    expect(rows(page).locator(".text")).to_have_text([f"第三 {MARKUP}", "第二 banana", "第一 apple"])
    rows(page).nth(2).locator(".pin").click()
    expect(rows(page).first.locator(".text")).to_have_text("第一 apple")
    expect(rows(page).first.locator(".pin")).to_be_focused()
    page.locator(".panel input").fill("BANANA")
    expect(rows(page)).to_have_count(1)
    rows(page).first.locator(".put").click()
    expect(prompt_of(page)).to_have_value("第二 banana")
    expect(prompt_of(page)).to_be_focused()
    open_panel(page, "history")
    rows(page).filter(has_text="apple").locator(".away").click()
    expect(rows(page)).to_have_count(2)
    page.locator(".panel .all").click()
    expect(page.locator(".panel .all")).to_have_text("确定全部删除？")
    expect(rows(page)).to_have_count(2)
    page.locator(".panel .all").click()
    expect(page.locator(".panel .none")).to_contain_text("仅保存在本浏览器")
    ask(page, "后来的")
    expect(rows(page)).to_have_count(1)
    page.locator(".panel .undo").click()
    expect(rows(page).locator(".text")).to_have_text(["后来的", f"第三 {MARKUP}", "第二 banana"])


def test_alt_arrows_step_through_the_history_and_what_was_typed_and_not_sent_is_not_lost(visit: Visit) -> None:
    page = visit()
    page.evaluate(
        "list => localStorage.setItem('zimage-studio-prompts', list)",
        json.dumps([{"text": text, "at": 1, "sent": True} for text in ("new", "old")]),
    )
    prompt_of(page).click()
    page.keyboard.type("draft")
    for key, text in (
        ("Up", "new"),
        ("Up", "old"),
        ("Up", "old"),
        ("Down", "new"),
        ("Down", "draft"),
        ("Down", "draft"),
    ):
        page.keyboard.press(f"Alt+Arrow{key}")
        expect(prompt_of(page)).to_have_value(text)
    page.evaluate("localStorage.removeItem('zimage-studio-prompts')")
    prompt_of(page).fill("")
    page.keyboard.type("没有发送的提示词")
    page.locator(".examples button").first.click()
    expect(prompt_of(page)).to_have_value("红色小船")
    open_panel(page, "history")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("没有发送的提示词")
    expect(rows(page).first).to_contain_text("未生成")


def test_a_storage_that_is_damaged_or_full_costs_nothing(visit: Visit) -> None:
    page = visit()
    page.evaluate("localStorage.setItem('zimage-studio-prompts', '{\"not\": [a list')")
    open_panel(page, "history")
    expect(page.locator(".panel .none")).to_be_visible()
    page.keyboard.press("Escape")
    page.evaluate(
        "localStorage.setItem('zimage-studio-prompts', JSON.stringify([null, 3, {text: ''}, {text: 'good'}]))"
    )
    open_panel(page, "history")
    expect(rows(page).locator(".text")).to_have_text(["good"])
    page.keyboard.press("Escape")
    page.evaluate(
        "localStorage.setItem('zimage-studio-prompts', JSON.stringify([...Array(300).keys()].map((n) =>"
        " ({text: `p${n}`, at: n, sent: true, pinned: n === 199}))))"
    )
    ask(page, "newest")
    expect_state(page, "done")
    stored = page.evaluate("JSON.parse(localStorage.getItem('zimage-studio-prompts')).map((entry) => entry.text)")
    assert (len(stored), stored[0], stored[-1]) == (200, "newest", "p199")
