"""The machine's figures in the top bar and the details behind them: over HTTP, and in Chromium."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.ui.conftest import Visit, ask, expect_state
from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.service.diagnostics.gpus import Amount, GpuStatus
from zimage_app.service.diagnostics.monitor import MachineStatus
from zimage_app.ui.topbar.monitor import machine_chips, monitor_routes
from zimage_app.web.owner import OWNER_COOKIE

GIB = 2**30
WHOLE = MachineStatus(
    processors=16,
    processor_load=0.57,
    memory=Amount(int(2.8 * GIB), int(23.5 * GIB)),
    disk=Amount(0, 120 * 10**9),
    gpus=(GpuStatus("GPU X", 0.93, Amount(6 * GIB, 12 * GIB), 72), GpuStatus("GPU Y", 0.1)),
)


@pytest.fixture
def studio(tmp_path: Path) -> QuickPageStudio:
    return QuickPageStudio(tmp_path, step_seconds=0.0)


@pytest.fixture
def client(studio: QuickPageStudio) -> TestClient:
    return TestClient(Starlette(routes=monitor_routes(studio, "auto")))


def test_each_figure_is_a_chip_and_the_first_gpu_is_the_one_that_draws() -> None:
    chips = list(machine_chips(WHOLE, "en"))
    assert [chip.text for chip in chips] == [
        "CPU 57%",
        "RAM 2.8/23.5 GB",
        "GPU 93%",
        "VRAM 6.0/12.0 GB",
        "72 °C",
        "Disk 120.0 GB free",
    ]
    assert chips[3].title == "Video memory in use, GPU X"
    assert not any(chip.warn for chip in chips)


def test_what_the_machine_lacks_has_no_chip() -> None:
    nothing = MachineStatus(processors=1, processor_load=None, memory=None, disk=None)
    assert list(machine_chips(nothing, "zh")) == []
    gpu = GpuStatus("AMD", memory=Amount(GIB, 8 * GIB))
    assert [chip.name for chip in machine_chips(replace(nothing, gpus=(gpu,)), "zh")] == ["vram"]


@pytest.mark.parametrize(
    ("machine", "warned"),
    [
        (replace(WHOLE, memory=Amount(96, 100)), ["ram"]),
        (replace(WHOLE, disk=Amount(96 * 10**9, 100 * 10**9)), ["disk"]),
        (replace(WHOLE, gpus=(GpuStatus("X", 1.0, Amount(99, 100), 88),)), ["vram", "temperature"]),
        (replace(WHOLE, processor_load=1.0), []),
    ],
)
def test_what_is_nearly_full_or_hot_is_marked(machine: MachineStatus, warned: list[str]) -> None:
    assert [chip.name for chip in machine_chips(machine, "zh") if chip.warn] == warned


def test_at_home_the_machine_and_everybody_s_jobs_are_shown(client: TestClient, studio: QuickPageStudio) -> None:
    studio.step_seconds = 1.0
    for _ in range(2):
        studio.submit(GenerationRequest(prompt="a boat"), "quick", "somebody")
    answer = client.get("/monitor.json", headers={"accept-language": "zh-CN"})
    assert answer.headers["cache-control"] == "no-store"
    data = answer.json()
    assert data["details"] is True
    assert data["chips"][0]["text"] == "任务 2"
    assert {"cpu", "ram", "disk"} <= {chip["name"] for chip in data["chips"]}
    studio.settle()
    assert "jobs" not in {chip["name"] for chip in client.get("/monitor.json").json()["chips"]}


def test_a_stranger_sees_the_own_place_in_the_queue_and_nothing_of_the_machine(
    client: TestClient, studio: QuickPageStudio
) -> None:
    studio.shared = True
    studio.loading = threading.Event()
    mine, other = "a" * 32, "b" * 32
    studio.submit(GenerationRequest(prompt="theirs"), "quick", other)
    client.cookies.set(OWNER_COOKIE, mine)
    assert client.get("/monitor.json").json() == {"chips": [], "details": False}
    studio.submit(GenerationRequest(prompt="mine"), "quick", mine)
    data = client.get("/monitor.json").json()
    assert [chip["text"] for chip in data["chips"]] == ["Queue: no. 2"]
    studio.loading.set()
    assert client.get("/monitor/details.json").status_code == 403
    assert list(client.get("/monitor/details.json").json()) == ["error"]
    studio.settle()


def test_what_is_wrong_with_the_app_s_files_is_a_chip_and_stands_first_in_the_details(
    client: TestClient, studio: QuickPageStudio
) -> None:
    studio.troubles = (Text("queue.sqlite was damaged.", "queue.sqlite 已损坏。"),)
    chip = client.get("/monitor.json", headers={"accept-language": "zh-CN"}).json()["chips"][0]
    assert (chip["name"], chip["title"], chip["warn"]) == ("notice", "queue.sqlite 已损坏。", True)
    section = client.get("/monitor/details.json", headers={"accept-language": "en"}).json()["sections"][0]
    assert section == {"title": "Notices", "rows": [["Notice", "queue.sqlite was damaged."]]}


def test_the_details_name_versions_and_sizes_but_no_place_of_this_machine(
    client: TestClient, studio: QuickPageStudio, tmp_path: Path
) -> None:
    (tmp_path / "outputs").mkdir(exist_ok=True)
    (tmp_path / "outputs" / "a.png").write_bytes(bytes(1500))
    data = client.get("/monitor/details.json", headers={"accept-language": "en"}).json()
    rows = dict(row for section in data["sections"] for row in section["rows"])
    assert rows["gradio"][0].isdigit()
    assert rows["Pictures"] == "1 file, 1.5 kB"
    text = data["text"]
    assert all(f"{name}: {value}" in text for name, value in rows.items())
    for secret in (str(tmp_path), str(Path.home()), studio.__class__.__module__):
        assert secret not in json.dumps(data)


# In Chromium.


def test_the_chips_follow_the_queue_and_nobody_is_asked_while_the_page_is_hidden(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    page = visit()
    expect(page.locator(".gauge[data-name=ram]")).to_contain_text("RAM")
    expect(page.locator(".bar .jobs")).to_have_text("任务队列")
    scripted.step_seconds = 60.0
    ask(page, "小船")
    expect(page.locator(".bar .jobs")).to_have_text("任务 1")
    scripted.step_seconds = 0.0
    expect_state(page, "done")
    expect(page.locator(".bar .jobs")).to_have_text("任务队列")
    page.evaluate("""() => {
      window.asked = 0;
      const real = window.fetch;
      window.fetch = (...all) => { asked += String(all[0]).includes("monitor.json"); return real(...all); };
      window.turn = (hidden) => {
        asked = 0;
        Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
        return asked;
      };
    }""")
    assert page.evaluate("turn(true)") == 0
    assert page.evaluate("turn(false)") == 1
    # Two requests in a row without an answer: the page says so, until there is one.
    lost = page.locator(".bar .lost")
    told = page.evaluate("""async () => {
      const [told, real] = [[], window.fetch];
      window.fetch = (...all) => {
        if (!String(all[0]).includes("monitor.json")) return real(...all);
        told.push(document.querySelector(".bar .lost").textContent);
        return Promise.reject(new TypeError("Failed to fetch"));
      };
      for (let turn = 0; turn < 3; turn += 1) {
        document.dispatchEvent(new CustomEvent("studio:queue"));
        await new Promise((done) => setTimeout(done));
      }
      window.fetch = real;
      return told;
    }""")
    assert told == ["", "", "⚠ 连接已断开"]
    page.evaluate("document.dispatchEvent(new CustomEvent('studio:queue'))")
    expect(lost).to_be_hidden()


def test_the_details_open_by_keyboard_and_are_copied(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit(locale="en-US", permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator(".gauges .gauge").first).to_be_visible()
    page.locator(".gauges").press("Enter")
    dialog = page.get_by_role("dialog", name="Machine and app")
    expect(dialog.locator("dd").first).to_be_visible()
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.locator(".copy")).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    assert "[Versions]" in text
    assert "gradio: " in text
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".gauges")).to_be_focused()
    # Without a clipboard the old way is taken.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.evaluate("document.addEventListener('copy', () => (window.copied = String(getSelection())))")
    page.locator(".gauges").click()
    expect(dialog.locator(".copy")).to_have_text("Copy")
    dialog.locator(".copy").click()
    expect(dialog.locator(".copy")).to_have_text("Copied")
    assert "[Versions]" in page.evaluate("copied")


def test_a_phone_shows_what_fits(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit(viewport={"width": 390, "height": 800})
    expect(page.locator(".gauges .gauge").first).to_be_visible()
    bar, theme = page.locator(".bar"), page.locator(".bar .theme")
    for dark in ("false", "true"):
        expect(theme).to_have_attribute("aria-pressed", dark)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        across, button = bar.bounding_box(), theme.bounding_box()
        assert across is not None
        assert button is not None
        assert button["x"] + button["width"] <= 390
        assert across["height"] <= 50
        page.locator(".gauges").click()
        expect(page.locator(".machine .copy")).to_be_enabled()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator(".machine .close").click()
        expect(page.locator(".machine")).to_be_hidden()
        theme.click()
