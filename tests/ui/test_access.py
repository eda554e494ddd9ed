"""axe-core's rules on every view of the page: contrast, names, roles, structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from tests.service.lora_files import write_lora
from tests.ui.conftest import Visit, ask, expect_state
from tests.ui.doubles import QuickPageStudio
from tests.ui.test_mask_editor import a_photo

TABS = ("canvas", "compare", "history")
ALIKE = (".history .card:nth-child(n+4)", ".strip .pictures > :nth-child(n+4)")
"""Pictures that are shown as the three before them; other tests leave dozens."""

VIOLATIONS = "async (place) => (await axe.run(place, { resultTypes: ['violations'] })).violations"


@pytest.fixture
def furnished(scripted: QuickPageStudio) -> Iterator[QuickPageStudio]:
    """A studio with a LoRA and a wildcard to choose."""
    write_lora(scripted.loras.folder / "ink.safetensors")
    scripted.loras.entries(refresh=True)
    scripted.wildcards.folder.mkdir(exist_ok=True)
    (scripted.wildcards.folder / "light.txt").write_text("a\nb\n", encoding="utf-8")
    yield scripted
    (scripted.wildcards.folder / "light.txt").unlink()
    (scripted.loras.folder / "ink.safetensors").unlink()
    scripted.loras.entries(refresh=True)


class Checker:
    """Runs the rules and keeps what they find, by view."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.evaluate(AXE_SCRIPT)
        self.found: list[str] = []

    def look(self, view: str, where: str = "html") -> None:
        """Judge a part of the page; the rest of it has been judged in another view."""
        self._page.wait_for_timeout(250)  # what slides or fades in is judged when it is there
        place = {"include": [[where]], "exclude": [[each] for each in ALIKE]}
        for rule in self._page.evaluate(VIOLATIONS, place):
            for node in rule["nodes"]:
                if rule["impact"] in ("serious", "critical"):
                    self.found.append(f"{view}: {rule['id']} {node['target']} {node['html'][:120]}")


def left_column(page: Page, check: Checker) -> None:
    page.locator(".triggers input").fill("水墨,留白,")
    page.locator("#knob-prompt textarea").fill("{a|b}小船 (光:1.2)")
    expect(page.locator(".reading .text")).to_be_visible()
    page.locator(".prompt-tools .open[data-panel=wildcards]").click()
    page.locator(".prompt-tools .look").first.click()
    page.locator(".loras .add").click()
    expect(page.locator(".studio-loras .card")).to_have_count(1)
    check.look("LoRA picker", "dialog[open]")
    page.locator(".studio-loras .card").click()
    page.locator(".studio-loras .done").click()
    page.locator(".loras .details").click()
    for summary in page.locator("#left summary").all():
        if summary.is_visible():
            summary.click()
    check.look("left column, all open", "#left")
    page.locator(".prompt-tools .open[data-panel=history]").click()
    check.look("prompt history", ".prompt-tools")


def dialogs(page: Page, check: Checker) -> None:
    page.evaluate("window.studio.showKeys()")
    check.look("shortcuts", "dialog[open]")
    page.keyboard.press("Escape")
    file: Any = {"name": "x.png", "mimeType": "image/png", "buffer": a_photo()}
    page.locator(".drop input").set_input_files(file)
    page.locator(".drop .start-from").click()
    page.locator(".start .part").click()
    expect(page.locator(".mask-editor .show")).to_be_visible()
    check.look("mask editor", "dialog[open]")
    page.keyboard.press("Escape")
    page.locator(".start .remove").click()
    page.locator(".bar .gauges").click()
    expect(page.locator("dialog.machine dl").first).to_be_visible()
    check.look("machine", "dialog[open]")
    page.keyboard.press("Escape")


def right_column(page: Page, check: Checker) -> None:
    for place, name in enumerate(TABS):
        page.locator(".views [role=tab]").nth(place).click()
        check.look(name, "#right")
    page.locator(".history .card .pick").first.check(force=True)
    check.look("selection", "#right")
    page.locator(".history .card .open").first.click()
    expect(page.locator("dialog.viewer")).to_be_visible()
    check.look("viewer", "dialog[open]")
    page.keyboard.press("Escape")
    page.locator(".views [role=tab]").first.click()


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize(("scheme", "width", "locale"), [("light", 1440, "zh-CN"), ("dark", 390, "en-US")])
def test_no_serious_finding_in_any_view(visit: Visit, scheme: str, width: int, locale: str) -> None:
    page = visit(
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        locale=locale,
        reduced_motion="reduce",
    )
    check = Checker(page)
    check.look("idle")
    for prompt in ("小船", "灯塔"):
        ask(page, prompt)
        expect_state(page, "done")
        expect(page.locator("#generate")).to_be_enabled()
    left_column(page, check)
    dialogs(page, check)
    right_column(page, check)
    page.locator("#knob-seed input").fill("x")
    page.locator("#generate").click()
    expect(page.locator("#notice .notice")).to_be_visible()
    check.look("refused", "#actions")
    assert check.found == []
    assert rules_found_broken(page, check) >= {"button-name", "color-contrast"}


def rules_found_broken(page: Page, check: Checker) -> set[str]:
    """The rules that are found to be broken once something on the page is wrong: the judge is awake."""
    wrong = '<button></button><p style="color: #999; background: #aaa">Hard to read</p>'
    page.evaluate("wrong => document.querySelector('#actions').insertAdjacentHTML('afterbegin', wrong)", wrong)
    check.look("broken", "#actions")
    return {line.split()[1] for line in check.found}
