"""The page in Chromium, on a studio whose speed and failures the tests choose."""

from __future__ import annotations

import re
import threading

from playwright.sync_api import Locator, Page, Route, expect

from tests.ui.conftest import PHONE, Visit, apply_preset, arrive, ask, choose_model, expect_state, set_number
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.domain.errors import GenerationError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import EasyCache
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text

PAYLOAD = "<img src=x onerror=\"alert('xss')\"><script>alert('xss')</script>小船"
ERROR = GenerationError(Text("Stage 1 <i>broke</i>.", "第 1 阶段<i>出错</i>。"))


def test_a_run_shows_every_stage_then_the_saved_picture(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.evaluate(
        """() => {
          window.seen = [new Set(), new Set()];
          const look = () => document.querySelectorAll(".canvas .tile img")
            .forEach((image, stage) => image.getAttribute("src") && window.seen[stage].add(image.getAttribute("src")));
          new MutationObserver(look).observe(document.querySelector(".canvas"), {subtree: true, attributes: true});
        }"""
    )
    scripted.step_seconds = 0.5
    ask(page, "红色小船")
    expect_state(page, "running")
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator(".canvas .message")).to_contain_text(re.compile("第 2/2 阶段 · 第 [123]/3 步"))
    expect(page.locator(".canvas .clock")).to_contain_text("约剩")
    expect_state(page, "done")
    assert all(count >= 2 for count in page.evaluate("window.seen.map((sources) => sources.size)"))
    saved = scripted.today()[0]
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{saved.record.id}.png")
    page.wait_for_function("document.querySelector('.big').naturalWidth === 336")
    expect(page.locator(".facts")).to_contain_text(str(saved.record.request.seed))
    expect(page.locator(".strip img").first).to_have_attribute("src", f"pictures/{saved.record.id}.jpg")
    with page.expect_download() as download:
        page.locator(".canvas .acts .save").click()
        page.get_by_role("menuitem", name="PNG（原图）").click()
    assert download.value.suggested_filename == saved.path.name
    assert download.value.path().read_bytes() == saved.path.read_bytes()


