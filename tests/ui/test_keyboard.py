"""The page by keyboard: generating, stopping, the sheet of shortcuts, and the way of the Tab key."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.service.lora_files import write_lora
from tests.ui.conftest import Visit, ask, expect_state
from tests.ui.doubles import QuickPageStudio

SHEET = "dialog.studio-keys"
COMPOSING = """([where, key, ctrlKey, how]) => document.querySelector(where).dispatchEvent(
  new KeyboardEvent("keydown", { key, ctrlKey, ...how, bubbles: true, cancelable: true }))"""
INPUT_METHOD = {"isComposing": True}
SAFARI = {"keyCode": 229}
"""How the last key of an input method is reported there."""

READ = (
    *(
        "#topbar",
        "#knob-prompt",
        "#prompt",
        "#examples",
        "#drop",
        "#knob-size",
        "#seeds",
        "#buttons",
        "#summary",
        "#knob-loras",
    ),
    *("#triggers", "#knob-negative", "#negatives", "#knob-model", "#models", "#presets", "#everything"),
)
"""Places of the left column, in the order in which they are read."""


GENERATES = (
    ("Control+Enter", "#knob-prompt textarea"),
    ("Control+Enter", "#knob-negative textarea"),
    ("Control+Enter", ".triggers input"),
    ("Control+Enter", "body"),
    ("Meta+Enter", ".triggers input"),
    ("Meta+Enter", "body"),
    ("Shift+Enter", "#knob-prompt textarea"),  # Gradio's own
)
"""Keys that make a picture, and where."""


def start_slowly(page: Page, scripted: QuickPageStudio) -> None:
    """A run that goes on until it is stopped."""
    scripted.step_seconds = 60.0
    ask(page, "小船")
    expect_state(page, "running")


def test_generate_from_anywhere(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    canvas, last = page.locator(".canvas"), ""
    for number, (keys, where) in enumerate(GENERATES):
        page.locator("#knob-prompt textarea").fill(f"小船 {number}")
        page.locator(where).press(keys)
        expect(canvas).not_to_have_attribute("data-job", last)
        expect_state(page, "done")
        expect(page.locator("#knob-prompt textarea")).to_have_value(f"小船 {number}")
        assert scripted.today()[0].record.request.prompt == f"小船 {number}"
        last = canvas.get_attribute("data-job") or ""
        assert last, (keys, where)


def test_keys_of_a_chinese_keyboard_that_is_composing_do_nothing(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    prompt = "#knob-prompt textarea"
    page.locator(prompt).fill("小船")
    page.evaluate(COMPOSING, [prompt, "Enter", True, INPUT_METHOD])
    expect_state(page, "idle")
    page.locator(".triggers input").fill("shui")
    page.evaluate(COMPOSING, [".triggers input", "Enter", False, SAFARI])
    expect(page.locator(".triggers .chip")).to_have_count(0)
    start_slowly(page, scripted)
    page.evaluate(COMPOSING, [prompt, "Escape", False, INPUT_METHOD])
    page.wait_for_timeout(300)
    expect_state(page, "running")
    page.locator("#knob-negative textarea").press("Escape")  # of a field that composes nothing, it stops the run
    expect_state(page, "cancelled")
    page.keyboard.press("Escape")
    expect_state(page, "cancelled")


def test_escape_belongs_to_what_is_open(visit: Visit, scripted: QuickPageStudio) -> None:
    write_lora(scripted.loras.folder / "ink.safetensors")
    page = visit()
    start_slowly(page, scripted)
    page.locator(".loras .add").click()
    page.keyboard.press("Escape")
    expect(page.locator(".studio-loras")).to_have_count(0)
    page.locator(".prompt-tools .open").first.click()
    expect(page.locator(".prompt-tools .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".prompt-tools .panel")).to_be_hidden()
    page.locator("#knob-model input").click()
    expect(page.locator("ul[role=listbox]")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("ul[role=listbox]")).to_have_count(0)
    page.locator(".negatives summary").click()
    page.locator(".negatives input[type=search]").press("Escape")
    page.locator(".bar .keys").click()
    page.keyboard.press("Escape")
    expect(page.locator(SHEET)).to_have_count(0)
    expect(page.locator(".bar .keys")).to_be_focused()
    expect_state(page, "running")
    page.keyboard.press("Escape")
    expect_state(page, "cancelled")


def test_the_sheet_opens_with_a_question_mark_but_not_while_one_is_typed(visit: Visit) -> None:
    """Its words in the other languages: see test_languages.py."""
    page = visit()
    page.locator("#knob-prompt textarea").press("?")
    expect(page.locator("#knob-prompt textarea")).to_have_value("?")
    expect(page.locator(SHEET)).to_have_count(0)
    page.locator(".bar .theme").focus()
    page.keyboard.press("?")
    expect(page.locator(f"{SHEET} h2")).to_have_text("键盘快捷键")
    assert page.locator(f"{SHEET} dt").count() == page.locator(f"{SHEET} dd").count() > 10
    page.keyboard.press("Control+Enter")
    expect_state(page, "idle")
    page.locator(f"{SHEET} .close").click()
    expect(page.locator(SHEET)).to_have_count(0)


def test_tab_goes_through_the_page_in_the_order_in_which_it_is_read(visit: Visit) -> None:
    page = visit()
    # The first stops skip to what counts.
    page.locator(".bar button:visible").first.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.locator(".studio-skip").first).to_be_focused()
    expect(page.locator(".studio-skip").first).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#generate")).to_be_focused()
    page.locator(".studio-skip").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#right")).to_be_focused()
    page.locator("#knob-prompt textarea").fill("小船")
    expect(page.locator("#summary .summary")).not_to_be_empty()  # an empty line is no stop
    page.locator(".studio-skip").last.focus()
    places: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "names => names.find((name) => document.activeElement.closest(name)) || ''",
            list(READ),
        )
        if where and where not in places:
            places.append(where)
        if where == "#everything":
            break
    assert places == list(READ)


_LOOK = """(at) => {
  const near = [at.querySelector(".thumb")];
  for (let node = at; node && near.length < 6; node = node.parentElement) near.push(node);
  return near.filter(Boolean).map((node) => {
    const style = getComputedStyle(node);
    return [style.outlineStyle === "none" ? "" : style.outline, style.boxShadow, style.borderColor].join();
  }).join(";");
}"""


def test_every_stop_of_tab_can_be_seen_in_both_themes(visit: Visit) -> None:
    """Focus is drawn: an outline, a shadow or a border that the element doesn't have otherwise."""
    page = visit(reduced_motion="reduce")
    page.locator("#knob-prompt textarea").fill("小船")
    for dark in ("false", "true"):
        expect(page.locator(".bar .theme")).to_have_attribute("aria-pressed", dark)
        assert unseen_stops(page) == [], f"dark: {dark}"
        page.locator(".bar .theme").click()


def unseen_stops(page: Page) -> list[str]:
    """The first 45 stops of the Tab key, as far as focus changes nothing of how they look."""
    page.locator(".studio-skip").first.focus()
    unseen: list[str] = []
    for _ in range(45):
        page.keyboard.press("Tab")
        at = page.evaluate_handle("document.activeElement")
        if page.evaluate("at => at === document.body", at):
            break
        focused = page.evaluate(_LOOK, at)
        page.evaluate("at => at.blur()", at)
        if focused == page.evaluate(_LOOK, at):
            unseen.append(page.evaluate("at => at.outerHTML.slice(0, 120)", at))
        page.evaluate("at => at.focus()", at)
    return unseen
