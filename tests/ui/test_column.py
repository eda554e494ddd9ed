"""The left column as it is used: its order, count, shape, seeds, and what is said at each field."""

from __future__ import annotations

import re
import threading
from typing import Any

from playwright.sync_api import Page, expect

from tests.service.imports.test_imports import picture
from tests.ui.conftest import PHONE, Visit, arrive, ask, choose_model, expect_state, set_number
from tests.ui.doubles import QuickPageStudio
from zimage_app.ui.page.fonts import FAMILY, WEIGHTS

BLOCK = ("#knob-size .ratios", "#knob-size .width", "#knob-seed", "#knob-count", "#generate")


def undo(page: Page) -> None:
    page.locator(".notice .undo").click()
    expect(page.locator(".notice")).to_have_text("已恢复为之前的状态。")


def test_shape_seed_count_and_generate_are_in_sight_wherever_the_column_is(visit: Visit) -> None:
    page = visit(folded=True)

    def expect_in_sight() -> None:
        for height in (900, 760):
            page.set_viewport_size({"width": 1440, "height": height})
            for part in BLOCK:
                expect(page.locator(part)).to_be_in_viewport(ratio=1)

    expect(page.locator("#rest")).to_be_hidden()
    expect_in_sight()
    page.locator(".summary").click()
    expect(page.locator("#knob-stages-0-steps")).to_be_visible()
    page.locator("#knob-keep_stages").scroll_into_view_if_needed()
    expect_in_sight()
    page.reload()
    expect(page.locator("#knob-stages-0-steps")).to_be_visible()


