"""The views of the page: history, a picture large, comparison. Over HTTP, and in Chromium."""

from __future__ import annotations

import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, Route, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.records import a_record
from tests.ui.conftest import Visit, arrive, ask, expect_state
from tests.ui.doubles import QUICK, QuickPageStudio
from zimage_app.domain.plan import make_plan
from zimage_app.domain.record import StageRecord
from zimage_app.domain.request import GenerationRequest
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.history import History
from zimage_app.ui.canvas.picture_routes import picture_routes
from zimage_app.ui.history.history import MAX_COMPARED, PAGE_SIZE
from zimage_app.ui.history.history_routes import history_routes
from zimage_app.web.owner import OWNER_COOKIE

MARKUP = "<img src=x onerror=alert(1)>"
OWNER = "0123456789abcdef" * 2
NEWEST = datetime(2026, 1, 5, 12).astimezone()


def save(folder: Path, number: int, prompt: str, owner: str = "") -> str:
    """A small picture, ``number`` times seven hours old; gives its id."""
    created = NEWEST - timedelta(hours=7 * number)
    plan = make_plan(GenerationRequest(prompt=prompt, seed=2**63 + number), QUICK)
    stages = [StageRecord(number=s.number, seed=s.seed, seconds=1, calls=3, skipped_calls=0) for s in plan.stages]
    record = a_record(f"{created:%Y%m%d-%H%M%S}-{number:08x}").model_copy(
        update={
            "created": created,
            "model": "quick",
            "request": plan.request,
            "width": 336,
            "height": 432,
            "stages": tuple(stages),
        }
    )
    pixels = np.full((54, 42, 3), (number * 40) % 256, np.uint8)
    return Gallery(folder).save(pixels, record, owner).record.id


# Over HTTP.


