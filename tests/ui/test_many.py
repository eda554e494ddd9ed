"""Grids and batches on the page: planned before they are begun, followed, and their files fetched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.quick import PATIENCE
from tests.ui.conftest import Visit, arrive, expect_state, served
from tests.ui.doubles import QUICK, QuickPageStudio
from zimage_app.domain.request import GenerationRequest
from zimage_app.ui.fields.values import request_values
from zimage_app.ui.many.many_routes import many_routes
from zimage_app.ui.queue.queue_routes import queue_data
from zimage_app.web.owner import OWNER_COOKIE

OWNER = "a" * 32
ENGLISH = {"accept-language": "en"}
TWEETS = (
    '{"persona": {"trigger_word": "xiaomei"}, "tweets": [{"id": "p1", "image_prompt": "早安"}, {"scene_hint": "雨"}]}'
)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[QuickPageStudio]:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0)) as studio:
        yield studio


@pytest.fixture
def client(studio: QuickPageStudio) -> TestClient:
    app = Starlette(routes=many_routes(studio, "auto"))
    return TestClient(app, base_url="http://127.0.0.1", cookies={OWNER_COOKIE: OWNER}, headers=ENGLISH)


def settings(prompt: str = "a red boat") -> dict[str, Any]:
    """What the page's fields hold."""
    usual = request_values(GenerationRequest(prompt="-"), QUICK)
    return usual | {"prompt": prompt, "model": QUICK.name, "count": 1}


def test_a_batch_is_a_table_first_then_a_group_with_a_manifest(client: TestClient, studio: QuickPageStudio) -> None:
    order = {"settings": settings(), "name": "posts.json", "text": TWEETS}
    planned = client.post("/many.json", json=order | {"do": "plan_batch"}).json()
    seed = int(planned["seed"])
    assert planned["rows"] == [
        ["1", f"001-p1-{seed}.png", "336×432", str(seed), "xiaomei, 早安"],
        ["2", f"002-2-{seed + 1}.png", "336×432", str(seed + 1), "xiaomei, 雨"],
    ]
    assert planned["told"].startswith("Pictures: 2; ")
    assert client.get("/many.json").json() == {"groups": []}
    studio.pause_queue(True)
    (group,) = client.post("/many.json", json=order | {"do": "start_batch", "seed": planned["seed"]}).json()["groups"]
    assert (group["title"], group["total"], group["finished"]) == ("posts.json", 2, False)
    assert queue_data(studio, OWNER)["groups"] == [{"title": "posts.json", "done": 0, "total": 2}]
    refused = client.post("/many.json", json={"do": "remove", "id": group["id"]})
    assert refused.json() == {"error": "Its pictures are still being made; cancel them first, or wait."}
    client.post("/many.json", json={"do": "cancel", "id": group["id"]})
    assert _finished(client)["cancelled"] == 2


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"x": "stages.0.cfg=1,99"}, "X axis: Stage 1: CFG: 99"),
        ({"x": "seed=1,2", "y": "steps"}, "Y axis: steps: write NAME=VALUE"),
        ({}, "give at least one axis"),
        ({"x": "seed=1", "settings": settings("")}, "Prompt: "),
        ({"x": "seed=1", "settings": None}, "settings: must be a group"),
        ({"do": "plan_batch", "name": "a.xls", "text": "x"}, "a.xls: a batch is one of .txt"),
        (
            {"do": "plan_batch", "name": "a.csv", "text": "prompt,stages.0.cfg\nx,99\n,1\n"},
            "a.csv, line 2, stages.0.cfg: 99",
        ),
        ({"do": "fly"}, "must be one of plan_grid"),
        ({"do": "remove", "id": "../x"}, "no longer there"),
    ],
)
def test_what_is_wrong_is_told_in_the_pages_words(
    order: dict[str, Any], words: str, client: TestClient, studio: QuickPageStudio
) -> None:
    answer = client.post("/many.json", json={"do": "plan_grid", "settings": settings()} | order)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert studio.queue().waiting == 0


def test_a_file_that_is_too_long_is_told(client: TestClient) -> None:
    answer = client.post("/many/batch", content=b"{}\n" + b"x" * (3 * 2**20 + 1), headers={"accept-language": "en"})
    assert (answer.status_code, answer.json()["error"]) == (422, "The file is bigger than 3 MB; split it.")


def test_all_that_is_wrong_with_a_file_is_told_at_once(client: TestClient) -> None:
    text = "prompt,stages.0.cfg,colour\nx,99,\n,1,\ny,1,red\n"
    order = {"do": "plan_batch", "settings": settings(), "name": "a.csv", "text": text}
    lines = client.post("/many.json", json=order).json()["error"].splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "a.csv, line 2, stages.0.cfg",
        "a.csv, line 3, prompt",
        "a.csv, line 4, colour",
    ]


def test_files_are_served_to_whose_they_are(client: TestClient) -> None:
    order = {"do": "start_grid", "settings": settings(), "x": "seed=1,2"}
    client.post("/many.json", json=order)
    group = _finished(client)
    sheet = client.get(f"/many/{group['id']}/sheet-1.png?download")
    assert (sheet.status_code, sheet.headers["content-disposition"][:10]) == (200, "attachment")
    assert client.get(f"/many/{group['id']}/group.json").status_code == 404
    assert client.post("/many.json", json={"do": "remove", "id": group["id"]}).json() == {"groups": []}


