"""The model panel in a browser: a model is offered, fetched from a hub, chosen, loaded and unloaded again."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.models.hub.fake_hub import FakeHub, Fault, forget_this_machine, serve
from tests.ui.conftest import Visit, arrive, ask, expect_state, served
from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.events import Event
from zimage_app.domain.plan import GenerationPlan
from zimage_app.models.tiny import write_tiny_model
from zimage_app.service.generation.generator import Generator
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio
from zimage_app.ui.models.model_panel import models
from zimage_app.ui.server.script_functions import script_function

REPO = "Tongyi-MAI/Z-Image-Turbo"
BIGGEST = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine that holds the tiny model under the great one's name."""
    forget_this_machine(tmp_path, monkeypatch)
    folder = write_tiny_model(tmp_path / "hub")
    (folder / "card.yaml").unlink()
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with serve(FakeHub({REPO: files})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def studio(models_dir: Path, tmp_path: Path) -> Iterator[Studio]:
    """With the tiny model, under the name of the demo."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "demo").symlink_to(models_dir / "tiny")
    studio = Studio(StudioConfig(models=models, loras=tmp_path / "loras", outputs=tmp_path / "out", model="demo"))
    yield studio
    studio.close()


def row(page: Page, name: str) -> Locator:
    return page.locator(f'.models li[data-name="{name}"]')


def open_panel(page: Page) -> None:
    page.locator(".models summary").click()
    expect(page.locator(".models li").first).to_be_visible()


@pytest.fixture
def _until_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are at work until somebody stops them, however slow the browser is."""
    real = Generator.stream

    def held(self: Generator, plan: GenerationPlan, cancelled: Callable[[], bool], *others: Any) -> Iterator[Event]:
        while not cancelled():
            time.sleep(0.01)
        yield from real(self, plan, cancelled, *others)

    monkeypatch.setattr(Generator, "stream", held)


@pytest.mark.usefixtures("_until_stopped")
def test_a_model_is_fetched_chosen_loaded_and_unloaded(hub: FakeHub, studio: Studio, visitor: Visit) -> None:
    gate = threading.Event()
    hub.faults[BIGGEST] = [Fault(hold=gate)]
    with served(studio) as address:
        page = visitor(address)
        expect(page.locator(".models .headline")).to_contain_text("可下载 Z-Image-Turbo")
        open_panel(page)
        turbo = row(page, "z-image-turbo")
        turbo.get_by_role("button", name="下载…").click()
        expect(turbo.locator(".confirm")).to_contain_text("磁盘剩余")
        turbo.get_by_role("button", name="开始下载").click()
        expect(turbo.locator(".fetching p")).to_contain_text("个文件")
        expect(page.locator(".models .headline")).to_contain_text("正在下载 Z-Image-Turbo")
        expect(page.locator("#knob-model input")).to_have_value("微型")  # the page stays as it is meanwhile
        gate.set()
        expect(turbo).to_have_attribute("data-state", "ready")
        page.locator("#knob-model input").click()
        page.get_by_role("option", name="Z-Image-Turbo", exact=True).click()
        expect(page.locator("#knob-model input")).to_have_value("Z-Image-Turbo")
        ask(page, "船")
        expect_state(page, "running", timeout=60_000)
        expect(turbo.locator(".state")).to_contain_text("已加载：在 CPU 上使用 float32")
        turbo.get_by_role("button", name="卸载").click()
        expect(page.locator(".models li.wrong")).to_contain_text("模型正在使用中")
        page.locator("#stop").click()
        expect_state(page, "cancelled")
        turbo.get_by_role("button", name="卸载").click()
        expect(turbo.locator(".state")).to_have_text("就绪")
    assert studio.loaded() is None


def begin_fetch(model: Locator) -> None:
    """Press Fetch and confirm it."""
    model.get_by_role("button", name="Fetch…").click()
    model.get_by_role("button", name="Start").click()


def fail_offers(route: Route) -> None:
    """Let the page's question about a download get no answer."""
    if '"offer"' in (route.request.post_data or ""):
        route.abort()
    else:
        route.continue_()


def test_a_fetch_goes_on_where_it_was_stopped_and_is_followed_further_after_a_failed_request(
    hub: FakeHub, studio: Studio, visitor: Visit
) -> None:
    gate = threading.Event()
    hub.always[BIGGEST] = Fault(hold=gate)
    with served(studio) as address:
        page = visitor(address, locale="en-US")
        open_panel(page)
        turbo = row(page, "z-image-turbo")
        page.route("**/component_server/**", fail_offers)
        turbo.get_by_role("button", name="Fetch…").click()
        expect(turbo.get_by_role("button", name="Try again")).to_be_visible()
        page.unroute_all()
        turbo.get_by_role("button", name="Try again").click()
        expect(turbo.get_by_role("button", name="Start")).to_be_enabled()
        turbo.get_by_role("button", name="Not now").click()
        for _ in range(2):
            begin_fetch(turbo)
            expect(turbo.locator(".fetching p")).to_contain_text("files")
            turbo.get_by_role("button", name="Stop; go on later").click()
            expect(turbo.locator(".fetching p")).to_contain_text("Stopped. What has come is kept.")
        begin_fetch(turbo)
        expect(turbo.locator(".fetching p")).to_contain_text("files")
        page.route("**/component_server/", lambda route: route.abort(), times=1)
        with page.expect_event("requestfailed"):
            pass
        gate.set()
        del hub.always[BIGGEST]
        expect(turbo).to_have_attribute("data-state", "ready")
    assert any(part.startswith("bytes=") for part in hub.ranges(BIGGEST))


def test_a_hub_that_says_no_is_quoted_and_without_a_network_the_panel_points_at_its_own_choice_of_sources(
    hub: FakeHub, studio: Studio, visitor: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos.clear()
    with served(studio) as address:
        page = visitor(address, locale="en-US")
        open_panel(page)
        turbo, wrong = row(page, "z-image-turbo"), page.locator(".models li.wrong")
        turbo.get_by_role("button", name="Fetch…").click()
        expect(wrong).to_contain_text(REPO)
        expect(turbo.get_by_role("button", name="Start")).to_have_count(0)
        expect(turbo.get_by_role("button", name="Try again")).to_be_enabled()
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        turbo.get_by_role("button", name="Not now").click()
        turbo.get_by_role("button", name="Fetch…").click()
        expect(wrong).to_contain_text("or choose another source below")
        expect(wrong).not_to_contain_text("--")
        expect(turbo.get_by_label("Where from")).to_be_visible()


def test_the_device_is_chosen_where_there_are_two(
    visit: Visit, scripted: QuickPageStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zimage_app.models.device.device_names", lambda: {"cpu": "CPU"})
    try:
        page = visit(locale="en-US")
        device = page.get_by_label("Device", exact=True)
        page.locator(".models summary").click()
        expect(page.locator(".models")).to_have_attribute("data-devices", "2")
        expect(device).to_have_count(0)  # with one device there is nothing to choose
        assert scripted.device is None
        monkeypatch.setattr("zimage_app.models.device.device_names", lambda: {"cuda:0": "Card", "cpu": "CPU"})
        scripted.use_device("cpu")
        # Also where the panel is opened before the server has said anything.
        held: list[Route] = []
        opened = threading.Event()
        page.route(
            re.compile("component_server"),
            lambda route: route.continue_() if opened.is_set() else held.append(route),
        )
        arrive(page)
        page.locator(".models summary").click()
        opened.set()
        assert held
        for route in held:
            route.continue_()
        expect(device).to_have_value("cpu")
        expect(device.locator("option")).to_have_text(["Best one here", "cuda:0 · Card", "cpu · CPU"])
        for chosen in ("", "cpu"):
            with page.expect_response(lambda response: "component_server" in response.url):
                device.select_option(chosen)
            expect(device).to_have_value(chosen)
            assert scripted.device == (chosen or None)
    finally:
        scripted.use_device(None)


def test_strangers_cannot_fetch_or_unload(scripted: QuickPageStudio) -> None:
    scripted.shared = True
    try:
        call = script_function(scripted, models)
        for order in ("offer", "fetch", "cancel", "unload", "devices", "device"):
            answer = call({"do": order, "name": "z-image-turbo", "language": "zh"})
            assert "只有运行者" in answer["notice"], order
            assert answer["allowed"] is False
        view = call({"do": "view", "language": "en"})
        assert "notice" not in view
        assert not any(each["details"] or "memory" in each["text"] for each in view["models"])
        assert scripted.models.fetching() is None
    finally:
        scripted.shared = False