@pytest.fixture
def studio(tmp_path: Path) -> QuickPageStudio:
    return QuickPageStudio(tmp_path, step_seconds=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def client_of(studio: QuickPageStudio, owner: str = OWNER) -> TestClient:
    routes = [*history_routes(studio, "auto"), *picture_routes(studio, "auto")]
    return TestClient(Starlette(routes=routes), cookies={OWNER_COOKIE: owner})


def test_a_page_has_what_fits_and_what_there_is_to_choose_from(studio: QuickPageStudio, folder: Path) -> None:
    ids = [save(folder, number, f"图{number}号 {'长' * 200}") for number in range(5)]
    client = client_of(studio)
    data = client.get("/history").json()
    assert [item["id"] for item in data["items"]] == ids
    assert (data["total"], data["page"], data["pages"], data["reading"]) == (5, 1, 1, False)
    assert data["days"] == [{"name": "2026-01-05", "count": 2}, {"name": "2026-01-04", "count": 3}]
    assert data["models"] == [{"name": "quick", "count": 5}]
    assert data["items"][0]["seed"] == str(2**63)
    assert len(data["items"][0]["label"]) == 160

    def found(**query: str) -> list[str]:
        return [item["id"] for item in client.get("/history", params=query).json()["items"]]

    assert found(q="图3号") == found(q="seed:9223372036854775811") == [ids[3]]
    assert found(day="2026-01-05") == ids[:2]
    assert found(model="other") == found(starred="1") == found(trash="1") == []
    for page in ("0", "-1", "x", "²", "9" * 30, "9" * 5000, ""):
        assert found(page=page) == ids


def test_changes_are_made_and_undone(studio: QuickPageStudio, folder: Path) -> None:
    one, two = save(folder, 1, "一"), save(folder, 2, "二")
    client = client_of(studio)

    def change(do: str, *ids: str) -> list[str]:
        answer = client.post("/history", json={"do": do, "ids": ids})
        assert answer.status_code == 200
        return list(answer.json()["ids"])

    assert change("star", one, "20260101-000000-00000000", "../x") == [one]
    assert client.get("/history?starred=1").json()["total"] == 1
    assert client.get(f"/pictures/{one}.json").json()["starred"] is True
    assert change("find", one, "20260101-000000-00000000") == [one]
    assert change("unstar", one) == [one]
    assert change("delete", one, one) == [one]
    assert client.get(f"/pictures/{one}.json").status_code == 404
    assert client.get(f"/history/trash/{one}.jpg").headers["content-type"] == "image/jpeg"
    assert [item["id"] for item in client.get("/history?trash=1").json()["items"]] == [one]
    assert change("undo", one, two) == [one]
    assert change("delete", two) == [two]
    assert change("empty") == [two]
    assert client.get("/history?trash=1").json()["total"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[1]", b'"x"', b'{"do": "drop", "ids": []}', b'{"do": ["star"]}', b"[" * 100_000]
)
def test_an_order_that_makes_no_sense_is_refused_in_one_sentence(studio: QuickPageStudio, body: bytes) -> None:
    answer = client_of(studio).post("/history", content=body, headers={"accept-language": "zh"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(("do：必须是", "order：不是 JSON"))


def test_what_can_t_be_done_is_said(studio: QuickPageStudio, folder: Path) -> None:
    one = save(folder, 1, "一")
    (folder / ".trash").write_text("in the way")
    answer = client_of(studio).post("/history", json={"do": "delete", "ids": [one]})
    assert answer.status_code == 500
    assert "could not be moved" in answer.json()["error"]
    assert str(folder) not in answer.json()["error"]


def test_strangers_reach_nothing_of_each_other(studio: QuickPageStudio, folder: Path) -> None:
    studio.history = History(folder, shared=True)
    mine, theirs = save(folder, 1, "mine", OWNER), save(folder, 2, "theirs", "f" * 32)
    Gallery(folder).path_of(theirs).with_name(f"{theirs}.stage1.png").write_bytes(b"stage")
    for client in (client_of(studio), client_of(studio, ""), client_of(studio, "x")):
        seen = [item["id"] for item in client.get("/history").json()["items"]]
        assert seen == ([mine] if client.cookies.get(OWNER_COOKIE) == OWNER else [])
        paths = ("/pictures/{}.json", "/pictures/{}/saved.webp", "/history/{}/stage1.png", "/history/trash/{}.jpg")
        for path in paths:
            assert client.get(path.format(theirs)).status_code == 404
        assert theirs not in client.get(f"/history/sides?ids={theirs},{mine}").text
        for do in ("find", "star", "delete", "undo"):
            assert client.post("/history", json={"do": do, "ids": [theirs]}).json() == {"ids": []}
        packed = client.post("/history/zip", data={"ids": theirs}).content
        assert zipfile.ZipFile(io.BytesIO(packed)).namelist() == []
    studio.history.delete([theirs], None)
    assert client_of(studio).get(f"/history/trash/{theirs}.jpg").status_code == 404
    assert client_of(studio).post("/history", json={"do": "empty"}).json() == {"ids": []}
    assert client_of(studio, "f" * 32).get("/history?trash=1").json()["total"] == 1


def test_a_zip_is_sent_as_a_file_to_keep(studio: QuickPageStudio, folder: Path) -> None:
    one, two = save(folder, 1, "一"), save(folder, 2, "二")
    answer = client_of(studio).post("/history/zip", data={"ids": f"{two},x,{one}"})
    assert answer.headers["content-disposition"].startswith('attachment; filename="z-image-')
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == [f"{two}.png", f"{one}.png"]


def test_sides_mark_what_differs(studio: QuickPageStudio, folder: Path) -> None:
    ids = [save(folder, number, "同") for number in range(MAX_COMPARED + 2)]
    data = client_of(studio).get(f"/history/sides?ids={ids[0]},{ids[1]}", headers={"accept-language": "zh"}).json()
    assert [picture["id"] for picture in data["pictures"]] == ids[:2]
    assert [row["title"] for row in data["rows"] if not row["same"]] == ["种子"]
    assert {"第 1 阶段 步数", "第 2 阶段 CFG", "提示词", "模型"} <= {row["title"] for row in data["rows"]}
    many = client_of(studio).get(f"/history/sides?ids={','.join(ids)}").json()
    assert len(many["pictures"]) == MAX_COMPARED
    assert client_of(studio).get("/history/sides").json() == {"pictures": [], "rows": []}


def test_kept_stages_are_told_and_sent(studio: QuickPageStudio, folder: Path) -> None:
    one = save(folder, 1, "一")
    for number in (2, 1):
        Gallery(folder).path_of(one).with_name(f"{one}.stage{number}.png").write_bytes(b"%d" % number)
    client = client_of(studio)
    (data,) = [client.get(f"/pictures/{one}.json").json()]
    assert [(stage["number"], stage["kept"]) for stage in data["stages"]] == [(1, True), (2, True)]
    assert client.get(f"/history/{one}/stage2.png").content == b"2"
    assert client.get(f"/history/{one}/stage3.png").status_code == 404


# In Chromium.


@pytest.fixture
def pictures(scripted: QuickPageStudio) -> Iterator[list[str]]:
    """The ids of eight pictures, newest first, of which one has markup in its prompt."""
    folder = scripted.gallery.path_of("20260101-000000-00000000").parents[1]
    shutil.rmtree(folder, ignore_errors=True)
    yield [save(folder, number, MARKUP if number == 2 else f"小船 {number}") for number in range(8)]
    shutil.rmtree(folder, ignore_errors=True)


DROP_ADDRESS = """(address) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.setData("text/uri-list", address);
  const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
  document.querySelector(".drop").dispatchEvent(event);
}"""


def history_of(page: Page) -> Locator:
    page.locator("#view-history").click()
    cards = page.locator(".history .card")
    expect(cards.first).to_be_visible()
    return cards


def shown(page: Page) -> list[str]:
    return [str(card.get_attribute("data-picture")) for card in page.locator(".history .card").all()]


def test_pictures_are_listed_by_day_searched_and_filtered_also_after_a_reload(
    visit: Visit, pictures: list[str]
) -> None:
    page = visit()
    cards = history_of(page)
    expect(cards).to_have_count(8)
    assert shown(page) == pictures
    expect(page.locator(".history h3")).to_have_text(["2026-01-05", "2026-01-04", "2026-01-03"])
    expect(page.locator("#canvas")).to_be_hidden()
    expect(cards.nth(2).locator(".open")).to_have_attribute("title", MARKUP)
    page.locator(".history .query").fill('"小船 3')
    expect(cards).to_have_count(1)
    expect(page.locator(".history .total")).to_have_text("共 1 张")
    page.locator(".history .query").fill("没有这样的")
    expect(page.locator(".history .none")).to_have_text("没有符合条件的图片。")
    page.locator(".history .query").fill("")
    expect(cards).to_have_count(8)
    page.locator(".history .day").select_option("2026-01-04")
    expect(cards).to_have_count(4)
    # A picture that is dragged onto the settings gives its own; one of another site isn't fetched.
    cards.last.locator("img").drag_to(page.locator(".drop"))
    expect(page.locator("#knob-prompt textarea")).to_have_value("小船 5")
    page.evaluate(DROP_ADDRESS, "https://example.org/x.png")
    expect(page.locator(".drop .problem")).to_contain_text("在其他网站上")
    page.locator(".history .query").fill("小船")
    expect(cards).to_have_count(3)
    arrive(page)
    expect(cards).to_have_count(3)
    expect(page.locator(".history .query")).to_have_value("小船")
    expect(page.locator(".history .day")).to_have_value("2026-01-04")


@pytest.mark.usefixtures("pictures")
def test_reading_the_folder_is_asked_about_again_after_a_failure(visit: Visit) -> None:
    page = visit(locale="en-US")
    answers = ["reading", "fails"]

    def answer(route: Route) -> None:
        if not answers:
            route.continue_()
        elif answers.pop(0) == "fails":
            route.abort()
        else:
            response = route.fetch()
            route.fulfill(response=response, json=response.json() | {"reading": True})

    page.route("**/history?*", answer)
    page.locator("#view-history").click()
    total, said = page.locator(".history .total"), page.locator(".history .said")
    expect(total).to_contain_text("Reading the folder")
    expect(total).to_have_text("Pictures: 8")
    expect(said).to_be_empty()
    assert answers == []


def test_the_keyboard_moves_selects_stars_and_deletes(visit: Visit, pictures: list[str]) -> None:
    page = visit(locale="en-US")
    cards = history_of(page)

    def at() -> str:
        return str(page.evaluate("document.activeElement.closest('.card')?.dataset.picture"))

    cards.first.locator(".open").focus()
    page.keyboard.press("ArrowRight")
    assert at() == pictures[1]
    page.keyboard.press("ArrowDown")
    assert at() == pictures[3]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    assert at() == pictures[0]
    page.keyboard.press("s")
    expect(cards.first).to_have_class("card is-starred")
    assert at() == pictures[0]
    cards.first.locator(".more").focus()
    page.keyboard.press("Space")
    expect(page.locator(".studio-acts")).to_be_visible()
    expect(page.locator(".history .selection")).to_be_hidden()
    page.keyboard.press("Escape")
    cards.first.locator(".open").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator(".selection b")).to_have_text("2 selected")
    page.keyboard.press("Delete")
    expect(cards).to_have_count(6)
    expect(page.locator(".studio-toast")).to_contain_text("2 moved to the trash.")
    expect(page.locator(".history .selection")).to_be_hidden()
    assert at() == pictures[2]
    page.keyboard.press("Control+z")
    expect(cards).to_have_count(8)
    expect(page.locator(".studio-toast")).to_contain_text("2 restored.")
    page.locator(".history .starred").click()
    expect(cards).to_have_count(1)
    page.locator(".history .starred").click()
    expect(cards).to_have_count(8)
    cards.first.locator(".open").focus()
    page.keyboard.press("s")
    expect(cards.first).to_have_class("card")
    # What a changed filter no longer shows is no longer selected, and so not deleted.
    page.locator(".history .query").fill('"小船 3"')
    expect(cards).to_have_count(1)
    cards.first.locator(".pick").check()
    page.locator(".history .query").fill('"小船 5"')
    expect(cards.first).to_have_attribute("data-picture", pictures[5])
    expect(page.locator(".history .selection")).to_be_hidden()
    cards.first.locator(".open").focus()
    page.keyboard.press("Delete")
    expect(page.locator(".history .none")).to_be_visible()
    page.locator(".history .query").fill("")
    expect(cards).to_have_count(7)
    assert shown(page) == pictures[:5] + pictures[6:]


def test_the_trash_gives_back_and_is_emptied_after_a_question(visit: Visit, pictures: list[str]) -> None:
    page = visit()
    cards = history_of(page)
    for number in (0, 1):
        cards.nth(number).hover()
        cards.nth(number).locator(".pick").check()
    page.locator(".selection .delete").click()
    expect(cards).to_have_count(6)
    page.locator(".history .trash").click()
    expect(cards).to_have_count(2)
    expect(cards.first.locator("img")).to_have_js_property("naturalWidth", 42)
    cards.first.locator(".open").click()
    page.locator(".selection .restore").click()
    expect(cards).to_have_count(1)
    page.locator(".selection .discard").click()
    page.locator(".offers .sure").click()
    expect(page.locator(".history .none")).to_have_text("回收站是空的。")
    page.locator(".history .trash").click()
    expect(cards).to_have_count(7)
    assert pictures[1] not in shown(page)


def test_a_picture_opens_large_and_its_settings_are_put_in(visit: Visit, pictures: list[str]) -> None:
    page = visit()
    cards = history_of(page)
    viewer, column = page.locator(".viewer"), page.locator("#right")

    def open_first() -> None:
        cards.first.locator(".open").focus()
        page.keyboard.press("Enter")
        expect(viewer).to_be_visible()

    # The browser's Back closes the viewer, then leads to the view before; Forward leads back.
    open_first()
    page.evaluate("history.back()")
    expect(viewer).to_be_hidden()
    expect(column).to_have_attribute("data-view", "history")
    open_first()
    page.keyboard.press("Escape")
    page.wait_for_function("!history.state.dialog")  # a closed viewer leaves nothing for Back to undo
    for move, view in (("back", "canvas"), ("forward", "history")):
        page.evaluate(f"history.{move}()")
        expect(column).to_have_attribute("data-view", view)
    open_first()
    expect(viewer.locator("dd").first).to_have_text("小船 0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("dd").first).to_have_text(MARKUP)
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("dd").first).to_have_text("小船 3")
    page.keyboard.press("s")
    expect(viewer.locator(".star")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("s")
    expect(viewer.locator(".star")).to_have_attribute("aria-pressed", "false")
    with page.expect_download() as download:
        viewer.locator(".acts .save").click()
        viewer.get_by_role("menuitem", name="PNG（原图）").click()
    assert download.value.suggested_filename == f"{pictures[3]}.png"
    viewer.locator(".reuse").click()
    expect(viewer).to_be_hidden()
    expect(page.locator("#knob-prompt textarea")).to_have_value("小船 3")
    expect(page.locator("#knob-seed input, #knob-seed textarea").first).to_have_value(str(2**63 + 3))
    cards.nth(4).locator(".open").click()
    expect(viewer.locator("dd").first).to_have_text("小船 4")
    page.keyboard.press("Delete")
    expect(viewer.locator("dd").first).to_have_text("小船 5")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(cards).to_have_count(7)


def test_deletions_in_the_viewer_are_undone_one_after_another(visit: Visit, pictures: list[str]) -> None:
    page = visit()
    page.locator("#view-history").click()
    page.locator(".history .card .open").first.click()
    viewer = page.locator(".viewer")
    for shown in pictures[:2]:
        expect(viewer).to_have_attribute("data-picture", shown)
        page.keyboard.press("Delete")
    expect(viewer).to_have_attribute("data-picture", pictures[2])
    for shown in reversed(pictures[:2]):
        page.keyboard.press("Control+z")
        expect(viewer).to_have_attribute("data-picture", shown)
    page.keyboard.press("ArrowRight")
    expect(viewer).to_have_attribute("data-picture", pictures[1])
    page.keyboard.press("Delete")
    expect(viewer).to_have_attribute("data-picture", pictures[2])
    page.locator(".studio-toast .undo").click()
    expect(viewer).to_have_attribute("data-picture", pictures[1])
    page.keyboard.press("ArrowLeft")  # the keys still reach the viewer
    expect(viewer).to_have_attribute("data-picture", pictures[0])


def test_a_picture_made_again_is_compared_pixel_by_pixel(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    ask(page, "again and again")
    expect_state(page, "done")
    scripted.loading = threading.Event()
    again = page.locator("#canvas .strip .cell").first
    for count in (1, 2):  # each is compared, also while another waits
        again.locator(".more").click()
        page.locator(".studio-acts .again").click()
        expect(page.locator(".bar .jobs")).to_have_text(f"任务 {count}")
    last = scripted.jobs("", shared=False)[-1].id
    with page.expect_response(lambda answer: last in (answer.request.post_data or "") and "完全一致" in answer.text()):
        scripted.loading.set()
    expect(page.locator("#notice")).to_contain_text("已重新生成：逐像素完全一致。")
    scripted.step_seconds = 0.0
    cards = history_of(page)
    cards.first.locator(".open").click()
    expect(page.locator(".viewer dd").first).to_have_text("again and again")
    page.locator(".viewer .again").click()
    expect(page.locator(".viewer")).to_be_hidden()
    expect(page.locator("#right")).to_have_attribute("data-view", "canvas")
    expect_state(page, "done")


def test_the_views_are_tabs_that_the_arrows_move_and_one_compares_the_stages_of_a_run(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit()
    page.locator("#view-canvas").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#view-many")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#view-history")).to_be_focused()
    expect(page.locator("#view-history")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel", name="历史")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#canvas")).to_be_visible()
    page.locator("#view-compare").click()
    expect(page.locator(".compare .none")).to_be_visible()
    page.locator("#view-canvas").click()
    ask(page, "stages")
    expect_state(page, "done")
    page.locator(".canvas .acts .compare").click()
    page.get_by_role("menuitem", name="对比各阶段").click()
    compare = page.locator("#compare .compare")
    expect(compare.locator(".names span").first).to_have_text("1 构图")
    expect(compare.locator(".names span").nth(1)).to_have_text("2 成片")
    expect(compare.locator(".settings")).to_be_hidden()


def test_a_selection_is_compared_downloaded_as_a_zip_and_starred(
    visit: Visit, scripted: QuickPageStudio, pictures: list[str]
) -> None:
    page = visit(locale="en-US")
    cards = history_of(page)
    for number in (0, 2):
        cards.nth(number).hover()
        cards.nth(number).locator(".pick").check()
    page.locator(".selection .compare").click()
    expect_compared(page, pictures[0], pictures[2])
    page.locator("#view-history").click()
    cards.nth(2).locator(".pick").uncheck()
    page.locator(".selection .page").click()
    with page.expect_download() as download:
        page.locator(".selection .zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == [f"{each}.png" for each in pictures]
    # Without an answer, the page stays; pictures that went meanwhile are told of.
    toast = page.locator(".studio-toast span")
    page.route("**/history", lambda route: route.abort())
    page.locator(".selection .zip").click()
    expect(toast).to_have_text("The app does not answer; is it still running?")
    page.unroute("**/history")
    page.route("**/history/zip", lambda route: route.abort())
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/history/zip")):
        page.locator(".selection .zip").click()
    expect(page.locator(".selection b")).to_have_text("8 selected")
    page.unroute("**/history/zip")
    scripted.history.delete(pictures[:3], None)
    with page.expect_download() as download:
        page.locator(".selection .zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == [f"{each}.png" for each in pictures[3:]]
    expect(toast).to_have_text("Pictures that are no longer there: 3.")
    expect(page.locator(".selection b")).to_have_text("5 selected")
    unknown = "Array.from({ length: 6000 }, () => '20260101-000000-00000000')"
    assert page.evaluate(f"window.studio.order('star', {unknown})") == [], "the server takes that many"
    for count in (5, 0):
        page.locator(".selection .star").click()
        expect(page.locator(".history .card.is-starred")).to_have_count(count)


def expect_compared(page: Page, first: str, second: str) -> None:
    """Two pictures are shown with a divider and their settings, of which seed and prompt differ."""
    compare = page.locator("#compare .compare")
    expect(compare.locator(".slider")).to_be_visible()
    expect(compare.locator(".over")).to_have_attribute("src", f"pictures/{first}.png")
    divider = compare.get_by_label("Divider")
    divider.focus()
    page.keyboard.press("Home")
    assert compare.locator(".pair").evaluate("node => node.style.getPropertyValue('--divide')") == "0%"
    expect(compare.locator("tbody th")).to_have_text(["Prompt", "Seed"])
    expect(compare.locator("tbody td").nth(1)).to_have_text(MARKUP)
    compare.locator(".only").uncheck()
    expect(compare.locator("tbody tr.differs")).to_have_count(2)
    assert compare.locator("tbody tr").count() > 10
    compare.locator(".swap").click()
    expect(compare.locator(".over")).to_have_attribute("src", f"pictures/{second}.png")
    compare.get_by_role("button", name="Side by side").click()
    expect(compare.locator(".beside img")).to_have_count(2)
    compare.get_by_role("button", name="Newest two").click()
    expect(compare.locator("figcaption, .names span").first).to_contain_text("2026-01-05")


def test_many_pictures_come_in_pages_and_the_viewer_turns_them(
    visit: Visit, scripted: QuickPageStudio, pictures: list[str]
) -> None:
    folder = scripted.gallery.path_of(pictures[0]).parents[1]
    for number in range(8, PAGE_SIZE + 3):
        save(folder, number, f"小船 {number}")
    page = visit()
    cards = history_of(page)
    expect(cards).to_have_count(PAGE_SIZE)
    expect(page.locator(".pager")).to_contain_text("/ 2")
    cards.last.locator(".open").click()
    expect(page.locator(".viewer dd").first).to_have_text(f"小船 {PAGE_SIZE - 1}")
    page.keyboard.press("Delete")
    for number in (PAGE_SIZE - 2, PAGE_SIZE, PAGE_SIZE + 1):
        expect(page.locator(".viewer dd").first).to_have_text(f"小船 {number}")
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(cards).to_have_count(2)
    page.locator(".pager .previous").click()
    expect(cards).to_have_count(PAGE_SIZE)


def test_on_a_phone_nothing_scrolls_sideways(visit: Visit, pictures: list[str]) -> None:
    page = visit(viewport={"width": 390, "height": 800})
    cards = history_of(page)
    expect(cards).to_have_count(len(pictures))
    page.locator(".history .card .pick").first.check()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    def edge(selector: str, name: str) -> float:
        return float(page.locator(selector).evaluate(f"node => node.getBoundingClientRect().{name}"))

    assert edge(".history .selection", "bottom") <= edge("#go", "top")
    page.locator(".selection .delete").click()
    expect(page.locator(".studio-toast")).to_be_visible()
    assert edge(".studio-toast", "bottom") <= edge("#go", "top")
    page.locator(".studio-toast .undo").click()
    expect(cards).to_have_count(len(pictures))
    cards.first.locator(".open").click()
    expect(page.locator(".viewer dd").first).to_have_text("小船 0")
    assert page.locator(".viewer").evaluate("node => node.scrollWidth") <= 390
    page.locator(".viewer .acts .compare").click()
    page.get_by_role("menuitem", name="与相邻的一张对比").click()
    expect(page.locator(".compare .slider")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_words_of_the_data_are_json(studio: QuickPageStudio, folder: Path) -> None:
    one = save(folder, 1, MARKUP)
    for path in ("/history", f"/pictures/{one}.json", f"/history/sides?ids={one}"):
        answer = client_of(studio).get(path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        json.loads(answer.text)
