"""The row of what can be done with a picture, on the canvas, its strip, the history and the viewer, in Chromium."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.ui.conftest import PHONE, Visit, arrive, ask, expect_state, served
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.domain.another import LITTLE
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.imports.read import read_settings
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.ui.canvas.examples import EXAMPLES
from zimage_app.ui.canvas.picture_routes import picture_routes
from zimage_app.web.owner import OWNER_COOKIE

ROW = ("保存", "收藏", "重新生成", "换种子", "变体", "图生图", "放大", "对比", "使用此参数", "复制", "删除")


def made(studio: QuickPageStudio, prompt: str, **settings: object) -> SavedPicture:
    """A picture that was made before the page is opened."""
    studio.step_seconds = 0.0
    request = GenerationRequest.model_validate({"prompt": prompt, "seed": 7, **settings})
    view = finish(studio, studio.submit(request, "quick"))
    assert view.picture is not None
    return view.picture


def choose(page: Page, act: Locator, entry: str) -> None:
    act.click()
    page.get_by_role("menuitem", name=entry).click()


def until(page: Page, promised: str, given: object = None) -> str:
    """What a function promises, asked again until it is something; ``wait_for_function`` takes a promise for it."""
    again = """async ([promised, given]) => {
      for (let tries = 0; tries < 200; tries += 1) {
        const found = await eval(promised)(given);
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }"""
    found = page.evaluate(again, [promised, given])
    assert found, promised
    return str(found)


def row_of(page: Page) -> Locator:
    return page.locator(".canvas .acts")


def test_the_row_is_the_same_wherever_a_picture_is_seen_and_leaves_it_most_of_the_height(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    made(scripted, "同一行")
    page = visit()
    names = list(ROW)
    names.insert(-1, "详情")
    expect(row_of(page).get_by_role("button")).to_have_text(names)
    page.locator(".strip .cell").first.hover()
    page.locator(".strip .cell").first.locator(".more").click()
    expect(page.locator(".studio-acts").get_by_role("button")).to_have_text(list(ROW))
    page.keyboard.press("Escape")
    page.locator(".zoom").click()
    expect(page.locator(".viewer .acts").get_by_role("button")).to_have_text(names)
    page.keyboard.press("Escape")
    page.locator("#view-history").click()
    page.locator(".history .card").first.click(button="right")
    expect(page.locator(".studio-acts").get_by_role("button")).to_have_text(list(ROW))
    expect(page.locator(".studio-acts .save")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator("#view-canvas").click()
    for width, height in ((1440, 900), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        # The picture has most of the height.
        page.wait_for_function("document.querySelector('.frame').getBoundingClientRect().height > 0.75 * innerHeight")
        expect(row_of(page).locator(".delete")).to_be_in_viewport(ratio=1)


def test_a_picture_is_saved_in_other_formats_and_copied_with_seed_and_prompt(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    saved = made(scripted, "存下来")
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    for entry, ending in (("JPEG", "jpg"), ("WebP", "webp")):
        with page.expect_download() as download:
            choose(page, row_of(page).locator(".save"), entry)
        assert download.value.suggested_filename == f"{saved.record.id}.{ending}"
        found = read_settings(download.value.path().read_bytes(), "x")
        assert found.settings["prompt"] == "存下来"
        assert found.settings["seed"] == 7
    for entry, text in (("种子", "7"), ("提示词", "存下来")):
        choose(page, row_of(page).locator(".copy"), entry)
        expect(page.locator(".studio-toast")).to_contain_text("已复制")
        assert page.evaluate("navigator.clipboard.readText()") == text
    choose(page, row_of(page).locator(".copy"), "图片")
    until(page, "() => navigator.clipboard.read().then((items) => items[0].types.includes('image/png'))")


def test_a_star_is_seen_in_every_view_and_tiles_show_the_picture_alone_until_they_are_looked_at(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    made(scripted, "收藏我")
    page = visit()
    row_of(page).locator(".star").click()
    expect(row_of(page).locator(".star")).to_have_attribute("aria-pressed", "true")
    page.locator(".zoom").click()
    expect(page.locator(".viewer .star")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("s")
    expect(page.locator(".viewer .star")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    expect(row_of(page).locator(".star")).to_have_attribute("aria-pressed", "false")
    page.locator("#view-history").click()
    about = page.locator(".history .card .about").first
    expect(about).to_have_css("opacity", "0")
    page.locator(".history .card .open").first.focus()
    expect(about).to_have_css("opacity", "1")
    expect(about).to_have_text(re.compile("收藏我.*#7"))


def test_a_deleted_picture_leaves_the_canvas_and_comes_back(visit: Visit, scripted: QuickPageStudio) -> None:
    older, newer = made(scripted, "旧的"), made(scripted, "新的")
    page = visit()
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{newer.record.id}.png")
    row_of(page).locator(".delete").click()
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{older.record.id}.png")
    page.locator(".studio-toast .undo").click()
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{newer.record.id}.png")
    expect(page.locator(".strip .cell").first).to_have_attribute("data-picture", newer.record.id)
    # During a run it stays away, too.
    scripted.loading, scripted.step_seconds = threading.Event(), 60.0
    ask(page, "删除时在画")
    expect_state(page, "loading")
    cell = page.locator(f".strip [data-picture='{older.record.id}']")
    cell.click(button="right")
    page.locator(".studio-acts .delete").click()
    expect(cell).to_have_count(0)
    scripted.loading.set()
    expect_state(page, "running")
    expect(cell).to_have_count(0)


def test_facts_that_do_not_come_are_told_and_asked_for_again(visit: Visit, scripted: QuickPageStudio) -> None:
    picture = made(scripted, "再问一次").record.id
    page = visit()
    page.route(f"**/pictures/{picture}.json", lambda route: route.fulfill(status=503, body="太忙了"))
    arrive(page)
    toast = page.locator(".studio-toast")
    expect(toast).to_contain_text("太忙了")
    expect(page.locator(".facts h2")).to_have_text("太忙了")
    expect(page.locator(f".strip [data-picture='{picture}']")).to_have_count(1)
    page.unroute_all()
    toast.locator(".retry").click()
    expect(page.locator(".facts dd").first).to_have_text("再问一次")


def test_another_seed_variations_and_a_kept_composition(visit: Visit, scripted: QuickPageStudio) -> None:
    before = made(scripted, "再来一张")
    page = visit()
    newest = "fetch('history').then((answer) => answer.json()).then((data) => data.items.map((item) => item.id))"
    known: list[str] = page.evaluate(newest)

    def new() -> GenerationRequest:
        """What was made since, after which the first picture is looked at again."""
        known.append(until(page, f"(known) => {newest}.then((ids) => ids.find((id) => !known.includes(id)))", known))
        expect(page.locator(".big")).to_have_attribute("src", f"pictures/{known[-1]}.png")
        page.locator(f".strip [data-picture='{before.record.id}'] .thumb").click()
        expect(page.locator(".big")).to_have_attribute("src", f"pictures/{before.record.id}.png")
        picture = scripted.picture(known[-1])
        assert picture is not None
        return picture.record.request

    row_of(page).locator(".another").click()
    other = new()
    assert (other.prompt, other.seed != 7) == ("再来一张", True)
    choose(page, row_of(page).locator(".vary"), "小幅变化")
    varied = new()
    assert (varied.seed, varied.variation_strength) == (7, LITTLE)
    choose(page, row_of(page).locator(".vary"), "保留构图")
    kept = new()
    assert kept.seed == 7
    assert kept.stages is not None
    assert before.record.request.stages is not None
    assert kept.stages[0] == before.record.request.stages[0]
    assert isinstance(kept.stages[1].seed, int)


def test_a_picture_is_started_from_at_the_chosen_stage(visit: Visit, scripted: QuickPageStudio) -> None:
    made(scripted, "起点")
    page = visit()
    for stage in (0, 1):
        page.locator("#knob-stages [role=tab]").nth(stage).click()
        page.locator(f"#knob-stages-{stage}-enabled input").uncheck()
    row_of(page).locator(".start").click()
    expect(page.locator(".studio-toast")).to_contain_text("所有阶段都已关闭")
    for stage in (0, 1):
        page.locator("#knob-stages [role=tab]").nth(stage).click()
        page.locator(f"#knob-stages-{stage}-enabled input").check()
    choose(page, row_of(page).locator(".start"), "从第 2 阶段开始")
    expect(page.locator(".notice")).to_contain_text("从第 2 阶段开始")
    ask(page, "从它开始")
    expect_state(page, "done")
    start = scripted.today()[0].record.request.start
    assert start is not None
    assert start.stage == 2


def test_two_pictures_are_chosen_for_comparing_one_after_the_other(visit: Visit, scripted: QuickPageStudio) -> None:
    ids = [made(scripted, f"比 {number}").record.id for number in range(3)]
    page = visit()
    choose(page, row_of(page).locator(".compare"), "选为对比图")
    page.locator(f".strip [data-picture='{ids[0]}'] .thumb").click()
    choose(page, row_of(page).locator(".compare"), "与选定的对比图对比")
    expect(page.locator("#compare .over")).to_have_attribute("src", f"pictures/{ids[2]}.png")
    expect(page.locator("#compare .under")).to_have_attribute("src", f"pictures/{ids[0]}.png")
    page.locator("#compare .names .more").first.click()
    expect(page.locator(".studio-acts .save")).to_be_focused()


def test_menus_work_with_the_keyboard_and_open_beside_their_buttons(visit: Visit, scripted: QuickPageStudio) -> None:
    made(scripted, "键盘")
    page = visit()
    row_of(page).locator(".save").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="JPEG")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="ComfyUI 工作流")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".studio-menu")).to_be_hidden()
    expect(row_of(page).locator(".save")).to_be_focused()
    page.locator(".strip .cell").first.click(button="right")
    save, menu = page.locator(".studio-acts .save"), page.locator(".studio-menu")
    save.click()
    expect(menu).to_be_visible()
    expect(save).to_be_visible()
    assert 0 <= gap_between(save, menu) < 20


def gap_between(anchor: Locator, opened: Locator) -> float:
    """Return the pixels between an element and what opened above or below it."""
    first, second = anchor.bounding_box(), opened.bounding_box()
    assert first is not None
    assert second is not None
    return max(second["y"] - first["y"] - first["height"], first["y"] - second["y"] - second["height"])


def test_undo_is_still_there_when_the_viewer_is_closed(visit: Visit, scripted: QuickPageStudio) -> None:
    made(scripted, "更早的")
    newer = made(scripted, "删掉的").record.id
    page = visit()
    page.locator("#view-history").click()
    card = page.locator(f".history .card[data-picture='{newer}']")
    card.locator(".open").click()
    page.locator(".viewer .delete").click()
    expect(page.locator(".viewer .studio-toast .undo")).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)
    page.locator("body > .studio-toast .undo").click()
    expect(card).to_be_visible()


def test_on_a_phone_the_whole_row_is_in_reach_and_a_thumbnails_card_opens_beside_it(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    made(scripted, "手机")
    page = visit(**PHONE)
    for button in row_of(page).get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["height"] >= 44
    row_of(page).locator(".vary").tap()
    expect(page.get_by_role("menuitem").first).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.keyboard.press("Escape")
    cell = page.locator(".strip .cell").first
    cell.dispatch_event("contextmenu")
    assert 0 <= gap_between(cell, page.locator(".studio-acts")) < 20


# Stages of runs that were stopped, and of pictures of before.


def test_finished_stages_of_a_stopped_run_are_results(visit: Visit, scripted: QuickPageStudio) -> None:
    scripted.step_seconds = 60.0
    scripted.slow_from(1)
    before = len(scripted.today())
    page = visit()
    page.locator("#knob-seed input").fill("11")
    ask(page, "停在第二阶段")
    expect(page.locator(".canvas .message")).to_contain_text("第 2/2 阶段")
    page.locator("#stop").click()
    expect_state(page, "cancelled")
    expect(page.locator(".canvas .message")).to_have_text(re.compile("已停止.*已完成的阶段"))
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#stop")).to_be_disabled()
    expect(page.locator("#stop")).to_have_text("停止")
    assert len(scripted.today()) == before
    expect(page.locator(".tile img").first).to_have_attribute("src", re.compile("^data:"))
    row = row_of(page)
    page.locator(".canvas .tile").first.click()
    expect(row.get_by_role("button")).to_have_text(["继续生成", "换种子", "保存", "对比", "使用此参数", "复制"])
    with page.expect_download() as download:
        row.locator(".save").click()
    found = read_settings(download.value.path().read_bytes(), "x.jpg").settings
    assert [stage.get("enabled", True) for stage in found["stages"]] == [True, False]
    assert (found["seed"], found["prompt"]) == (11, "停在第二阶段")
    page.locator("#knob-prompt textarea").fill("别的")
    row.locator(".reuse").click()
    expect(page.locator("#knob-prompt textarea")).to_have_value("停在第二阶段")
    scripted.step_seconds = 0.0
    row.locator(".on").click()
    expect_state(page, "done")
    assert scripted.today()[0].record.request.seed == 11


def test_a_run_that_was_stopped_at_once_has_nothing_to_keep(visit: Visit, scripted: QuickPageStudio) -> None:
    scripted.loading = threading.Event()
    page = visit()
    ask(page, "马上停")
    expect_state(page, "loading")
    page.locator("#stop").click()
    expect_state(page, "cancelled")
    expect(page.locator(".canvas .message")).to_have_text("已停止，没有已完成的阶段。")
    expect(row_of(page)).to_be_hidden()


def test_an_older_picture_shows_the_stages_that_were_kept_and_no_empty_ones(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    kept, plain = made(scripted, "留着阶段", keep_stages=True), made(scripted, "不留")
    page = visit()
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{plain.record.id}.png")
    expect(page.locator(".rail")).to_be_hidden()
    page.locator(f".strip [data-picture='{kept.record.id}'] .thumb").click()
    expect(page.locator(".tile")).to_have_count(2)
    page.locator(".tile").first.click()
    expect(page.locator(".big")).to_have_attribute("src", f"history/{kept.record.id}/stage1.png")
    page.locator(".zoom").click()
    image = page.locator(".viewer .scale img")
    expect(image).to_have_attribute("src", f"history/{kept.record.id}/stage1.png")
    box = image.bounding_box()
    assert box is not None
    assert box["height"] > 700, "a small picture is scaled up"
    scale = page.locator(".viewer .scale")
    expect(scale).to_have_accessible_name(re.compile("^放大查看：.+"))
    for pressed in ("false", "true", "false"):
        expect(scale).to_have_attribute("aria-pressed", pressed)
        scale.click()
    page.keyboard.press("ArrowRight")
    expect(image).to_have_attribute("src", f"pictures/{kept.record.id}.png")


def test_the_viewer_shows_actual_pixels_around_the_clicked_point_and_is_moved_by_the_mouse(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    made(scripted, "放大")
    page = visit(viewport={"width": 1000, "height": 420})
    page.locator(".zoom").click()
    scale, image = page.locator(".viewer .scale"), page.locator(".viewer .scale img")
    expect(image).to_have_js_property("naturalHeight", 432)
    whole = scale.bounding_box()
    assert whole is not None
    middle, bottom = whole["x"] + whole["width"] / 2, whole["y"] + whole["height"] - 14

    def place() -> list[float]:
        return list(scale.evaluate("node => [node.scrollTop, node.scrollHeight - node.clientHeight]"))

    page.mouse.click(middle, bottom)
    expect(image).to_have_css("width", "336px")
    expect(image).to_have_css("height", "432px")
    at, most = place()
    assert at == most > 0
    page.mouse.move(middle, whole["y"] + 20)
    page.mouse.down()
    page.mouse.move(middle, whole["y"] + 60, steps=4)
    page.mouse.up()
    assert place()[0] == most - 40
    expect(scale).to_have_attribute("aria-pressed", "true")  # a movement is no click
    page.mouse.click(middle, bottom)
    expect(scale).to_have_attribute("aria-pressed", "false")
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.mouse.click(middle, bottom)
    box, shown = image.bounding_box(), scale.bounding_box()
    assert box is not None
    assert shown is not None
    assert (box["width"] % 336, box["width"] // 336 >= 2) == (0, True)


def test_a_stage_is_only_its_owners(tmp_path: Path) -> None:
    studio = QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)
    mine, other = "a" * 32, "b" * 32
    job = studio.submit(GenerationRequest(prompt="mine"), "quick", mine)
    finish(studio, job)
    app = Starlette(routes=picture_routes(studio, "auto"))
    statuses = [
        TestClient(app, cookies={OWNER_COOKIE: owner}).get(f"/runs/{job}/stage{number}.jpg").status_code
        for owner in (mine, other)
        for number in (1, "9" * 5000)
    ]
    studio.close()
    assert statuses == [200, 404, 404, 404]


# Before the first picture, and after another start of the page.


def test_the_first_visit_offers_examples_that_one_press_makes(visitor: Visit, tmp_path: Path) -> None:
    studio = QuickPageStudio(tmp_path, step_seconds=0.0)
    with served(studio) as address:
        page = visitor(address, locale="en-US")
        cards = page.locator(".offer .card")
        expect(cards).to_have_count(6)
        page.wait_for_function("[...document.querySelectorAll('.offer img')].every((image) => image.naturalWidth)")
        example = EXAMPLES["lighthouse"]
        page.get_by_role("button", name=example.prompt.en).click()
        expect_state(page, "done")
        expect(cards).to_have_count(0)
        expect(page.locator("#knob-prompt textarea")).to_have_value(example.prompt.en)
        record = studio.today()[0].record
        assert (record.request.prompt, record.request.seed) == (example.prompt.en, example.seed)
    studio.close()


def test_thumbnails_are_small_and_there_in_both_languages() -> None:
    files = [example.thumbnail(language) for example in EXAMPLES.values() for language in ("en", "zh")]
    assert len(set(files)) == 12
    assert sum(path.stat().st_size for path in files) < 150_000


def test_another_language_keeps_view_and_picture(visit: Visit, scripted: QuickPageStudio) -> None:
    older = made(scripted, "语言之一").record.id
    made(scripted, "语言之二")
    page = visit()
    page.locator(f".strip [data-picture='{older}'] .thumb").click()
    page.locator(".bar [data-language=en]").click()
    expect(page.locator("#generate")).to_have_text("Generate")
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{older}.png")
    page.locator("#view-history").click()
    page.locator(".bar [data-language=zh]").click()
    expect(page.locator("#generate")).to_have_text("开始生成")
    expect(page.locator("#view-history")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".history .card").first).to_be_visible()


# Signals


def test_the_title_tells_of_a_run_and_sound_and_notifications_when_they_are_switched_on(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    scripted.step_seconds = 60.0
    scripted.slow_from(1)
    page = visit(permissions=["notifications"])
    page.evaluate(
        """() => {
          window.heard = 0;
          const create = AudioContext.prototype.createOscillator;
          AudioContext.prototype.createOscillator = function () { window.heard += 1; return create.call(this); };
        }"""
    )
    title = "Z-Image Progressive Studio · 三阶段渐进生成"
    expect(page).to_have_title(title)
    ask(page, "安静")
    page.wait_for_function("/^[1-9][0-9]?% · /.test(document.title)")
    icon = page.locator("link[rel~=icon]").first  # it is drawn once the usual one has been read
    expect(icon).to_have_attribute("href", re.compile("^data:image/png"))
    scripted.step_seconds = 0.0
    expect_state(page, "done")
    expect(page).to_have_title(title)
    assert page.evaluate("window.heard") == 0
    page.locator(".bar .jobs").click()
    notify, sound = page.get_by_label("完成时发送通知"), page.get_by_label("完成时播放提示音")
    expect(notify).not_to_be_checked()
    sound.check()
    page.wait_for_function("window.heard === 2")
    notify.check()
    expect(page.locator(".signals .said")).to_be_empty()
    page.keyboard.press("Escape")
    scripted.slow_from(0)
    scripted.step_seconds = 60.0
    ask(page, "有声")
    expect_state(page, "running")
    scripted.step_seconds = 0.0
    page.wait_for_function("window.heard === 4")


def test_a_notification_that_fails_leaves_sound_and_title_and_is_told(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit(locale="en-US")
    page.evaluate(
        """() => {
          window.heard = 0;
          window.away = true;
          AudioContext.prototype.createOscillator = new Proxy(AudioContext.prototype.createOscillator, {
            apply: (create, audio) => { window.heard += 1; return Reflect.apply(create, audio, []); }
          });
          window.Notification = class {
            static permission = "granted";
            constructor() { throw new TypeError("Illegal constructor"); }
          };
          for (const what of ["notify", "sound"]) localStorage.setItem(`studio-signal-${what}`, "on");
          Object.defineProperty(document, "hidden", { get: () => window.away });
          for (const state of ["running", "done"])
            document.dispatchEvent(new CustomEvent("studio:progress", { detail: { state, progress: 0.5 } }));
        }"""
    )
    expect(page).to_have_title(re.compile("^✓ "))
    assert page.evaluate("window.heard") == 2
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".studio-toast")).to_contain_text("can't show a page's notifications; they were switched off")
    assert page.evaluate("localStorage.getItem('studio-signal-notify')") == ""
    assert page.evaluate("localStorage.getItem('studio-signal-sound')") == "on"
