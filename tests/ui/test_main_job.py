"""The main job on the demo model, few steps: prompt in, three stages live, the saved picture on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.conftest import Visit, arrive, ask, expect_state, served, set_number
from zimage_app.domain.record import ImageRecord
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

PROMPT = "夕阳下平静的湖面上一艘红色小船，远处雪山"
LONG = 120_000
"""Milliseconds that a run may take on a busy machine."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def studio(outputs: Path) -> Iterator[Studio]:
    studio = Studio(StudioConfig(outputs=outputs, model="demo", offline=True))
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def address(studio: Studio) -> Iterator[str]:
    with served(studio) as address:
        yield address


def _set_steps(page: Page, *steps: int) -> None:
    for stage, count in enumerate(steps):
        page.locator("#knob-stages [role=tab]").nth(stage).click()
        set_number(page, f"stages-{stage}-steps", count)


def test_a_prompt_becomes_the_saved_picture_before_ones_eyes(visitor: Visit, address: str, outputs: Path) -> None:
    page = visitor(address)
    _set_steps(page, 3, 3, 2)
    page.evaluate(
        """() => {
          window.seen = [new Set(), new Set(), new Set()];
          window.said = "";
          const look = () => {
            window.said += document.querySelector(".canvas .message").textContent;
            [...document.querySelectorAll(".canvas .tile img")]
              .map((image) => image.getAttribute("src"))
              .forEach((source, stage) => source && window.seen[stage].add(source));
          };
          new MutationObserver(look)
            .observe(document.querySelector(".canvas"), {subtree: true, attributes: true, childList: true});
        }"""
    )
    ask(page, PROMPT)
    expect_state(page, "done", LONG)
    # Loading may be over before the page looks; test_page.py tests that it is told.
    assert "第 3/3 阶段" in page.evaluate("window.said")
    # Of the first two stages: at least two rough previews, and the decoded picture.
    assert all(count >= 3 for count in page.evaluate("window.seen.map((sources) => sources.size)")[:2])
    (saved,) = outputs.rglob("*.png")
    expect(page.locator(".big")).to_have_attribute("src", f"pictures/{saved.stem}.png")
    page.wait_for_function("document.querySelector('.big').naturalWidth === 672")
    assert page.evaluate("document.querySelector('.big').naturalHeight") == 864
    shown = page.evaluate(
        "async () => [...new Uint8Array(await (await fetch(document.querySelector('.big').src)).arrayBuffer())]"
    )
    assert bytes(shown) == saved.read_bytes()
    with Image.open(saved) as image:
        assert image.size == (672, 864)
        assert image.text["parameters"].startswith(PROMPT)  # type: ignore[attr-defined]
    expect(page.locator(".facts")).to_contain_text("176×224 → 336×432 → 672×864")
    expect(page.locator(".facts")).to_contain_text("3 / 3 / 2")


def test_the_same_settings_make_the_same_pixels(visitor: Visit, address: str, studio: Studio) -> None:
    page = visitor(address)
    page.locator(".strip .thumb").first.click()
    expect(page.locator(".facts")).to_contain_text(PROMPT)
    page.locator(".canvas .acts .reuse").click()
    expect(page.locator("#knob-prompt textarea")).to_have_value(PROMPT)
    page.locator("#generate").click()
    expect(page.locator(".strip .thumb")).to_have_count(2, timeout=LONG)
    new, old = studio.today()
    assert _settings(new.record) == _settings(old.record)
    with Image.open(new.path) as again, Image.open(old.path) as first:
        assert again.tobytes() == first.tobytes()


def _settings(record: ImageRecord) -> object:
    return record.request, record.model, [stage.seed for stage in record.stages]


def test_a_real_run_survives_a_reload_and_stops_when_told(visitor: Visit, address: str, outputs: Path) -> None:
    before = set(outputs.rglob("*.png"))
    page = visitor(address, locale="en-US")
    for stage in range(3):  # so that it isn't over before the page is back, on a slow machine
        page.locator(f"#stage-tab-{stage}").click()
        set_number(page, f"stages-{stage}-steps", 200)
    ask(page, "a red boat on a calm lake at sunset")
    expect_state(page, "running", LONG)
    job = page.locator(".canvas").get_attribute("data-job")
    arrive(page)
    expect(page.locator(".canvas")).to_have_attribute("data-job", str(job))
    expect(page.locator(".canvas .message")).to_contain_text(re.compile("step [1-9]"), timeout=LONG)
    page.locator("#stop").click()
    expect_state(page, "cancelled", LONG)
    expect(page.locator("#generate")).to_be_enabled()
    assert set(outputs.rglob("*.png")) == before


def test_only_pictures_are_served(address: str, outputs: Path) -> None:
    saved = outputs / "2026-01-31" / "20260131-120000-0a1b2c3d.png"
    saved.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(saved)
    for path in (f"gradio_api/file={saved}", f"file={saved}", f"pictures/../{saved.name}", f"outputs/{saved.name}"):
        assert httpx.get(address + path).status_code in (403, 404), path
