"""Fixtures for browser tests: a real Chromium, pages served by this process, and checks of all their requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Error, Page, Playwright, Request, expect, sync_playwright

from tests.ports import free_port
from tests.ui.doubles import QuickPageStudio
from tools.chromium import launch
from zimage_app.serve import open_page
from zimage_app.service.studio import Studio
from zimage_app.web.middleware import MiddlewareConfig

expect.set_options(timeout=20_000)

Visit = Callable[..., Page]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@contextmanager
def served(studio: Studio, config: MiddlewareConfig | None = None, **options: Any) -> Iterator[str]:
    """Serve page and REST on a free port, as app.py does; yield the address."""
    port = free_port()
    page = open_page(studio, "auto", config or MiddlewareConfig(), server_name="127.0.0.1", server_port=port, **options)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        page.close(verbose=False)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as tool:
        yield tool


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def _scripted_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, QuickPageStudio]]:
    studio = QuickPageStudio(tmp_path_factory.mktemp("scripted"))
    with served(studio) as address:
        yield address, studio


@pytest.fixture
def scripted(_scripted_page: tuple[str, QuickPageStudio]) -> Iterator[QuickPageStudio]:
    """The studio of the page that ``visit`` opens; reset after each test."""
    studio = _scripted_page[1]
    yield studio
    studio.settle()


@pytest.fixture
def visit(_scripted_page: tuple[str, QuickPageStudio], visitor: Visit) -> Visit:
    """Open the scripted studio's page in a new browser context, to which keyword arguments are passed."""

    def open_page(**context: Any) -> Page:
        return visitor(_scripted_page[0], **context)

    return open_page


_OPEN = "try { localStorage.setItem('studio_everything', 'open') } catch { /* a page in a sandbox has no storage */ }"


_LASTING = ("locale", "has_touch", "is_mobile")
"""Options of a browser context that can't be changed later."""


class IdlePages:
    """A pool of browser pages that tests reuse, with cookies and storage cleared.

    A page in a new browser context compiles all of Gradio's scripts again, which takes longer than most tests. Without
    cookies and storage, server and scripts treat a reused page as a new visitor's.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: dict[object, list[Page]] = {}

    def take(self, options: dict[str, Any], folded: bool) -> Page:
        """Return an empty page with these browser context options; advanced settings are open unless ``folded``."""
        if idle := self._idle.get(self._kind(options, folded)):
            page = idle.pop()
        else:
            context = self._browser.new_context(**{name: options[name] for name in _LASTING if name in options})
            if not folded:
                context.add_init_script(_OPEN)
            page = context.new_page()
        page.set_viewport_size(options["viewport"])
        motion = options.get("reduced_motion", "no-preference")
        page.emulate_media(color_scheme=options["color_scheme"], reduced_motion=motion)
        if permissions := options.get("permissions"):  # an empty list would deny what is granted without asking
            page.context.grant_permissions(permissions)
        return page

    def give_back(self, page: Page, options: dict[str, Any], folded: bool) -> None:
        """Clear a page and keep it; close its context instead if the test closed the page or opened others."""
        context = page.context
        if page.is_closed() or context.pages != [page]:
            context.close()
            return
        page.unroute_all()
        origin = page.evaluate("location.origin")
        page.evaluate("try { sessionStorage.clear() } catch { /* a page in a sandbox has none */ }")
        page.goto("about:blank")
        session = context.new_cdp_session(page)
        session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        session.send("Emulation.setTouchEmulationEnabled", {"enabled": options.get("has_touch", False)})
        session.detach()
        context.clear_cookies()
        context.clear_permissions()
        self._idle.setdefault(self._kind(options, folded), []).append(page)

    def _kind(self, options: dict[str, Any], folded: bool) -> object:
        return folded, *(options.get(name) for name in _LASTING)


@pytest.fixture(scope="session")
def idle_pages(browser: Browser) -> IdlePages:
    """The pages that the tests of this process reuse."""
    return IdlePages(browser)


@pytest.fixture
def visitor(idle_pages: IdlePages) -> Iterator[Visit]:
    """Open an address as a new visitor; afterwards assert that no request left this machine and no script failed.

    Advanced settings are open, as if the visitor had opened them before, unless ``folded``.
    """
    used: list[tuple[Page, dict[str, Any], bool]] = []
    wrong: list[str] = []

    def note_request(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            wrong.append(f"a request left the machine: {request.url}")

    def note_error(error: Error) -> None:
        wrong.append(f"a script failed: {error}")

    def note_dialog(dialog: Dialog) -> None:
        wrong.append(f"a dialog opened: {dialog.message}")

    listeners: dict[Any, Any] = {"request": note_request, "pageerror": note_error, "dialog": note_dialog}

    def open_page(address: str, *, folded: bool = False, **context: Any) -> Page:
        options = {"locale": "zh-CN", "viewport": {"width": 1440, "height": 900}, "color_scheme": "light", **context}
        page = idle_pages.take(options, folded)
        used.append((page, options, folded))
        for event, listener in listeners.items():
            page.on(event, listener)
        arrive(page, address)
        return page

    yield open_page
    for page, options, folded in used:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        idle_pages.give_back(page, options, folded)
    assert wrong == []


def arrive(page: Page, address: str | None = None) -> None:
    """Open the page, or reload it, and wait until it has restored the settings saved in the browser."""
    if address is None:
        page.reload()
    else:
        page.goto(address)
    expect(page.locator(".canvas[data-ready]")).to_have_count(1)
    page.wait_for_function("window.studio.restored === true")


def expect_state(page: Page, state: str, timeout: float = 20_000) -> None:
    """Wait until the canvas shows a job in this state."""
    expect(page.locator(".canvas")).to_have_attribute("data-state", state, timeout=timeout)


def ask(page: Page, prompt: str) -> None:
    """Type a prompt and press Generate."""
    page.locator("#knob-prompt textarea").fill(prompt)
    page.locator("#generate").click()


def choose_model(page: Page, title: str) -> None:
    """Choose a model by its title, which also sets its stages."""
    page.locator("#knob-model input").click()
    page.get_by_role("option", name=title).click()


def apply_preset(page: Page, name: str) -> None:
    """Choose a preset by its name and apply it."""
    page.locator(".presets select").select_option(name)
    page.locator(".presets .apply").click()


def set_number(page: Page, name: str, value: float) -> None:
    """Type a number into the field beside a slider."""
    field = page.locator(f"#knob-{name} input[type=number]")
    field.fill(str(value))
    expect(field).to_have_value(str(value))
