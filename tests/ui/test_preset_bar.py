"""The preset bar: what its script is told, and in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Visit, arrive, ask, expect_state, set_number
from tests.ui.doubles import QUICK, THREE, QuickPageStudio
from tests.ui.page_values import with_values
from zimage_app.domain.preset import checked
from zimage_app.domain.settings.stage import Stage
from zimage_app.ui.fields.values import stages_values
from zimage_app.ui.presets.preset_bar import preset_card, preset_values, presets
from zimage_app.ui.server.script_functions import script_function

MARKUP = "<img src=x onerror=alert(1)>"
FAST = """
title: {en: Fast, zh: 快速}
description: {en: One stage., zh: 一个阶段。}
negative: 模糊
stages:
  - {width: 128, height: 128, steps: 3, cfg: 2.0, sampler: heun, scheduler: simple}
"""


def fill_folder(folder: Path) -> None:
    """A preset for each thing that one may do, and a broken one."""
    folder.mkdir(parents=True)
    files = {
        "fast": FAST,
        "three": f"title: {{en: Three, zh: '{MARKUP}'}}\nmodel: three\n",
        "gone": "model: gone\ntriggers: [水墨]\n",
        "strength": "lora_strength: 0.6\n",
        "bad": "stages:\n  - {steps: 900}\n",
    }
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(scripted: QuickPageStudio) -> Iterator[Path]:
    """The scripted studio's presets."""
    folder = scripted.presets.folder
    fill_folder(folder)
    yield folder
    shutil.rmtree(folder)


# What the script is told.


@pytest.fixture
def studio(tmp_path: Path) -> QuickPageStudio:
    fill_folder(tmp_path / "presets")
    return QuickPageStudio(tmp_path, step_seconds=0.0)


def page_values(**values: Any) -> dict[str, Any]:
    plain = {"prompt": "", "negative": "", "triggers": "", "loras": [], "seed": "", "model": "quick"}
    return with_values(plain | stages_values(QUICK.stages), values)


def test_presets_are_told_in_the_pages_language(studio: QuickPageStudio) -> None:
    do = script_function(studio, presets)
    listed = {each["name"]: each for each in do({"do": "list", "language": "zh"})["presets"]}
    assert [listed["fast"][part] for part in ("title", "about", "group")] == ["快速", "一个阶段。", "shipped"]
    assert "bad.yaml 第 2 行第 13 个字符" in listed["bad"]["problem"]
    english = do({"do": "list", "language": "en"})
    assert (english["allowed"], english["presets"][3]["title"]) == (True, "Fast")
    assert [each["title"] for each in english["presets"][:2]] == ["Recommended settings", "Single stage"]
    assert listed["model:recommended"]["group"] == "model"


def test_the_state_says_what_differs(studio: QuickPageStudio) -> None:
    do = script_function(studio, presets)

    def state(name: str, **values: Any) -> Any:
        return do({"do": "state", "name": name, "settings": page_values(**values), "language": "en"})

    same = stages_values(checked_stages(studio, "fast"))
    assert state("fast", negative="模糊", **same) == {"differences": []}
    assert state("fast", negative="模糊", **with_values(same, {"stages.0.cfg": 1.5})) == {
        "differences": [{"title": "Stage 1: CFG", "preset": "2", "given": "1.5"}]
    }
    assert state("three")["differences"][0] == {"title": "Model", "preset": "three", "given": "quick"}
    assert len(state("three")["differences"]) > 1
    assert state("three", model="three", **stages_values(THREE.stages)) == {"differences": []}
    assert state("fast", **{"stages.0.steps": "x"}) == {"differences": None}
    assert do({"do": "state", "name": "fast"}) == {"differences": None}
    assert state("model:recommended", model="three", **stages_values(THREE.stages)) == {"differences": []}
    single = state("model:single_stage", model="three", **stages_values(THREE.stages))["differences"]
    assert single[-1] == {"title": "Stage 3: Use this stage", "preset": "✗", "given": "✓"}
    none = state("none")
    assert "is no preset" in none["error"]
    assert "none" not in [each["name"] for each in none["presets"]]
    assert "bad.yaml, line 2, column 13" in state("bad")["error"]


def checked_stages(studio: QuickPageStudio, name: str) -> tuple[Stage, ...]:
    stages = studio.presets.load(name).stages
    assert stages is not None
    return stages


