"""Makes the page's screenshots in ``docs/`` with the demo model: ``python tools/screenshots.py``.

Every view in Chinese and English, light and dark, on desktop and phone; takes a few minutes. Needs Chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.chromium import launch  # noqa: E402
from zimage_app.serve import open_page  # noqa: E402
from zimage_app.service.setup.config import StudioConfig  # noqa: E402
from zimage_app.service.setup.network import choose_port  # noqa: E402
from zimage_app.service.studio import Studio  # noqa: E402
from zimage_app.web.middleware import MiddlewareConfig  # noqa: E402

LARGEST = 1120
"""Maximum width of a screenshot in pixels, as READMEs show them."""
QUALITY = 72
"""JPEG quality: text stays sharp, and all files together take a few hundred kB."""
WIDTHS = {"desk": (1440, 900), "phone": (390, 844)}
DONE = 600_000
"""Timeout for a picture in milliseconds, enough for a slow CPU."""


@dataclass(frozen=True)
class ScreenshotSet:
    """One set of screenshots: suffix of its file names, browser settings and prompts."""

    name: str
    locale: str
    colours: str
    width: str
    prompts: tuple[str, ...]
    """Prompts that are run one after another, with seeds from 5 on."""


LOOKS = (
    ScreenshotSet(
        "zh", "zh-CN", "light", "desk", ("夜晚的雪地上有一座红色的房子", "夕阳下平静的湖面上一艘红色小船，远处雪山")
    ),
    ScreenshotSet("en-dark", "en-US", "dark", "desk", ("a white boat on the sea on a clear day",)),
    ScreenshotSet("phone", "zh-TW", "dark", "phone", ("黃昏，沙漠上空有一個白色熱氣球",)),
)


def main() -> None:
    """Generate a few pictures with the demo model, and save screenshots of the page."""
    with tempfile.TemporaryDirectory() as outputs, sync_playwright() as tool:
        studio = Studio(StudioConfig(outputs=Path(outputs), model="demo", offline=True))
        studio.start()
        port = choose_port("127.0.0.1", None)
        page = open_page(studio, "auto", MiddlewareConfig(), server_name="127.0.0.1", server_port=port)
        browser = launch(tool)
        for look in LOOKS:
            _keep_views(_visit(browser, look, f"http://127.0.0.1:{port}/"), look)
        browser.close()
        page.close(verbose=False)
        studio.close()


def _visit(browser: Browser, look: ScreenshotSet, address: str) -> Page:
    """Open the page, run the prompts and return it."""
    width, height = WIDTHS[look.width]
    page = browser.new_page(
        locale=look.locale,
        color_scheme="dark" if look.colours == "dark" else "light",
        viewport={"width": width, "height": height},
    )
    page.goto(address)
    page.wait_for_selector(".canvas[data-ready]")
    page.wait_for_function("window.studio.restored === true")
    page.locator("#everything button").click()
    page.locator("#knob-keep_stages input").check()
    for seed, prompt in enumerate(look.prompts, 5):
        _run(page, prompt, seed)
    page.wait_for_function("document.querySelector('.big').naturalWidth === 672")
    return page


def _run(page: Page, prompt: str, seed: int) -> None:
    before = page.locator(".canvas").get_attribute("data-job")
    page.locator("#knob-prompt textarea").fill(prompt)
    page.locator("#knob-seed input").fill(str(seed))
    page.locator("#generate").click()
    page.wait_for_selector(f".canvas[data-state=done]:not([data-job='{before}'])", timeout=DONE)


def _keep_views(page: Page, look: ScreenshotSet) -> None:
    """Save ``view-<view>-<look>.jpg`` of each view."""
    views: dict[str, Callable[[Page], None]] = {
        "canvas": _canvas,
        "stages": _stages,
        "history": _history,
        "viewer": _viewer,
        "compare": _compare,
        "details": _details,
    }
    for name, show in views.items():
        show(page)
        page.wait_for_timeout(600)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        file = ROOT / "docs" / f"view-{name}-{look.name}.jpg"
        shot.save(file, quality=QUALITY, optimize=True, progressive=True)
    page.close()


def _canvas(page: Page) -> None:
    page.locator("#page .stand").evaluate("node => node.scrollIntoView({ block: 'nearest' })")
    page.locator("#scroll").evaluate("node => node.scrollTo(0, 0)")


def _stages(page: Page) -> None:
    page.locator("#knob-stages [role=tab]").nth(1).click()
    page.locator("#everything").evaluate("node => node.scrollIntoView({ block: 'start' })")


def _history(page: Page) -> None:
    page.locator("#view-history").click()
    page.wait_for_selector(".history .card img")
    page.locator(".views").evaluate("node => node.scrollIntoView({ block: 'start' })")


def _viewer(page: Page) -> None:
    page.locator(".history .card .open").first.click()
    page.wait_for_selector(".viewer .stages img")


def _compare(page: Page) -> None:
    page.locator(".viewer .acts .compare").click()
    page.locator(".studio-menu [role=menuitem]").first.click()
    page.wait_for_selector(".compare .modes:not([hidden])")
    page.locator(".compare .mode[data-mode=beside]").click()


def _details(page: Page) -> None:
    page.locator(".bar .gauges").click()
    page.wait_for_selector("dialog[open] dd")


if __name__ == "__main__":
    main()
