"""The pictures of the page in ``docs/``, made again on the demo model: ``python tools/screenshots.py``.

Needs Chromium; takes a minute.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from zimage_app.service.config import StudioConfig  # noqa: E402
from zimage_app.service.network import choose_port  # noqa: E402
from zimage_app.service.studio import Studio  # noqa: E402
from zimage_app.ui.launch import start  # noqa: E402

DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
SHOTS: tuple[tuple[str, dict[str, Any], str, int], ...] = (
    (
        "page-en-dark.png",
        {**DESKTOP, "locale": "en-US", "color_scheme": "dark"},
        "a white boat on the sea on a clear day",
        5,
    ),
    ("page-zh.png", {**DESKTOP, "locale": "zh-CN"}, "夕阳下平静的湖面上一艘红色小船，远处雪山", 1),
    ("page-mobile.png", {**PHONE, "locale": "zh-CN"}, "黄昏，沙漠上空有一个白色热气球", 5),
)
"""File, browser, prompt, seed."""


def main() -> None:
    """Run each prompt on the demo model and keep what the page shows."""
    with tempfile.TemporaryDirectory() as outputs, sync_playwright() as tool:
        studio = Studio(StudioConfig(outputs=Path(outputs), model="demo", offline=True))
        port = choose_port("127.0.0.1", None)
        page = start(studio, "auto", server_name="127.0.0.1", server_port=port)
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = tool.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, context, prompt, seed in SHOTS:
            shown = _run(browser, context, f"http://127.0.0.1:{port}/", prompt, seed)
            shown.screenshot(path=ROOT / "docs" / name)
        browser.close()
        page.close(verbose=False)
        studio.close()


def _run(browser: Browser, context: dict[str, Any], address: str, prompt: str, seed: int) -> Page:
    """One finished run; gives the page that shows it."""
    page = browser.new_page(**context)
    page.goto(address)
    page.wait_for_selector("#canvas .tile")
    page.wait_for_function("window.studio.restored === true")
    page.locator("#knob-prompt textarea").fill(prompt)
    page.locator("#knob-seed input").fill(str(seed))
    page.locator("#generate").click()
    page.wait_for_selector(".canvas[data-state=done]", timeout=300_000)
    page.wait_for_function("document.querySelector('.big').naturalWidth === 672")
    page.wait_for_selector(".facts dd")
    page.wait_for_timeout(500)
    return page


if __name__ == "__main__":
    main()
