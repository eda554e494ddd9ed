"""X2: text that would be a script, in every way that text comes to the page, in Chromium: none of it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.service.lora_files import write_json, write_lora
from tests.ui.conftest import Visit, ask, expect_state, served
from tests.ui.doubles import QUICK, QuickPageStudio
from tests.ui.test_drop import DROP
from tests.ui.test_prompt_tools import open_panel
from zimage_app.domain.card import ModelCard
from zimage_app.domain.text import Text

PAYLOAD = "<img src=x onerror=window.ran=1>"
CLOSING = f"\"'></textarea></script><script>window.ran=1</script>{PAYLOAD}"
"""Leaves what it may have been put in, then runs."""
EVIL = ModelCard(
    name="evil",
    title=Text(PAYLOAD, PAYLOAD),
    description=Text(CLOSING, CLOSING),
    stages=QUICK.stages,
    examples=(CLOSING,),
)


class Infected(QuickPageStudio):
    """Everything that lies on its disk, and its model, says the same."""

    def cards(self) -> tuple[ModelCard, ...]:
        return (*super().cards(), EVIL)


def infect(folder: Path) -> None:
    """Files whose names and contents are scripts."""
    for name in ("loras", "presets", "wildcards", "negative"):
        (folder / name).mkdir()
    lora = write_lora(folder / "loras" / f"{PAYLOAD}.safetensors", {"modelspec.title": CLOSING})
    write_json(lora.with_suffix(".json"), {"activation text": CLOSING, "notes": CLOSING})
    title = json.dumps(CLOSING)
    preset = f"title: {{en: {title}, zh: {title}}}\ndescription: {{en: {title}, zh: {title}}}\nnegative: {title}\n"
    (folder / "presets" / f"{PAYLOAD}.yaml").write_text(preset, encoding="utf-8")
    (folder / "presets" / "broken.yaml").write_text(f"{title}: 1\n", encoding="utf-8")
    (folder / "wildcards" / "evil.txt").write_text(f"# {CLOSING}\n{CLOSING}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("infected")
    infect(folder)
    studio = Infected(folder)
    with served(studio) as address:
        yield address
    studio.settle()
    studio.close()


def ran_nothing(page: Page) -> None:
    """No payload ran, and none became an element that could."""
    page.wait_for_timeout(100)  # a script that got in would run as soon as its picture fails to load
    assert page.evaluate("window.ran") is None
    assert page.locator("img[src=x], img[onerror]").count() == 0


def test_a_payload_that_got_in_would_be_seen_and_would_not_run(visitor: Visit, address: str) -> None:
    page = visitor(address)
    page.evaluate("document.addEventListener('securitypolicyviolation', (event) => (window.stopped = event))")
    page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", PAYLOAD)
    page.wait_for_function("window.stopped?.effectiveDirective === 'script-src-attr'")
    with pytest.raises(AssertionError):
        ran_nothing(page)
    assert page.evaluate("window.ran") is None


def test_x2_prompt_negative_and_trigger_words(visitor: Visit, address: str) -> None:
    page = visitor(address)
    page.locator("#knob-negative textarea").fill(CLOSING)
    page.locator("#knob-triggers input").first.fill(PAYLOAD)
    page.locator("#knob-triggers input").first.press("Enter")
    ask(page, CLOSING)
    expect_state(page, "done")
    expect(page.locator(".facts")).to_contain_text(PAYLOAD)
    ran_nothing(page)
    page.reload()
    page.locator("#view-history").click()
    expect(page.locator(".history .card").first).to_be_visible()
    page.locator(".history .card .open").first.click()
    expect(page.locator(".history, .viewer, dialog").filter(has_text=PAYLOAD).first).to_be_visible()
    ran_nothing(page)


def test_x2_names_and_texts_of_loras_presets_and_wildcards(visitor: Visit, address: str) -> None:
    page = visitor(address)
    page.locator(".loras .add").click()
    card = page.locator(".studio-loras .card")
    expect(card).to_contain_text(PAYLOAD)
    card.click()
    page.locator(".studio-loras .done").click()
    expect(page.locator(".loras .use")).to_contain_text(PAYLOAD)
    ran_nothing(page)
    page.locator(".presets select").select_option(PAYLOAD)
    expect(page.locator(".presets .about")).to_contain_text(PAYLOAD)
    expect(page.locator(".presets .problems")).to_contain_text("broken.yaml")
    page.locator(".presets .apply").click()
    expect(page.locator("#knob-negative textarea")).to_have_value(CLOSING)
    ran_nothing(page)
    open_panel(page, "wildcards")
    expect(page.locator(".prompt-tools .panel")).to_contain_text("__evil__")
    page.locator(".prompt-tools .panel li").first.locator(".look").click()
    expect(page.locator(".prompt-tools .line").first).to_contain_text(PAYLOAD)
    page.locator(".prompt-tools .panel li").first.locator(".put").click()
    expect(page.locator(".reading .text")).to_contain_text(PAYLOAD)
    ran_nothing(page)


def test_x2_what_a_model_and_a_dropped_file_say(visitor: Visit, address: str) -> None:
    page = visitor(address)
    page.locator("#knob-model input").click()
    page.locator("li[role=option]").filter(has_text=PAYLOAD).click()
    expect(page.locator("#knob-model input")).to_have_value(PAYLOAD)
    expect(page.locator(".examples button").first).to_contain_text(PAYLOAD)
    page.locator(".examples button").first.click()
    expect(page.locator("#knob-prompt textarea")).to_have_value(CLOSING)
    ran_nothing(page)
    text = f"{CLOSING}\nNegative prompt: {CLOSING}\nSteps: 5, Sampler: {PAYLOAD}, Model: {PAYLOAD}, {PAYLOAD}: 1"
    page.evaluate(DROP, [f"{PAYLOAD}.txt", text])
    expect(page.locator(".drop")).to_contain_text(PAYLOAD)
    ran_nothing(page)


def test_x2_what_programs_ask_for_and_the_documentation_for_them(visitor: Visit, address: str) -> None:
    page = visitor(address)
    headers = {"cookie": "; ".join(f"{each['name']}={each['value']}" for each in page.context.cookies())}
    asked = httpx.post(f"{address}api/generate", json={"prompt": CLOSING, "negative": CLOSING}, headers=headers)
    assert asked.status_code == 200
    with httpx.stream("GET", f"{address}api/generate/{asked.json()['task_id']}/events", timeout=60) as stream:
        assert "event: end" in stream.read().decode()
    page.reload()
    page.locator("#view-history").click()
    expect(page.locator(".history .card .open").first).to_have_attribute("title", CLOSING)
    ran_nothing(page)
    for path in ("api/history", "api/presets", "api/loras", "api/models"):
        answer = page.goto(f"{address}{path}")
        assert answer is not None
        assert answer.headers["content-type"] == "application/json"
        ran_nothing(page)
    # The documentation works and asks no other machine.
    page.goto(f"{address}docs")
    expect(page.locator(".opblock-post").first).to_contain_text("/generate")
    page.locator(".opblock-post").first.click()
    expect(page.locator(".opblock-body").first).to_contain_text("Queue a picture")
    ran_nothing(page)