def test_a_phone_has_the_block_below_the_prompt_and_a_low_bar_with_generate_at_its_edge(visit: Visit) -> None:
    page = visit(folded=True, **PHONE)
    bar, generate = (page.locator(part) for part in ("#go", "#generate"))
    expect(generate).to_be_in_viewport(ratio=1)
    expect(page.locator(".summary")).not_to_be_empty()
    assert bar.evaluate("node => node.offsetHeight") <= 90
    expect_in_order(page, "#knob-prompt", "#knob-size", "#right", "#knob-loras")
    page.locator(".ratio", has_text="1:1").tap()
    expect(page.locator("#knob-size .width")).to_have_value("384")
    # The bar is in the way of no low window.
    page.set_viewport_size({"width": 720, "height": 450})
    expect(bar).to_have_css("position", "static")
    expect_in_order(page, "#knob-size", "#seeds", "#go", "#right")
    expect(generate).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#everything button").tap()
    expect(page.locator("#knob-stages-0-steps")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def expect_in_order(page: Page, *parts: str) -> None:
    """Parts of the page lie below one another."""
    tops = [page.locator(part).bounding_box() for part in parts]
    assert [box["y"] for box in tops if box] == sorted(box["y"] for box in tops if box)


def test_the_settings_are_summed_up_in_one_line_and_the_fonts_have_every_letter(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    scripted.step_seconds = 0.01
    page = visit()
    line = page.locator(".summary")
    expect(line).to_contain_text("336×432 · 6 步")
    ask(page, "小船")
    expect_state(page, "done")
    expect(line).to_have_text(re.compile("336×432 · 6 步 · 约 .+ 秒"))
    page.locator("#knob-count input").fill("3")
    expect(line).to_contain_text("3 × 336×432")
    expect(page.locator("#knob-stages .meaning summary")).to_contain_text("176×224 · 3 步")
    lacking = page.evaluate(
        """async ([family, weights]) => {
          const letters = [...Array(95).keys()].map((place) => String.fromCharCode(32 + place));
          const pen = document.createElement("canvas").getContext("2d");
          const lacking = [];
          for (const weight of weights) {
            await document.fonts.load(`${weight} 40px "${family}"`);
            const width = (letter, other) => {
              pen.font = `${weight} 40px "${family}", ${other}`;
              return pen.measureText(letter).width;
            };
            lacking.push(...letters.filter((letter) => width(letter, "monospace") !== width(letter, "serif")));
          }
          return lacking;
        }""",
        [FAMILY, list(WEIGHTS)],
    )
    assert lacking == []


def test_it_is_generated_for_ever_with_seeds_that_count_on(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    forever = page.locator(".forever")
    forever.click()
    page.locator("#generate").click()
    expect(page.locator(".notice")).to_have_text(re.compile("^\\s*提示词：不能为空"))
    expect(forever).to_have_attribute("aria-pressed", "false")  # what is refused is not asked for again
    page.locator("#knob-seed input").fill("40")
    page.locator("#knob-count input").fill("2")
    forever.click()
    expect(forever).to_have_attribute("aria-pressed", "true")
    scripted.loading = threading.Event()
    ask(page, "一直画")
    expect_state(page, "loading")
    arrive(page)  # as the page does itself after a lost connection
    expect(forever).to_have_attribute("aria-pressed", "true")
    scripted.loading.set()
    page.wait_for_function("document.querySelectorAll('.strip img[alt=一直画]').length >= 5")
    scripted.step_seconds = 60.0
    # Between two pictures Stop is disabled, and a click then does nothing.
    stop = "document.querySelector('#stop').click()"
    page.wait_for_function(f"() => {{ {stop}; return document.querySelector('.forever').ariaPressed === 'false'; }}")
    scripted.step_seconds = 0.0  # what was asked for beside the stopped picture is made, and nothing after it
    expect(page.locator("#stop")).to_be_disabled()
    requests = [saved.record.request for saved in reversed(scripted.today())]
    made = [int(request.seed) for request in requests if request.prompt == "一直画"]
    assert len(made) >= 4
    assert made == sorted(set(made))
    assert len(set(range(40, made[-1] + 1)) - set(made)) <= 1


def test_seeds_that_stages_fix_are_told_at_the_seed_and_on_the_picture(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    note = page.locator(".fixed-seeds")
    seed = page.locator("#knob-stages-0-seed input")
    page.locator("#stage-0 summary", has_text="高级").click()
    expect(seed).to_have_value("跟随")
    expect(note).to_be_hidden()
    seed.fill("11")
    expect(note).to_contain_text("自带固定种子的阶段：1")
    page.locator("#knob-stages [role=tab]").nth(1).click()
    page.locator("#stage-1 summary", has_text="高级").click()
    page.locator("#knob-stages-1-seed input").fill("12")
    expect(note).to_contain_text("种子由各阶段固定")
    ask(page, "固定")
    expect_state(page, "done")
    expect(page.locator(".facts")).to_contain_text("11 / 12（由各阶段固定）")
    record = scripted.today()[0].record
    assert record.seeds == (11, 12)
    assert ", Seed: 11," in record.parameters_text
    note.locator("button").click()
    expect(note).to_be_hidden()
    page.locator("#knob-stages [role=tab]").first.click()
    expect(seed).to_have_value("跟随")
    undo(page)
    expect(seed).to_have_value("11")
    seed.fill("随机")
    expect(note).to_contain_text("自带固定种子的阶段：2")
    ask(page, "随机")
    expect_state(page, "done")
    assert scripted.today()[0].record.request.stages is not None


def test_what_is_to_be_said_of_prompts_stands_at_its_field(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    prompt, note = page.locator("#knob-prompt textarea"), page.locator("#notes-prompt")
    negative, about_negative = page.locator("#knob-negative textarea"), page.locator("#notes-negative")
    prompt.fill("a boat, (snow:1.3)")
    expect(note).to_contain_text("(snow:1.3)")
    expect(about_negative).to_be_hidden()
    negative.fill("(text:1.2)")
    expect(about_negative).to_contain_text("(text:1.2)")
    expect(note.locator("li")).to_have_count(1)
    negative.fill("模糊")
    for stage in (0, 1):
        page.locator("#knob-stages [role=tab]").nth(stage).click()
        set_number(page, f"stages-{stage}-cfg", 1)
    expect(about_negative).to_contain_text("反向提示词没有作用")
    set_number(page, "stages-1-cfg", 2)
    expect(about_negative.locator("li")).to_have_count(0)
    # Words that a small model has never seen are named.
    prompt.fill("竹林里的熊猫，boats and a cat")
    choose_model(page, "三个阶段")
    expect(note).to_contain_text("这个模型没有学过：竹林、熊猫、cat。它只会画：小船。")
    prompt.fill("红色的小船")
    expect(note).to_be_hidden()


def test_a_second_file_takes_the_place_of_the_first(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    for place, name in enumerate(("第一张", "第二张")):
        text = f"{name}\nSteps: 5, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Seed: {place}, Size: 512x512"
        png: Any = {"name": f"{place}.png", "mimeType": "image/png", "buffer": picture({"parameters": text})}
        page.locator(".drop input").set_input_files(png)
        expect(page.locator(".drop h2")).to_contain_text(f"{place}.png")
        expect(page.locator("#knob-prompt textarea")).to_have_value(name)
        expect(page.locator("#knob-seed input")).to_have_value(str(place))
        expect(page.locator(".summary")).to_contain_text("512×512 · 5 步")
    page.locator(".drop .undo").click()
    expect(page.locator("#knob-prompt textarea")).to_have_value("第一张")


def test_sliders_without_effect_are_greyed_out_and_shift_goes_in_steps_of_a_tenth(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit()
    page.locator("#stage-0 summary", has_text="高级").click()
    eta, threshold, shift = (
        page.locator(f"#knob-stages-0-{name} input[type=number]") for name in ("eta", "easycache-threshold", "shift")
    )
    expect(eta).to_be_disabled()
    expect(threshold).to_be_hidden()
    page.locator("#knob-stages-0-easycache input").check()
    expect(threshold).to_be_visible()
    page.locator("#knob-stages-0-sampler select").select_option("euler_ancestral")
    expect(eta).to_be_enabled()
    expect(page.locator("#knob-stages-0-r input[type=number]")).to_be_disabled()
    expect(shift).to_have_value("3")
    for key, value in (("ArrowRight", "3.1"), ("Home", "0.01")):
        page.locator("#knob-stages-0-shift input[type=range]").focus()
        page.keyboard.press(key)
        expect(shift).to_have_value(value)


def test_stages_of_another_shape_are_brought_into_one_and_a_removed_one_comes_back(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit()
    note, button = page.locator("#notes-size"), page.locator(".one-shape")
    expect(button).to_be_hidden()
    set_number(page, "stages-0-width", 224)
    set_number(page, "stages-0-height", 176)
    expect(note).to_contain_text("第 1 阶段（224×176）与成片（336×432）比例不同")
    button.click()
    expect(page.locator("#knob-stages-0-width input[type=number]")).to_have_value("176")
    expect(page.locator("#knob-stages-0-height input[type=number]")).to_have_value("224")
    expect(note).to_be_hidden()
    expect(button).to_be_hidden()
    set_number(page, "stages-0-steps", 7)
    page.locator("#knob-stages .remove").click()
    expect(page.locator("#knob-stages [role=tab]")).to_have_count(1)
    expect(page.locator(".notice")).to_contain_text("已删除第 1 阶段。")
    undo(page)
    expect(page.locator("#knob-stages [role=tab]")).to_have_count(2)
    expect(page.locator("#knob-stages-0-steps input[type=number]")).to_have_value("7")
