"""Starts a Chromium for the page's tests and screenshots."""

import shutil
import subprocess
import sys
from typing import Any

from playwright.sync_api import Browser, Error, Playwright

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def launch(playwright: Playwright) -> Browser:
    """Launch an installed Chromium, Chrome or Edge, or else Playwright's own, downloaded if necessary.

    Raises RuntimeError if none of them starts.
    """
    path = next((found for name in COMMANDS if (found := shutil.which(name))), None)
    ways: list[dict[str, Any]] = [{"executable_path": path}] if path else []
    ways += [{"channel": "chrome"}, {"channel": "msedge"}, {}]
    reasons: list[str] = []
    for fetched in (False, True):
        if fetched:
            subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
        for way in ways:
            try:
                return playwright.chromium.launch(args=FLAGS, **way)
            except Error as error:
                reasons.append(error.message.splitlines()[0])
    raise RuntimeError(
        "No Chromium starts here: `apt-get install chromium-headless-shell` or"
        " `python -m playwright install chromium`. " + "; ".join(reasons)
    )
