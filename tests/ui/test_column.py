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


def test_a_phone_has_the_block_below_the_prompt_and_generate_at_its_edge(visit: Visit) -> None:
    page = visit(folded=True, **PHONE)
    expect(page.locator("#generate")).to_be_in_viewport(ratio=1)
    tops = [page.locator(part).bounding_box() for part in ("#knob-prompt", "#knob-size", "#right", "#knob-loras")]
    assert [box["y"] for box in tops if box] == sorted(box["y"] for box in tops if box)
    page.locator(".ratio", has_text="1:1").tap()
    expect(page.locator("#knob-size .width")).to_have_value("384")
    page.locator("#everything button").tap()
    expect(page.locator("#knob-stages-0-steps")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_bar_with_generate_is_low_and_in_the_way_of_no_low_window(visit: Visit) -> None:
    page = visit(folded=True, **PHONE)
    bar, generate = (page.locator(part) for part in ("#go", "#generate"))
    expect(page.locator(".summary")).not_to_be_empty()
    assert bar.evaluate("node => node.offsetHeight") <= 90
    page.set_viewport_size({"width": 720, "height": 450})
    expect(bar).to_have_css("position", "static")
    tops = [page.locator(part).bounding_box() for part in ("#knob-size", "#seeds", "#go", "#right")]
    assert [box["y"] for box in tops if box] == sorted(box["y"] for box in tops if box)
    expect(generate).to_be_visible()


def test_the_settings_are_summed_up_in_one_line(visit: Visit, scripted: QuickPageStudio) -> None:
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


def test_it_is_generated_for_ever_with_seeds_that_count_on(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.locator("#knob-seed input").fill("40")
    page.locator("#knob-count input").fill("2")
    forever = page.locator(".forever")
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


def test_what_is_refused_is_not_asked_for_again(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    page.locator(".forever").click()
    page.locator("#generate").click()
    expect(page.locator(".notice")).to_have_text(re.compile("^\\s*提示词：不能为空"))
    expect(page.locator(".forever")).to_have_attribute("aria-pressed", "false")


def test_stages_of_another_shape_are_told_and_brought_into_one(visit: Visit, scripted: QuickPageStudio) -> None:
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


def test_a_removed_stage_can_be_had_back(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    set_number(page, "stages-0-steps", 7)
    page.locator("#knob-stages .remove").click()
    expect(page.locator("#knob-stages [role=tab]")).to_have_count(1)
    expect(page.locator(".notice")).to_contain_text("已删除第 1 阶段。")
    undo(page)
    expect(page.locator("#knob-stages [role=tab]")).to_have_count(2)
    expect(page.locator("#knob-stages-0-steps input[type=number]")).to_have_value("7")


def test_what_is_to_be_said_stands_at_its_field(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    page.locator("#knob-prompt textarea").fill("a boat, (snow:1.3)")
    expect(page.locator("#notes-prompt")).to_contain_text("(snow:1.3)")
    expect(page.locator("#notes-negative")).to_be_hidden()
    page.locator("#knob-negative textarea").fill("(text:1.2)")
    expect(page.locator("#notes-negative")).to_contain_text("(text:1.2)")
    expect(page.locator("#notes-prompt li")).to_have_count(1)


def test_words_that_a_small_model_has_never_seen_are_named_at_the_prompt(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit()
    note = page.locator("#notes-prompt")
    page.locator("#knob-prompt textarea").fill("竹林里的熊猫，boats and a cat")
    choose_model(page, "三个阶段")
    expect(note).to_contain_text("这个模型没有学过：竹林、熊猫、cat。它只会画：小船。")
    page.locator("#knob-prompt textarea").fill("红色的小船")
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


def test_shift_goes_in_steps_of_a_tenth(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    shift = page.locator("#knob-stages-0-shift input[type=number]")
    expect(shift).to_have_value("3")
    page.locator("#knob-stages-0-shift input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(shift).to_have_value("3.1")
    page.locator("#knob-stages-0-shift input[type=range]").focus()
    page.keyboard.press("Home")
    expect(shift).to_have_value("0.01")


def test_the_fonts_have_every_letter(visit: Visit) -> None:
    page = visit()
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