def test_a_started_grid_is_shown_and_stopped_as_a_picture_is_and_followed_after_a_failure(
    visitor: Visit, tmp_path: Path
) -> None:
    with closing(QuickPageStudio(tmp_path, step_seconds=20.0)) as studio, served(studio) as address:
        page = visitor(address)
        state, told = page.locator(".many .groups .state").first, page.locator(".many .groups .told")
        _open_view(page, "小船")
        _axis(page, "x", "seed", "1，2")
        page.locator(".many .grid .begin").click()
        expect_state(page, "running")
        page.wait_for_function("/^[0-9]+% · /.test(document.title)")
        expect(page.locator("#view-many")).to_have_attribute("aria-selected", "true")
        for count in (1, 2):
            expect(page.locator("#stop")).to_be_enabled()
            page.keyboard.press("Escape")
            expect(state).to_contain_text(f"取消 {count}")
        expect(page.locator("#stop")).to_be_disabled()
        studio.step_seconds = 0.0
        studio.pause_queue(True)
        page.locator(".many .grid .begin").click()
        expect(state).to_have_text("已完成 0 / 2")
        looks: list[Route] = []

        def fail_once(route: Route) -> None:
            if route.request.method == "GET" and not looks:
                looks.append(route)
                route.abort()
            else:
                route.continue_()

        page.route("**/many.json", fail_once)
        expect(told).not_to_be_empty()
        studio.pause_queue(False)
        expect(state).to_have_text("已完成 2 / 2")
        expect(told).to_be_empty()
        page.context.close()


def test_form_and_file_outlive_a_reload(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    _open_view(page, "红色小船")
    _axis(page, "x", "stages.1.steps", "3, 5")
    _axis(page, "y", "prompt~", "红色, 蓝色")
    page.locator(".many .batch input").set_input_files(
        {"name": "prompts.txt", "mimeType": "text/plain", "buffer": "猫\n狗\n".encode()}
    )
    expect(page.locator(".many .rows tbody tr")).to_have_count(2)
    arrive(page)
    for axis, field, values in (("x", "stages.1.steps", "3, 5"), ("y", "prompt~", "红色, 蓝色"), ("z", "", "")):
        row = page.locator(f".many .axis[data-axis={axis}]")
        expect(row.locator("select")).to_have_value(field)
        expect(row.locator("input")).to_have_value(values)
    expect(page.locator(".many .grid .told")).to_contain_text("共 4 张")
    expect(page.locator(".many .batch .choose")).to_have_text("prompts.txt")
    expect(page.locator(".many .batch .begin")).to_be_enabled()
    assert scripted.queue().waiting == 0


def test_the_view_in_a_browser(visitor: Visit, tmp_path: Path) -> None:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0)) as studio, served(studio) as address:
        page = visitor(address)
        _open_view(page, "红色小船")
        _axis(page, "x", "stages.1.denoise", "0.4，0.6")
        _axis(page, "y", "prompt~", "红色, 蓝色")
        expect(page.locator(".many .grid .told")).to_contain_text("共 4 张；需")
        _axis(page, "z", "stages.0.cfg", "99")
        expect(page.locator(".many .grid .told")).to_contain_text("Z 轴：第 1 阶段 CFG：99")
        expect(page.locator(".many .grid .begin")).to_be_disabled()
        _axis(page, "z", "", "")
        page.locator(".many .grid .begin").click()
        expect(page.locator(".many .groups .state")).to_have_text("已完成 4 / 4")
        expect(page.locator(".many .groups .sheet img")).to_have_js_property("complete", True)
        with page.expect_download() as download:
            page.locator(".many .groups .acts a").filter(has_text="拼图").click()
        assert download.value.suggested_filename == "sheet-1.png"
        prompts = {item.record.request.prompt for item in studio.today(_owner(page))}
        assert prompts == {"红色小船", "蓝色小船"}
        page.locator(".many .grid .begin").click()
        expect(page.locator(".many .groups .state")).to_have_text(["已完成 4 / 4"] * 2)
        assert len({item.record.request.seed for item in studio.today(_owner(page))}) == 2, "a start draws a seed anew"
        long = f"# {'注释' * 300_000}\n猫\n狗\n"  # more than JSON may have
        page.locator(".many .batch input").set_input_files(
            {"name": "prompts.txt", "mimeType": "text/plain", "buffer": long.encode()}
        )
        expect(page.locator(".many .rows tbody tr")).to_have_count(2)
        for count in (3, 4):
            page.locator(".many .batch .begin").click()
            expect(page.locator(".many .groups .state")).to_have_count(count)
            expect(page.locator(".many .groups li").first.locator(".state")).to_have_text("已完成 2 / 2")
        assert len({item.record.request.seed for item in studio.today(_owner(page), 4)}) == 4
        with page.expect_download() as download:
            page.locator(".many .groups li").first.get_by_role("link", name="清单").click()
        assert download.value.path().read_text("utf-8").count('"done"') == 2


def _finished(client: TestClient) -> dict[str, Any]:
    """The newest group, once all of its files are there."""
    end = time.monotonic() + PATIENCE
    while not (group := client.get("/many.json").json()["groups"][0])["finished"]:
        assert time.monotonic() < end, group
        time.sleep(0.02)
    return dict(group)


def _open_view(page: Page, prompt: str) -> None:
    page.locator("#knob-prompt textarea").fill(prompt)
    page.locator("#view-many").click()


def _axis(page: Page, axis: str, field: str, values: str) -> None:
    row = page.locator(f".many .axis[data-axis={axis}]")
    row.locator("select").select_option(field)
    if field:
        row.locator("input").fill(values)


def _owner(page: Page) -> str:
    return next(str(each["value"]) for each in page.context.cookies() if each["name"] == OWNER_COOKIE)