def test_a_preset_sets_what_it_names_and_nothing_else(studio: QuickPageStudio) -> None:
    def values(name: str, **page_values: Any) -> dict[str, Any]:
        preset = studio.presets.load(name)
        return preset_values(preset, preset_card(studio, preset, QUICK), page_values)

    fast = values("fast")
    assert (fast["negative"], [stage["sampler"] for stage in fast["stages"]]) == ("模糊", ["heun"])
    assert not {"prompt", "triggers", "loras", "seed"} & set(fast)
    assert values("three") == stages_values(THREE.stages)
    assert values("gone") == {"triggers": "水墨"}
    assert values("strength", loras=[{"name": "ink", "strength": 1.0}]) == {"loras": [{"name": "ink", "strength": 0.6}]}


def test_page_settings_are_kept_and_refused_in_the_pages_language(studio: QuickPageStudio) -> None:
    do = script_function(studio, presets)
    order = {"do": "save", "name": "我的", "settings": page_values(negative="水印", seed="5"), "language": "zh"}
    assert do(order)["chosen"] == "我的"
    kept = studio.presets.load("我的")
    assert set(kept.settings) == {"model", "negative", "stages"}
    assert kept.stages == QUICK.stages
    assert kept.settings == checked(kept.settings)
    assert "已存在" in do(order)["error"]
    whole = order | {"whole": True, "replace": True, "settings": page_values(prompt="小船", seed="5")}
    assert do(whole)["chosen"] == "我的"
    assert studio.presets.load("我的").settings["prompt"] == "小船"
    assert studio.presets.load("我的").settings["seed"] == 5
    blank = order | {"name": "空", "whole": True}
    assert do(blank)["chosen"] == "空"
    assert "prompt" not in studio.presets.load("空").settings
    assert "必须是整数" in do(order | {"name": "x", "settings": page_values(**{"stages.0.steps": 2.5})})["error"]
    assert "不能用作文件名" in do(order | {"name": "a/b"})["error"]
    studio.shared = True
    for action in ("save", "rename", "delete", "nonsense"):
        assert "不能修改预设" in do(order | {"do": action})["error"]
    assert do({"do": "list"})["allowed"] is False


# In Chromium.


def choose(page: Page, name: str) -> None:
    page.locator(".presets select").select_option(name)


