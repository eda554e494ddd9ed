"""The queue panel in a browser, before an app that can be killed; its routes without one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.ports import free_port
from tests.service import faults
from tests.service.quick import quick_request
from tests.ui.conftest import Visit, arrive, ask, expect_state, set_number
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.service.pictures.gallery import read_record
from zimage_app.ui.queue.queue_routes import queue_routes
from zimage_app.web.owner import OWNER_COOKIE

PATIENCE = 60_000.0
CHINESE = {"accept-language": "zh"}


def _prompts(page: Page) -> list[str]:
    return page.locator("dialog.queue li .prompt").all_inner_texts()


def _act(page: Page, prompt: str, name: str) -> None:
    row = page.locator("dialog.queue li").filter(has_text=prompt)
    row.get_by_role("button", name=name, exact=True).click()


def _expect_what_was_typed(page: Page) -> None:
    """What was typed while the app was away is there, and the server knows it."""
    expect(page.locator("#knob-prompt textarea")).to_have_value("断线时写的")
    page.locator("#stage-tab-1").click()
    expect(page.locator("#knob-stages-1-steps input[type=number]")).to_have_value("2")
    page.wait_for_function("window.told.prompt === '断线时写的' && window.told.stages[1].steps === 2")


def test_pictures_are_queued_moved_cancelled_and_paused_over_a_kill(visitor: Visit, tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    with faults.served(tmp_path, port=port) as (program, client):
        assert client.post("/api/queue/pause").json()["paused"] is True
        page = visitor(address)
        page.add_init_script("document.addEventListener('studio:settings', (event) => (window.told = event.detail))")
        for stage in range(3):
            page.locator(f"#stage-tab-{stage}").click()
            set_number(page, f"stages-{stage}-steps", 1)
        for prompt in ("第一张", "第二张", "第三张"):
            ask(page, prompt)
        expect(page.locator(".bar .jobs")).to_have_text("已暂停 · 3", timeout=PATIENCE)
        page.locator(".bar .jobs").click()
        expect(page.locator("dialog.queue li .prompt")).to_have_text(["第一张", "第二张", "第三张"])
        _act(page, "第二张", "上移")
        expect(page.locator("dialog.queue li .prompt")).to_have_text(["第二张", "第一张", "第三张"])
        _act(page, "第三张", "取消")
        expect(page.locator("dialog.queue li .prompt")).to_have_text(["第二张", "第一张"])
        expect(page.locator("dialog.queue .note")).to_contain_text("已暂停")
        page.keyboard.press("Escape")
        expect(page.locator("dialog.queue")).to_have_count(0)
        program.kill()
        program.wait()
        expect(page.locator(".canvas .message")).to_have_text("连接已断开，正在重连…任务仍在队列中。")
        expect(page.locator(".toast-body")).to_contain_text("正在重连…若刚才的操作没有反应，页面恢复后请再按一次。")
        page.locator("#knob-prompt textarea").fill("断线时写的")
        page.locator("#stage-tab-1").click()
        set_number(page, "stages-1-steps", 2)
    with faults.served(tmp_path, port=port):
        expect(page.locator(".canvas .message")).to_have_text(
            "队列已暂停，继续后才会开始。", timeout=PATIENCE
        )  # found again by itself
        _expect_what_was_typed(page)
        arrive(page)
        _expect_what_was_typed(page)  # it is remembered
        page.locator(".bar .jobs").click()
        expect(page.locator("dialog.queue li .prompt")).to_have_text(["第二张", "第一张"])
        page.locator("dialog.queue .pause").click()
        expect(page.locator("dialog.queue li.empty")).to_have_text("队列为空。", timeout=PATIENCE)
        expect(page.locator(".bar .jobs")).to_have_text("任务队列")
    records = sorted((read_record(path) for path in tmp_path.glob("*/*.png")), key=lambda record: record.created)
    assert [record.request.prompt for record in records] == ["第二张", "第一张"]


def test_a_paused_queue_is_told_on_the_canvas_emptied_in_the_panel_and_resumed(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    page = visit()
    scripted.pause_queue(True)
    try:
        ask(page, "等待")
        expect(page.locator(".canvas .message")).to_have_text("队列已暂停，继续后才会开始。")
        page.locator(".bar .jobs").click()
        page.locator("dialog.queue .cancel").hover()  # a button that is held down while the queue is drawn again acts
        page.mouse.down()
        for _ in range(2):  # the first answer is drawn when the second comes
            with page.expect_response("**/queue.json"):
                pass
        page.mouse.up()
        expect(page.locator("dialog.queue li.empty")).to_be_visible()
        page.keyboard.press("Escape")
        ask(page, "再等")
        expect(page.locator(".canvas .message")).to_have_text("队列已暂停，继续后才会开始。")
        expect(page.locator(".canvas .fill")).to_have_css("animation-name", "none")
        page.locator(".canvas .resume").click()
        expect_state(page, "done")
        expect(page.locator(".canvas .resume")).to_be_hidden()
        assert not scripted.queue().paused
    finally:
        scripted.pause_queue(False)


def test_stop_offers_to_stop_the_other_pictures_of_the_press(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit(locale="en-US")
    expect(page.locator("#stop")).to_have_attribute("title", re.compile("pictures that wait go on"))
    scripted.step_seconds = 20.0
    page.locator("#knob-count input").fill("3")
    ask(page, "three boats")
    expect_state(page, "running")
    page.locator("#stop").click()
    expect(page.locator(".notice")).to_contain_text("Stopped this picture; 2 more wait.")
    page.get_by_role("button", name="Stop them all").click()
    expect(page.locator(".notice")).to_have_text("All pictures of that press are stopped.")
    expect_state(page, "cancelled")
    expect(page.locator("#stop")).to_be_disabled()
    assert scripted.jobs("", shared=False) == ()


def test_a_press_that_failed_holds_up_no_other_and_a_late_one_is_not_overtaken(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    page, held = visit(), list[Route]()
    page.route("**/run/predict*", lambda route: route.fulfill(status=500, json={"error": None}), times=1)
    ask(page, "失败的")
    ask(page, "下一张")
    expect(page.locator(".facts")).to_contain_text("下一张")
    expect_state(page, "done")

    def late(route: Route) -> None:
        if "第一张" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/run/predict*", late)
    scripted.pause_queue(True)
    try:
        for prompt in ("第一张", "第二张", "第三张"):
            ask(page, prompt)
        page.wait_for_function("document.querySelector('#knob-prompt textarea').value === '第三张'")
        held[0].continue_()
        expect(page.locator(".bar .jobs")).to_have_text("已暂停 · 3", timeout=PATIENCE)
        assert [job.prompt for job in scripted.jobs("", shared=False)] == ["第一张", "第二张", "第三张"]
    finally:
        scripted.pause_queue(False)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[QuickPageStudio]:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0)) as studio:
        studio.pause_queue(True)
        yield studio


def _client(studio: QuickPageStudio, owner: str = "a" * 32) -> TestClient:
    app = Starlette(routes=queue_routes(studio, "auto"))
    return TestClient(app, base_url="http://127.0.0.1", cookies={OWNER_COOKIE: owner})


def test_every_order_of_the_panel(studio: QuickPageStudio) -> None:
    client = _client(studio)
    jobs = [studio.submit(quick_request(n), "quick", "a" * 32, group="g" * (n > 2)) for n in range(5)]

    def do(**order: object) -> list[str]:
        answer = client.post("/queue.json", json=order)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    assert [job["id"] for job in client.get("/queue.json").json()["jobs"]] == jobs
    assert do(do="up", id=jobs[1])[:2] == [jobs[1], jobs[0]]
    assert do(do="first", id=jobs[2])[0] == jobs[2]
    assert jobs[0] not in do(do="cancel", id=jobs[0])
    assert do(do="cancel_group", id="g") == [jobs[2], jobs[1]]
    assert do(do="clear") == []
    assert client.post("/queue.json", json={"do": "resume"}).json()["paused"] is False
    done = studio.submit(quick_request(9), "quick", "a" * 32)
    assert finish(studio, done).state == "done"
    assert client.post("/queue.json", json={"do": "pause"}).json()["paused"] is True


@pytest.mark.parametrize(
    "order",
    [None, [], "pause", {}, {"do": "fly"}, {"do": ["up"]}, {"do": "cancel", "id": "x"}, {"do": "up", "id": "\ud800"}],
)
def test_what_is_no_order_is_told(studio: QuickPageStudio, order: object) -> None:
    answer = _client(studio).post("/queue.json", content=json.dumps(order), headers={"accept-language": "en"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(("do: must be one of pause", "id: is no job of yours"))


def test_strangers_see_and_change_only_their_own(tmp_path: Path) -> None:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)) as studio:
        studio.pause_queue(True)
        mine, other = (studio.submit(quick_request(n), "quick", owner * 32) for n, owner in enumerate("ab"))
        client = _client(studio)
        data = client.get("/queue.json").json()
        assert ([job["id"] for job in data["jobs"]], data["others"], data["home"]) == ([mine], 1, False)
        assert client.post("/queue.json", json={"do": "cancel", "id": other}).status_code == 422
        assert "不能暂停" in client.post("/queue.json", json={"do": "pause"}, headers=CHINESE).json()["error"]
        client.post("/queue.json", json={"do": "clear"})
        assert [view.id for view in studio.jobs("b" * 32, shared=True)] == [other]
        assert studio.view(mine).state == "cancelled"  # type: ignore[union-attr]
