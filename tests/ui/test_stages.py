"""The stage tabs: what an edit does to the page's values, and in Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.ui.conftest import PHONE, Visit, arrive, ask, choose_model, expect_state, served, set_number
from tests.ui.doubles import QuickPageStudio
from tests.ui.page_values import with_values
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import parse_request
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.ui.fields.stage_edits import edited, resized
from zimage_app.ui.fields.values import lora_values, request_data, stages_values

PLAIN: dict[str, Any] = {"prompt": "小船", "negative": "", "triggers": "", "loras": [], "seed": ""}


def after(edit: str, stage: int, stages: tuple[Stage, ...] = REFERENCE_STAGES, **values: Any) -> tuple[Stage, ...]:
    page = PLAIN | stages_values(stages) | values
    changed, _ = edited(page, edit, stage)
    made = parse_request(request_data(page | changed)).stages
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("edit", "stage", "places"),
    [
        ("left", 1, (1, 0, 2)),
        ("left", 0, (0, 1, 2)),
        ("right", 1, (0, 2, 1)),
        ("right", 2, (0, 1, 2)),
        ("duplicate", 0, (0, 0, 1, 2)),
        ("duplicate", 2, (0, 1, 2, 2)),
        ("remove", 0, (1, 2)),
        ("remove", 2, (0, 1)),
    ],
)
def test_stages_change_places_whole(edit: str, stage: int, places: tuple[int, ...]) -> None:
    assert after(edit, stage) == tuple(REFERENCE_STAGES[place] for place in places)


def test_a_stage_that_is_added_is_like_the_last_on_a_larger_picture() -> None:
    fourth = after("add", 0)[3]
    assert (fourth.width, fourth.height, fourth.denoise) == (1344, 1728, 0.6)
    assert (fourth.sampler, fourth.easycache) == ("dpmpp_sde", REFERENCE_STAGES[2].easycache)
    again = after("add", 0, (*REFERENCE_STAGES, fourth))[4]
    assert (again.width, again.height) == (1344, 1728)
    second = after("add", 0, (Stage(width=1024, height=768, seed=5, enabled=False),))[1]
    assert (second.width, second.height, second.denoise, second.seed, second.enabled) == (
        2048,
        1536,
        0.6,
        "follow",
        True,
    )


def test_what_is_half_typed_moves_with_its_stage() -> None:
    page = with_values(PLAIN | stages_values(REFERENCE_STAGES), {"stages.0.width": 100})
    changed, _ = edited(page, "right", 0)
    assert [stage["width"] for stage in changed["stages"]] == [336, 100, 672]


def test_loras_act_in_the_same_stages_wherever_these_go() -> None:
    uses = (
        LoraUse(name="all"),
        LoraUse(name="two", stages=(2,), strength=0.5),
        LoraUse(name="ends", stages=(1, 3)),
        LoraUse(name="off", stages=(2,), strength=0.0),
    )
    page = PLAIN | stages_values(REFERENCE_STAGES) | {"loras": lora_values(uses)}

    def acting(edit: str, stage: int) -> list[Any]:
        return [use.get("stages") for use in edited(page, edit, stage)[0]["loras"]]

    assert acting("left", 1) == [None, [1], [2, 3], [1]]
    assert acting("duplicate", 1) == [None, [2, 3], [1, 4], [2, 3]]
    assert acting("add", 0) == [None, [2], [1, 3, 4], [2]]
    assert acting("remove", 0) == [None, [1], [2], [1]]
    changed, said = edited(page, "remove", 1)
    assert changed["loras"][1] == {"name": "two", "strength": 0.0}
    assert [text.en for text in said] == ["LoRA two acted in the removed stage only; it is switched off (strength 0)."]


@pytest.mark.parametrize(
    ("edit", "stage", "count", "words"),
    [
        ("add", 0, 8, "at most 8"),
        ("duplicate", 0, 8, "at most 8"),
        ("remove", 0, 1, "at least one"),
        ("remove", 3, 3, "not possible"),
        ("left", -1, 3, "not possible"),
        ("explode", 0, 3, "not possible"),
        ("left", 1.0, 3, "not possible"),
        ("left", "1", 3, "not possible"),
        ("left", None, 3, "not possible"),
    ],
)
def test_what_cannot_be_is_refused(edit: str, stage: object, count: int, words: str) -> None:
    page = PLAIN | stages_values((Stage(),) * count)
    with pytest.raises(RequestError, match=words):
        edited(page, edit, stage)


# In Chromium.


def expect_tabs(page: Page, *names: str) -> None:
    expect(page.locator("#knob-stages [role=tab]")).to_have_text([re.compile(rf"^\s*{name}\s*$") for name in names])


def sizes(values: dict[str, Any]) -> list[list[int]]:
    return [[stage["width"], stage["height"]] for stage in values["stages"]]


def test_all_stages_follow_the_pictures_size_and_come_back_exactly() -> None:
    page = PLAIN | stages_values(REFERENCE_STAGES)
    base = sizes(page)
    square = resized(page, "1:1", base)
    assert sizes(square) == [[208, 208], [384, 384], [768, 768]]
    narrow = resized(page | square, "512x1024", base)
    assert sizes(narrow) == [[128, 272], [256, 512], [512, 1024]]
    assert sizes(resized(page | narrow, "7:9", base)) == base
    assert sizes(resized(page, "864x672", "nonsense")) == [[224, 176], [432, 336], [864, 672]]
    assert narrow["stages"][2]["sampler"] == "dpmpp_sde"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("670x864", "size: 670x864: 670 is not a multiple of 16; use 656 or 672"),
        ("5000x864", "size: 5000x864: comes to a side of 5000; allowed are 64 to 2048 pixels"),
        (None, "size: None: write"),
    ],
)
def test_what_is_no_size_is_refused(size: object, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        resized(PLAIN | stages_values(REFERENCE_STAGES), size, None)


# In Chromium.


def test_one_place_gives_the_picture_its_size(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    choose_model(page, "三个阶段")
    width, height = page.locator(".picture-size .width"), page.locator(".picture-size .height")
    expect(width).to_have_value("672")
    ratio = page.locator(".picture-size .ratio")
    expect(ratio.filter(has_text="7:9")).to_have_attribute("aria-pressed", "true")
    ratio.filter(has_text="2:3").click()
    expect(width).to_have_value("624")
    expect(height).to_have_value("928")
    expect(ratio.filter(has_text="2:3")).to_have_attribute("aria-pressed", "true")
    page.locator(".picture-size .swap").click()
    expect(width).to_have_value("928")
    expect(ratio.filter(has_text="9:7")).to_be_visible()
    width.fill("930")
    width.press("Enter")
    expect(page.locator(".notice")).to_contain_text("成片尺寸：930x624：930 不是 16 的倍数")
    expect(page.locator("#knob-size")).to_have_class(re.compile("studio-wrong"))
    ratio.filter(has_text="9:7").click()
    expect(width).to_have_value("864")
    page.locator(".picture-size .swap").click()
    expect(width).to_have_value("672")
    ask(page, "尺寸")
    expect_state(page, "done")
    made = scripted.today()[0].record.request
    assert made.stages == REFERENCE_STAGES
    # A size that is made by hand after a refusal counts for the next one.
    width.fill("5000")
    width.press("Enter")
    expect(page.locator(".notice")).to_contain_text("允许 64 到 2048 像素")
    set_number(page, "stages-0-width", 352)
    ratio.filter(has_text="2:3").click()
    expect(page.locator("#knob-stages-0-width input[type=number]")).to_have_value("224")


@pytest.mark.parametrize("answered", ["before the press", "after the press"])
def test_no_picture_is_made_while_the_typed_size_is_refused(
    visit: Visit, scripted: QuickPageStudio, answered: str
) -> None:
    page, held = visit(), list[Route]()
    width, notice = page.locator(".picture-size .width"), page.locator(".notice")
    expect(width).to_have_value("336")
    page.locator("#knob-prompt textarea").fill(answered)
    width.fill("1000")
    if answered == "after the press":
        page.route("**/run/predict*", lambda route: held.append(route), times=1)
        with page.expect_request("**/run/predict*"):
            page.locator("#generate").click()
        held[0].continue_()
    else:
        width.press("Enter")
        expect(notice).to_contain_text("1000 不是 16 的倍数")
        page.locator("#generate").click()
    expect(notice).to_contain_text("1000 不是 16 的倍数")
    expect(page.locator("#knob-size")).to_have_class(re.compile("studio-wrong"))
    expect(width).to_have_value("1000")
    width.fill("768")
    page.locator("#generate").click()
    expect_state(page, "done")
    expect(notice).to_be_hidden()
    assert [picture.record.width for picture in scripted.today() if picture.record.request.prompt == answered] == [768]


def test_a_typed_size_counts_for_a_press_of_the_keyboard(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.locator("#knob-prompt textarea").fill("键盘")
    width = page.locator(".picture-size .width")
    expect(width).to_have_value("336")
    width.fill("768")
    width.press("Control+Enter")
    expect_state(page, "done")
    assert scripted.today()[0].record.width == 768
    expect(width).to_have_value("768")


def test_a_picture_is_made_larger_from_the_canvas_and_from_the_history(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    ask(page, "放大")
    expect_state(page, "done")
    small = scripted.today()[0].record
    page.locator(".canvas .acts .upscale").click()
    expect(page.locator(".notice")).to_contain_text(f"用 Lanczos 放大到 {2 * small.width} × {2 * small.height}")
    expect(page.locator(".facts")).to_contain_text("缩放：Lanczos")
    expect_state(page, "done")
    first = scripted.today()[0].record
    assert (first.width, first.height) == (2 * small.width, 2 * small.height)
    page.locator("#view-history").click()
    page.locator(f".card[data-picture='{small.id}'] .open").click()
    page.locator(".viewer .upscale").click()
    page.wait_for_function("document.querySelector('.viewer').open === false")
    expect(page.locator(".notice")).to_contain_text("用 Lanczos 放大到")
    expect_state(page, "done")


def test_stages_are_added_moved_switched_off_and_removed(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    expect_tabs(page, "1构图", "2成片")
    set_number(page, "stages-0-steps", 4)
    page.locator("#knob-stages .add").click()
    expect_tabs(page, "1构图", "2细化", "3成片")
    expect(page.locator("#knob-stages [role=tab]").nth(2)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#knob-stages-2-width input[type=number]")).to_have_value("672")
    expect(page.locator("#knob-stages-2-denoise input[type=number]")).to_have_value("0.6")
    page.locator("#knob-stages [role=tab]").first.click()
    page.locator("#knob-stages .right").click()
    expect(page.locator("#knob-stages-1-steps input[type=number]")).to_have_value("4")
    expect(page.locator("#knob-stages [role=tab]").nth(1)).to_have_attribute("aria-selected", "true")
    page.locator("#knob-stages-1-enabled input").uncheck()
    expect_tabs(page, "1构图", "2关闭", "3成片")
    page.locator("#knob-stages .duplicate").click()
    expect_tabs(page, "1构图", "2关闭", "3关闭", "4成片")
    expect(page.locator("#knob-stages [role=tab]").nth(2)).to_have_attribute("aria-selected", "true")
    page.locator("#knob-stages .left").click()  # both are equal, so the list stays as it is
    expect(page.locator("#knob-stages [role=tab]").nth(1)).to_have_attribute("aria-selected", "true")
    page.locator("#knob-stages .remove").click()
    expect_tabs(page, "1构图", "2关闭", "3成片")
    # The first stage that runs starts from noise, so its denoise acts whatever its hand-over is.
    page.locator("#knob-stages [role=tab]").nth(1).click()
    page.locator("#knob-stages-1-enabled input").check()
    page.locator("#stage-1 summary", has_text="高级").click()
    page.locator("#knob-stages-1-handover select").select_option("spectral")
    denoise = page.locator("#knob-stages-1-denoise input[type=number]")
    expect(denoise).to_be_disabled()
    page.locator("#knob-stages [role=tab]").first.click()
    page.locator("#knob-stages-0-enabled input").uncheck()
    page.locator("#knob-stages [role=tab]").nth(1).click()
    expect(denoise).to_be_enabled()
    page.locator("#knob-stages-1-handover select").select_option("resize")
    page.locator("#knob-stages-1-enabled input").uncheck()
    page.locator("#knob-stages [role=tab]").first.click()
    page.locator("#knob-stages-0-enabled input").check()
    ask(page, "三个阶段")
    expect_state(page, "done")
    made = scripted.today()[0].record.request.stages or ()
    assert [(stage.width, stage.steps, stage.enabled) for stage in made] == [
        (336, 3, True),
        (176, 4, False),
        (672, 3, True),
    ]
    arrive(page)
    expect_tabs(page, "1构图", "2关闭", "3成片")


def test_presses_before_the_answer_to_the_first_act_in_turn(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    choose_model(page, "三个阶段")
    page.locator("#knob-stages [role=tab]").nth(2).click()
    set_number(page, "stages-2-steps", 17)
    held: list[Route] = []

    def press(first: Locator, second: Locator) -> None:
        """Press both before the server answers the first."""
        page.route("**/run/predict*", lambda route: held.append(route), times=1)
        with page.expect_request("**/run/predict*"):
            first.click()
        second.click()
        held.pop().continue_()

    left = page.locator("#knob-stages .left")
    press(left, left)
    expect(page.locator("#knob-stages-0-steps input[type=number]")).to_have_value("17")
    expect(page.locator("#knob-stages [role=tab]").first).to_have_attribute("aria-selected", "true")
    ratio = page.locator(".picture-size .ratio")
    press(ratio.filter(has_text="1:1"), ratio.filter(has_text="2:3"))
    expect(ratio.filter(has_text="2:3")).to_have_attribute("aria-pressed", "true")
    page.locator("#knob-prompt textarea").fill("小船")
    press(ratio.filter(has_text="1:1"), page.locator("#generate"))
    expect_state(page, "done")
    last = (scripted.today()[0].record.request.stages or ())[-1]
    assert last.width == last.height


def test_a_button_that_is_held_down_while_an_answer_comes_still_acts(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    choose_model(page, "三个阶段")
    expect(page.locator("#knob-stages [role=tab]")).to_have_count(3)
    set_number(page, "stages-0-steps", 17)

    def press(first: Locator, second: Locator, field: Locator, answer: str) -> None:
        """Hold the second button down until the answer to the first is in the field."""
        held: list[Route] = []
        page.route("**/run/predict*", lambda route: held.append(route), times=1)
        with page.expect_request("**/run/predict*"):
            first.click()
        second.hover()
        page.mouse.down()
        held[0].continue_()
        expect(field).to_have_value(answer)
        page.mouse.up()

    right = page.locator("#knob-stages .right")
    press(right, right, page.locator("#knob-stages-1-steps input[type=number]"), "17")
    expect(page.locator("#knob-stages-2-steps input[type=number]")).to_have_value("17")
    ratio = page.locator(".picture-size .ratio")
    width = page.locator(".picture-size .width")
    press(ratio.filter(has_text="1:1"), ratio.filter(has_text="2:3"), width, "192")
    expect(ratio.filter(has_text="2:3")).to_have_attribute("aria-pressed", "true")


def test_what_the_settings_mean_is_shown_and_after_a_run_how_long_they_take(visitor: Visit, tmp_path: Path) -> None:
    with served(QuickPageStudio(tmp_path)) as address:
        page = visitor(address)
        meaning = page.locator("#knob-stages .meaning")
        expect(meaning).to_contain_text("尚无记录")
        ask(page, "小船")
        expect_state(page, "done")
        expect(meaning).to_contain_text("秒")
        expect(meaning).not_to_contain_text("尚无记录")
        expect(meaning).to_contain_text("步数3")
        expect(meaning).to_contain_text("模型求值6 (3 × 2)")
        expect(meaning).to_contain_text("潜变量22×28")
        expect(meaning).to_contain_text("全部阶段")
        set_number(page, "stages-0-denoise", 0.5)
        expect(meaning).to_contain_text("6 步序列的最后 3 步")
        page.locator("#knob-stages-0-easycache input").check()
        expect(meaning).to_contain_text("至多 6 (3 × 2)")
        expect(meaning).to_contain_text("EasyCache")
        page.locator("#knob-stages-0-enabled input").uncheck()
        expect(meaning).to_be_hidden()
        expect(page.locator("#knob-stages .idle")).to_have_text("本阶段不会执行。")
        page.locator("#knob-stages [role=tab]").nth(1).click()
        expect(meaning).to_contain_text("潜变量42×54")
        set_number(page, "stages-1-width", 100)
        expect(meaning).to_be_hidden()
        page.context.close()


def test_eight_stages_by_keyboard_and_no_more(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit(locale="en-US", **PHONE)
    add = page.locator("#knob-stages .add")
    for count in range(3, 9):
        add.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#knob-stages [role=tab]")).to_have_count(count)
    expect(add).to_be_disabled()
    page.locator("#knob-stages [aria-selected=true]").focus()
    page.keyboard.press("Home")
    expect(page.locator("#knob-stages [role=tab]").first).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#knob-stages [role=tab]").nth(7)).to_be_focused()
    expect(page.locator("#knob-stages-7-steps")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ask(page, "eight")
    expect_state(page, "done")
    assert len(scripted.today()[0].record.request.stages or ()) == 8
    expect(page.locator("#canvas .tile")).to_have_count(8)