def test_a_tile_pins_its_stage_and_the_strip_its_picture(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    ask(page, "第一张")
    expect_state(page, "done")
    first = scripted.today()[0].record.id
    ask(page, "第二张")
    expect(page.locator(".facts")).to_contain_text("第二张")
    page.locator(".acts .details").click()
    expect(page.locator(".facts")).to_be_visible()
    before = page.locator(".frame").bounding_box()
    page.locator(".tile").first.click()
    expect(page.locator(".big")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    expect(page.locator(".facts")).to_be_visible()
    assert page.locator(".frame").bounding_box() == before
    page.locator(".facts .close").click()
    expect(page.locator(".facts")).to_be_hidden()
    page.locator(f".strip [data-picture='{first}']").click()
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{first}.png")
    expect(page.locator(".facts")).to_contain_text("第一张")


def test_use_these_settings_and_last_seed(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.locator("#knob-seed input").fill("18446744073709551615")
    page.locator("#knob-triggers input").fill("水墨，留白")
    set_number(page, "stages-0-steps", 5)
    ask(page, "原来的提示词")
    expect_state(page, "done")
    record = scripted.today()[0].record
    assert (record.request.seed, record.request.triggers) == (2**64 - 1, ("水墨", "留白"))
    page.locator("#seed-random").click()
    expect(page.locator("#knob-seed input")).to_have_value("")
    page.locator("#seed-last").click()
    expect(page.locator("#knob-seed input")).to_have_value("18446744073709551615")
    page.locator("#knob-prompt textarea").fill("别的")
    set_number(page, "stages-0-steps", 2)
    page.locator(".canvas .acts .reuse").click()
    expect(page.locator("#knob-prompt textarea")).to_have_value("原来的提示词")
    expect(page.locator("#knob-stages-0-steps input[type=number]")).to_have_value("5")
    ask(page, "原来的提示词")
    newest = page.locator(".strip .cell").first
    expect(newest).not_to_have_attribute("data-picture", record.id)
    assert scripted.today()[0].record.request == record.request


def test_a_press_before_a_change_is_answered_waits_for_it(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()

    def made(press: Locator) -> GenerationRequest:
        """Press, and Generate before the server answers; return what is made."""
        held: list[Route] = []
        page.route("**/run/predict*", lambda route: held.append(route), times=1)
        with page.expect_request("**/run/predict*"):
            press.click()
        last = scripted.today()[0].record.id
        page.locator("#generate").click()
        held[0].continue_()
        expect(page.locator(".strip .cell").first).not_to_have_attribute("data-picture", last)
        return scripted.today()[0].record.request

    ask(page, "种子")
    expect_state(page, "done")
    seed = page.locator("#knob-seed input")
    seed.fill("7")
    assert made(page.locator("#seed-random")).seed != 7
    last = scripted.today()[0].record.request.seed
    seed.fill("7")
    assert made(page.locator("#seed-last")).seed == last
    assert made(page.locator("#examples button").first).prompt == "红色小船"


def test_settings_that_no_slider_could_make_come_back_exactly(visit: Visit, scripted: QuickPageStudio) -> None:
    first = Stage(
        width=64, height=96, steps=100, cfg=17.25, denoise=0.333, r=0.123, eta=3.7, shift=0.05, seed=2**63 + 1
    )
    second = Stage(width=96, height=64, steps=1, easycache=EasyCache(threshold=2.345, start=0.001, window_shift=7.125))
    request = GenerationRequest(prompt="精确", seed=7, stages=(first, second))
    scripted.step_seconds = 0.0
    finish(scripted, scripted.submit(request, "quick"))
    page = visit()
    page.locator(".strip .thumb").first.click()
    expect(page.locator(".facts")).to_contain_text("精确")
    page.locator(".canvas .acts .reuse").click()
    expect(page.locator("#knob-prompt textarea")).to_have_value("精确")
    _open_advanced(page, 0)
    _open_advanced(page, 1)
    page.locator("#generate").click()
    expect_state(page, "done")
    made = scripted.today()[0].record.request
    assert made.seed == 7
    assert made.stages is not None
    assert made.stages[:2] == (first, second)


def test_pictures_asked_for_while_one_is_made_are_shown_in_turn(visit: Visit, scripted: QuickPageStudio) -> None:
    scripted.loading = threading.Event()
    scripted.step_seconds = 0.1  # long enough to be seen
    page = visit()
    page.evaluate(
        """() => {
          window.jobs = [];
          const canvas = document.querySelector(".canvas");
          new MutationObserver(() => {
            if (canvas.dataset.job && !window.jobs.includes(canvas.dataset.job)) window.jobs.push(canvas.dataset.job);
          }).observe(canvas, {attributes: true});
        }"""
    )
    for number in range(3):
        ask(page, f"第 {number} 张")
        expect_state(page, "loading")
        expect(page.locator(".canvas .message")).to_have_text("正在加载：权重")
    expect(page.locator(".bar .jobs")).to_have_text("任务 3")
    scripted.loading.set()
    scripted.loading = None
    expect(page.locator(".facts")).to_contain_text("第 2 张")
    expect_state(page, "done")
    assert page.evaluate("window.jobs.length") == 3
    made = [picture.record.request.prompt for picture in scripted.today(limit=3)]
    assert made == ["第 2 张", "第 1 张", "第 0 张"]


def test_two_browsers_wait_in_one_queue_each_in_its_language(visit: Visit, scripted: QuickPageStudio) -> None:
    """Chinese of other places than China is traditional, and what is neither Chinese nor English is English."""
    scripted.step_seconds = 60.0
    first, second = visit(locale="zh-HK"), visit(locale="fr-FR")
    expect(first.locator("#generate")).to_have_text("開始生成")
    expect(second.locator("#generate")).to_have_text("Generate")
    ask(first, "先来")
    expect_state(first, "running")
    ask(second, "comes later")
    expect_state(second, "waiting")
    expect(second.locator(".canvas .message")).to_have_text("Waiting: 1 ahead in the queue")
    first.locator("#stop").click()
    expect_state(first, "cancelled")
    expect_state(second, "running")
    second.locator("#stop").click()
    expect_state(second, "cancelled")


def test_two_tabs_of_one_browser_show_the_same_run(visit: Visit, scripted: QuickPageStudio) -> None:
    scripted.loading = threading.Event()
    first = visit()
    ask(first, "两个标签页")
    expect_state(first, "loading")
    second = first.context.new_page()
    arrive(second, first.url)
    expect_state(second, "loading")
    assert first.evaluate("window.gradio_config.connect_heartbeat") is False
    # Of the hidden tabs only the last keeps a connection open: browsers allow six for all tabs together.
    _show(first, False)
    with first.expect_response(lambda answer: answer.url.endswith("/gradio_api/cancel")):
        _show(second, False)
    first.evaluate("new BroadcastChannel('studio-hidden').postMessage(0)")  # as if from before, but late
    second.locator("#stop").click()
    expect_state(second, "cancelled")
    expect_state(first, "loading")
    _show(first, True)
    expect_state(first, "cancelled")


def _show(page: Page, shown: bool) -> None:
    """Let a tab's scripts believe that it is shown or hidden."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        not shown,
    )


def _open_advanced(page: Page, stage: int) -> None:
    page.locator("#knob-stages [role=tab]").nth(stage).click()
    page.locator(f"#stage-{stage} summary").first.click()


WRONG = (
    ("#knob-prompt textarea", "", "提示词：", "knob-prompt"),
    ("#knob-prompt textarea", "长" * 100_000, "最多 8000 个字符", "knob-prompt"),
    ("#knob-seed input", "abc", '种子："abc"', "knob-seed"),
    ("#knob-seed input", str(2**64), "不能大于 18446744073709551615", "knob-seed"),
    ("#knob-triggers input", "词" * 201, "触发词：", "knob-triggers"),
    ("#knob-stages-0-width input[type=number]", "100", "宽：100（第 1 阶段）", "knob-stages-0-width"),
    (
        "#knob-stages-0-easycache-window_shift input",
        "-3",
        "EasyCache 窗口 shift：-3",
        "knob-stages-0-easycache-window_shift",
    ),
)
"""Fields, what none of them may hold, how it is refused, and where; the last in a part that is closed otherwise."""


def test_what_is_not_allowed_is_named_and_painted(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    page.locator("#knob-prompt textarea").fill("小船")
    _open_advanced(page, 0)
    page.locator("#knob-stages-0-easycache input").check()
    for selector, text, sentence, painted in WRONG:
        page.locator("#knob-stages [role=tab]").first.click()
        field = page.locator(selector)
        right = field.input_value()
        field.fill(text)
        field.press("Tab")
        page.locator("#knob-stages [role=tab]").nth(1).click()
        page.locator("#generate").click()
        expect(page.locator(".notice")).to_contain_text(sentence)
        expect(page.locator(".notice")).to_be_visible()
        expect(page.locator(".studio-wrong")).to_have_attribute("id", painted)
        expect(page.locator(".studio-wrong")).to_be_visible()
        expect_state(page, "idle")
        field.fill(right)
        field.press("Tab")
    # A number beyond its slider is refused in our words, too, not in those of the browser.
    steps = page.locator("#knob-stages-0-steps input[type=number]")
    steps.fill("1000")
    steps.press("Control+Enter")
    expect(page.locator(".notice")).to_contain_text("不能大于 200")
    expect(page.locator(".studio-wrong")).to_have_attribute("id", "knob-stages-0-steps")


def test_a_model_brings_its_settings_and_examples(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    expect(page.locator(".examples button")).to_have_text(["红色小船", "<b>bold</b> example"])
    page.locator(".examples button").nth(1).click()
    expect(page.locator("#knob-prompt textarea")).to_have_value("<b>bold</b> example")
    choose_model(page, "三个阶段")
    expect(page.locator(".examples button")).to_have_count(0)
    expect(page.locator("#knob-model")).to_contain_text("同 ComfyUI。")
    expect(page.locator("#knob-stages-0-steps input[type=number]")).to_have_value("9")
    page.locator("#knob-stages [role=tab]").nth(2).click()
    expect(page.locator("#knob-stages-2-scheduler select")).to_have_value("beta")
    set_number(page, "stages-2-steps", 3)
    apply_preset(page, "model:recommended")
    expect(page.locator("#knob-stages-2-steps input[type=number]")).to_have_value("16")
    apply_preset(page, "model:single_stage")
    expect(page.locator("#knob-stages [role=tab]")).to_have_count(1)
    expect(page.locator("#knob-stages-0-width input[type=number]")).to_have_value("672")


def test_stages_that_a_model_or_a_reset_replaced_can_be_had_back(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    notice, steps = page.locator(".notice"), page.locator("#knob-stages-0-steps input[type=number]")
    choose_model(page, "三个阶段")
    expect(steps).to_have_value("9")
    expect(notice).to_be_hidden()  # nothing of one's own was lost
    set_number(page, "stages-0-steps", 5)
    page.locator("#knob-model input").focus()
    page.locator("#knob-prompt textarea").focus()
    page.locator(".picture-size .swap").click()  # is answered after what the page would do about the model
    expect(page.locator(".picture-size.turned")).to_be_visible()
    expect(steps).to_have_value("5")
    choose_model(page, "快速渐变")
    expect(notice).to_contain_text("阶段已换成该模型推荐的设置。")
    expect(steps).to_have_value("3")
    notice.locator(".undo").click()
    expect(steps).to_have_value("5")
    expect(page.locator("#knob-model input")).to_have_value("快速渐变")
    page.locator(".presets .more").click()
    page.locator(".presets .reset").dblclick()  # the second press changes nothing, so the Undo of the first stays
    expect(notice).to_contain_text("已全部恢复为模型推荐的参数")
    expect(steps).to_have_value("3")
    notice.locator(".undo").click()
    expect(steps).to_have_value("5")


def test_settings_and_the_run_survive_a_reload(visit: Visit, scripted: QuickPageStudio) -> None:
    scripted.step_seconds = 5.0
    page = visit()
    page.locator("#knob-seed input").fill("9007199254740993")
    set_number(page, "stages-0-steps", 7)
    ask(page, "记住我")
    expect_state(page, "running")
    job = page.locator(".canvas").get_attribute("data-job")
    set_number(page, "stages-0-width", 1000)
    page.locator("#knob-stages-0-cfg input[type=number]").fill("")
    page.wait_for_function("localStorage.getItem('zimage-studio-settings') !== null")
    other = page.context.new_page()
    arrive(other, page.url)
    expect(other.locator("#knob-seed input")).to_have_value("9007199254740993")  # a new tab begins with the same
    other.locator("#knob-prompt textarea").fill("另一个标签页")
    other.wait_for_function("sessionStorage.getItem('studio-settings')?.includes('另一个')")
    arrive(page)
    expect(page.locator("#knob-prompt textarea")).to_have_value("记住我")
    expect(page.locator("#knob-seed input")).to_have_value("9007199254740993")
    for name, value in (("steps", "7"), ("width", "1000"), ("cfg", "")):
        expect(page.locator(f"#knob-stages-0-{name} input[type=number]")).to_have_value(value)
    expect(page.locator(".canvas")).to_have_attribute("data-job", str(job))
    expect(page.locator("#stop")).to_be_enabled()
    scripted.step_seconds = 0.02
    expect_state(page, "done")
    expect(page.locator("#stop")).to_be_disabled()


def test_a_huge_text_is_refused_and_costs_no_settings(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    ask(page, "长" * 400_000)
    expect(page.locator(".notice")).to_contain_text("提示词")
    arrive(page)
    expect(page.locator("#knob-prompt textarea")).to_have_value(re.compile("^长+$"))
    # What an earlier version saved can't be restored, but new settings are remembered.
    page.evaluate("sessionStorage.setItem('studio-settings', JSON.stringify({prompt: 'x'.repeat(400_000)}))")
    arrive(page)
    page.locator("#knob-prompt textarea").fill("短")
    page.wait_for_function("JSON.parse(sessionStorage.getItem('studio-settings')).prompt === '短'")


def test_after_an_ended_login_or_a_lost_connection_the_page_comes_again_and_refusals_are_told(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit()
    refusal = {"error": "请求过于频繁，请稍候。", "detail": "请求过于频繁，请稍候。"}
    page.route("**/gradio_api/**", lambda route: route.fulfill(status=429, json=refusal))
    page.locator("#seed-last").click()
    expect(page.locator(".studio-toast")).to_contain_text("请求过于频繁")
    page.locator(".prompt-tools .open[data-panel=wildcards]").click()
    expect(page.locator(".prompt-tools .none")).to_have_text("请求过于频繁，请稍候。")
    page.route("**/import?*", lambda route: route.fulfill(status=408, json={"detail": "请求传输过慢，已中断。"}))
    page.locator(".drop input").set_input_files({"name": "x.json", "mimeType": "application/json", "buffer": b"{}"})
    expect(page.locator(".drop .problem")).to_have_text("请求传输过慢，已中断。")
    page.unroute_all()
    page.route("**/gradio_api/**", lambda route: route.fulfill(status=401, json=refusal), times=1)
    with page.expect_event("load"):
        page.locator("#seed-last").click()
    page.wait_for_function("window.studio?.restored === true")
    page.locator("#knob-prompt textarea").fill("之前")
    page.route("**/gradio_api/**", lambda route: route.abort())
    page.locator("#seed-last").click()
    expect(page.locator(".toast-body")).to_contain_text("正在重连…")
    page.locator("#knob-prompt textarea").fill("断线时写的")
    with page.expect_event("load"):
        page.unroute_all()
    expect(page.locator("#knob-prompt textarea")).to_have_value("断线时写的")


def test_language_and_darkness_are_remembered_and_a_failure_is_told_in_the_language(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    scripted.failure = ERROR
    page = visit(locale="en-US")
    expect(page.locator("body")).not_to_have_class("dark")
    _fail(page, ERROR.text.en)
    page.locator(".bar [data-language=zh]").click()
    expect(page.locator("#generate")).to_have_text("开始生成")
    page.locator(".bar .theme").click()
    colour = page.locator("#left").evaluate("(node) => getComputedStyle(node).backgroundColor")
    assert colour == "rgb(27, 26, 24)"
    arrive(page)
    expect(page.locator("#generate")).to_have_text("开始生成")
    expect(page.locator("#left")).to_have_css("background-color", colour)
    _fail(page, ERROR.text.zh)


def _fail(page: Page, sentence: str) -> None:
    """Ask for a picture, and expect that it fails with this sentence."""
    before = page.locator(".canvas").get_attribute("data-job") or ""
    ask(page, "会失败")
    expect(page.locator(".canvas")).not_to_have_attribute("data-job", before)
    expect_state(page, "failed")
    expect(page.locator(".canvas .message")).to_have_text(sentence)
    expect(page.locator("#generate")).to_be_enabled()


def test_a_prompt_is_never_read_as_html(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    ask(page, PAYLOAD)
    expect_state(page, "done")
    expect(page.locator(".facts dd").first).to_have_text(PAYLOAD)
    scripted.failure = ERROR
    page.locator("#knob-seed input").fill(PAYLOAD)
    page.locator("#generate").click()
    expect(page.locator(".notice")).to_contain_text("<img")
    page.locator("#knob-seed input").fill("")
    page.locator("#generate").click()
    expect(page.locator(".canvas .message")).to_contain_text("<i>")
    arrive(page)
    expect(page.locator(".strip img").first).to_have_attribute("alt", PAYLOAD)
    assert page.locator(".canvas i i, .notice span *, .facts img, .canvas script").count() == 0


def test_a_phone_scrolls_only_up_and_down_and_paints_nothing_over_its_bars(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit(**PHONE)
    layers = """(selector) => Math.max(...[...document.querySelectorAll(selector)]
      .map((node) => Number(getComputedStyle(node).zIndex) || 0))"""
    highest = page.evaluate(layers, "#compose *, #shape *, #settings *")
    assert page.evaluate(layers, "#go") > highest
    assert page.evaluate(layers, "#topbar, #topbar *") > highest
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ask(page, "手机上的小船")
    expect_state(page, "done")
    page.locator(".acts .details").click()
    expect(page.locator(".facts")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator(".acts .details").click()
    expect(page.locator("#generate")).to_be_in_viewport(ratio=1)
    expect(page.locator(".big")).to_be_in_viewport()
    page.locator(".presets .apply").scroll_into_view_if_needed()
    expect(page.locator("#generate")).to_be_in_viewport(ratio=1)


def test_every_control_has_a_name_and_can_be_reached_and_no_hidden_timer_runs(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit()
    counted = page.evaluate(  # as Gradio's loading screen counts seconds, in every frame and without end
        """() => new Promise((done) => {
          const start = performance.now();
          let seconds = null;
          requestAnimationFrame(() => (seconds = (performance.now() - start) / 1000));
          requestAnimationFrame(() => requestAnimationFrame(() => done(seconds)));
        })"""
    )
    assert counted is None
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea, [role=progressbar]")]
          .filter((node) => node.checkVisibility({ checkVisibilityCSS: true }) && !node.disabled)
          .filter((node) => !(node.innerText || node.ariaLabel || node.title || node.labels?.length))
          .map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    page.locator("#knob-prompt textarea").focus()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id"))
    assert {"knob-negative", "knob-seed", "knob-stages-0-steps-field", "generate"} <= reached
