"""Every text of the page in its three languages: none untranslated, and nothing of the user's translated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.service.lora_files import write_lora
from tests.ui.conftest import Visit, ask, expect_state, served
from tests.ui.doubles import QUICK, THREE, QuickPageStudio
from zimage_app.domain.text import Language
from zimage_app.ui.words.i18n import catalogue, say

LOCALES: dict[Language, str] = {"zh": "zh-CN", "zh-Hant": "zh-TW", "en": "en-US"}
CHINESE = re.compile(r"[\u2e80-\u9fff]")
MINE = "我的发动机 mine"
"""What the user typed, in simplified characters."""
ANY_LANGUAGE = {"简", "繁", "影", "简体中文", "繁體中文", *QUICK.examples}
"""Texts that are the same in all languages: languages' own names, the seal, prompts to try."""

SEEN = """() => {
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const holder = walker.currentNode.parentElement;
    if (!holder.closest("script, style, textarea, noscript, kbd")) texts.push(walker.currentNode.textContent);
  }
  for (const node of document.querySelectorAll("*")) {
    for (const name of ["title", "placeholder", "aria-label", "aria-valuetext", "alt"]) {
      texts.push(node.getAttribute(name));
    }
  }
  return [...new Set(texts.filter(Boolean).map((text) => text.trim()).filter(Boolean))];
}"""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, QuickPageStudio]]:
    """The address of a studio with something in every library, and nothing but this module's pictures."""
    folder = tmp_path_factory.mktemp("languages")
    (folder / "wildcards").mkdir()
    (folder / "wildcards" / "mine.txt").write_text("a\nb\n", encoding="utf-8")
    write_lora(folder / "loras" / "ink.safetensors")
    studio = QuickPageStudio(folder)
    with served(studio) as address:
        yield address, studio


def seen(page: Page) -> set[str]:
    texts: list[str] = page.evaluate(SEEN)
    return set(texts)


def walk(page: Page) -> set[str]:
    """All texts of the page, of its panels and dialogs, before and after a picture."""
    texts = seen(page)
    ask(page, MINE)
    expect_state(page, "done")
    texts |= seen(page)
    for name in ("history", "wildcards"):
        page.locator(f".prompt-tools .open[data-panel={name}]").click()
        expect(page.locator(".prompt-tools .panel input")).to_be_focused()
        expect(page.locator(".prompt-tools .panel .text").first).to_be_visible()
        texts |= seen(page)
    page.locator(".loras .add").click()
    expect(page.locator(".studio-loras .card")).to_have_count(1)
    page.locator(".studio-loras .card").click()
    page.locator(".studio-loras .done").click()
    page.locator(".loras .details").click()
    texts |= seen(page)
    page.locator(".bar .keys").click()
    texts |= seen(page)
    page.keyboard.press("Escape")
    for summary in page.locator("#left summary").all():
        if summary.is_visible():
            summary.click()
    for tab in page.locator("[role=tab]").all():
        if tab.is_visible():
            tab.click()
            page.wait_for_timeout(200)
            texts |= seen(page)
    page.locator("#knob-seed input").fill("x")
    page.locator("#generate").click()
    expect(page.locator("#notice .notice")).to_be_visible()
    return texts | seen(page)


def in_big5(letter: str) -> bool:
    """Whether Taiwan's own set of characters has it, in which there are no simplified ones."""
    try:
        return bool(letter.encode("big5"))
    except UnicodeEncodeError:
        return False


def own(text: str) -> bool:
    return text in ANY_LANGUAGE or MINE in text


@pytest.mark.parametrize("language", list(LOCALES))
def test_every_text_is_in_the_readers_language(
    furnished: tuple[str, QuickPageStudio], visitor: Visit, language: Language
) -> None:
    page = visitor(furnished[0], locale=LOCALES[language])
    words = catalogue([QUICK, THREE])
    expect(page).to_have_title(f"Z-Image Progressive Studio · {words['subtitle'].to(language)}")
    texts = {text for text in walk(page) if not own(text)}
    others: dict[Language, set[str]] = {
        name: {text.to(name) for text in words.values() if text.to(name) != text.to(language)} for name in LOCALES
    }
    here = {text.to(language) for text in words.values()}
    assert len(texts & here) > 100
    assert not [text for text in texts for name in LOCALES if text in others[name] - here]
    about = words["prompt_wildcards_about"].to(language)  # shows what may be typed
    if language == "en":
        assert not [text for text in texts if CHINESE.search(text) and text != about]
    if language == "zh-Hant":
        assert not {
            letter for text in texts if text != about for letter in CHINESE.findall(text) if not in_big5(letter)
        }
    assert not [
        text
        for text in texts
        if re.search(r"__i18n__|\{\w+\}|undefined|(number input|range slider) for", text) and text != about
    ]


def test_nothing_of_the_users_is_converted(furnished: tuple[str, QuickPageStudio], visitor: Visit) -> None:
    address, studio = furnished
    page = visitor(address, locale="zh-TW")
    page.locator(".triggers input").fill("发光,")
    ask(page, f"{MINE} __发光__")
    expect(page.locator("#notice .notice")).to_have_text(re.compile(r"^提示詞：沒有萬用字元 __发光__；"))
    ask(page, MINE)
    expect_state(page, "done")
    expect(page.locator(".facts")).to_contain_text(MINE)
    expect(page.locator(".triggers .chip .word")).to_have_text("发光")
    request = studio.today()[0].record.request
    assert (request.prompt, request.triggers) == (MINE, ("发光",))


def test_the_buttons_change_the_language_and_say_which_it_is(visit: Visit) -> None:
    page = visit(locale="en-US")
    for language in ("zh-Hant", "zh", "en"):
        page.locator(f".bar [data-language={language}]").click()
        expect(page.locator("#generate")).to_have_text(say("generate", language))
        pressed: list[Any] = [
            button.get_attribute("aria-pressed") for button in page.locator(".bar [data-language]").all()
        ]
        assert pressed.count("true") == 1
        expect(page.locator(f".bar [data-language={language}]")).to_have_attribute("aria-pressed", "true")
    page.locator(".bar [data-language=zh-Hant]").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-TW")