@pytest.mark.usefixtures("folder")
def test_a_preset_is_chosen_compared_applied_and_used(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.locator("#knob-triggers input").fill("留白")
    choose(page, "fast")
    expect(page.locator(".presets .about")).to_have_text("一个阶段。")
    summary = page.locator(".presets summary")
    expect(summary).to_have_text("5 项与预设不同")
    summary.click()
    row = page.locator(".presets tbody tr", has_text="采样器")
    expect(row.locator("td")).to_have_text(["第 1 阶段 采样器", "heun", "euler"])
    expect(page.locator(".presets .problems li")).to_contain_text("bad.yaml 第 2 行第 13 个字符")
    page.locator(".presets .apply").click()
    expect(summary).to_have_text("当前参数与预设一致。")
    expect(page.locator(".notice span")).to_have_text("已填入预设「快速」。")
    expect(page.locator("#knob-negative textarea")).to_have_value("模糊")
    expect(page.locator("#knob-triggers input")).to_have_value("留白")
    page.locator(".notice .undo").click()
    expect(summary).to_have_text("5 项与预设不同")
    expect(page.locator("#knob-negative textarea")).to_have_value("")
    page.locator(".presets .apply").click()
    expect(summary).to_have_text("当前参数与预设一致。")
    expect(page.locator(".presets .answer")).to_be_empty()
    with page.expect_event("requestfinished", lambda request: "/run/predict" in request.url):
        page.locator(".presets .apply").click()
    expect(page.locator(".presets .answer")).to_have_text("当前参数与预设一致。")
    set_number(page, "stages-0-steps", 4)
    expect(summary).to_have_text("1 项与预设不同")
    page.wait_for_timeout(300)
    arrive(page)
    expect(page.locator(".presets select")).to_have_value("fast")
    expect(summary).to_have_text("1 项与预设不同")
    ask(page, "小船")
    expect_state(page, "done")
    made = scripted.today()[0].record.request
    assert made.stages is not None
    assert (made.negative, made.stages[0].steps, made.stages[0].sampler) == ("模糊", 4, "heun")
    assert [stage.enabled for stage in made.stages] == [True]


@pytest.mark.usefixtures("folder")
def test_a_preset_brings_its_model_or_says_that_it_is_not_here(visit: Visit) -> None:
    page = visit(locale="en-US")
    model, steps = page.locator("#knob-model input"), page.locator("#knob-stages-0-steps input[type=number]")
    set_number(page, "stages-0-steps", 5)
    choose(page, "three")
    page.locator(".presets .apply").click()
    expect(model).to_have_value("Three stages")
    expect(steps).to_have_value("9")
    expect(page.locator(".presets summary")).to_have_text("All of it is set.")
    # A model that comes while its selector has the focus is no choice.
    expect(page.locator(".notice .undo")).to_be_visible()
    model.focus()
    page.evaluate("document.querySelector('.notice .undo').click()")
    expect(steps).to_have_value("5")
    page.locator("#knob-prompt textarea").focus()
    page.locator(".picture-size .swap").click()  # is answered after what the page would do about the model
    expect(page.locator(".picture-size.turned")).to_be_visible()
    expect(steps).to_have_value("5")
    expect(model).to_have_value("Quick gradients")
    page.locator(".presets .apply").click()
    expect(model).to_have_value("Three stages")
    choose(page, "gone")
    page.locator(".presets .apply").click()
    expect(page.locator(".notice")).to_contain_text("is for the model gone, which is not here")
    expect(model).to_have_value("Three stages")
    expect(page.locator("#knob-triggers input")).to_have_value("水墨")


def test_own_presets_are_saved_replaced_renamed_and_deleted(
    visit: Visit, scripted: QuickPageStudio, folder: Path
) -> None:
    page = visit()
    bar = page.locator(".presets")
    answer = bar.locator(".answer")
    bar.locator(".more").click()
    bar.locator(".name").fill("fast")
    bar.locator(".save").click()
    expect(answer).to_contain_text("是自带预设的名称")
    page.locator("#knob-negative textarea").fill("水印")
    page.wait_for_timeout(300)
    bar.locator(".name").fill("我的 水墨")
    bar.locator(".name").press("Enter")
    expect(answer).to_have_text("已保存为 我的 水墨。")
    expect(bar.locator("select")).to_have_value("我的 水墨")
    expect(bar.locator("summary")).to_have_text("当前参数与预设一致。")
    assert scripted.presets.load("我的 水墨").settings["negative"] == "水印"
    page.locator("#knob-negative textarea").fill("模糊")
    expect(bar.locator("summary")).to_have_text("1 项与预设不同")
    bar.locator(".replace").click()
    expect(bar.locator("summary")).to_have_text("当前参数与预设一致。")
    bar.locator(".name").fill("改过的")
    bar.locator(".rename").click()
    expect(bar.locator("select")).to_have_value("改过的")
    expect(answer).to_have_text("已改名为 改过的。")
    assert scripted.presets.load("改过的").settings["negative"] == "模糊"
    bar.locator(".delete").click()
    expect(bar.locator(".delete")).to_have_text("确定删除？")
    bar.locator(".delete").click()
    expect(answer).to_have_text("已删除 改过的。")
    expect(bar.locator(".delete")).to_be_hidden()
    assert list((folder / "my").iterdir()) == []
    # Another tab deletes what is chosen here: it isn't applied, and leaves the list.
    bar.locator(".name").fill("另一页")
    bar.locator(".save").click()
    expect(bar.locator("select")).to_have_value("另一页")
    expect(bar.locator("summary")).to_have_text("当前参数与预设一致。")  # compared before it goes
    scripted.presets.delete("另一页")
    bar.locator(".apply").click()
    expect(page.locator(".notice")).to_contain_text("预设：'另一页' 不是预设")
    expect(bar.locator("select")).to_have_value("")
    expect(bar.locator("option", has_text="另一页")).to_have_count(0)


@pytest.mark.usefixtures("folder")
def test_reset_puts_everything_back_but_the_prompt(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.locator("#knob-prompt textarea").fill("小船")
    page.locator("#knob-triggers input").fill("留白")
    choose(page, "fast")
    page.locator(".presets .apply").tap()
    expect(page.locator("#knob-negative textarea")).to_have_value("模糊")
    page.locator(".presets .more").tap()
    page.locator(".presets .reset").tap()
    expect(page.locator("#knob-negative textarea")).to_have_value("")
    expect(page.locator("#knob-triggers input")).to_have_value("")
    expect(page.locator("#knob-prompt textarea")).to_have_value("小船")
    expect(page.locator("#knob-stages-0-width input[type=number]")).to_have_value("176")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    nameless = page.locator(".presets :is(button, input, select)").evaluate_all(
        "nodes => nodes.filter((node) => node.offsetParent && !node.closest('label')"
        " && !(node.getAttribute('aria-label') || node.textContent)).length"
    )
    assert nameless == 0
