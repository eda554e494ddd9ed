"""The mask editor: in Chromium with mouse, keys and fingers; the shape of stages; whose pictures are given out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.ui.conftest import PHONE, Visit, arrive, ask, choose_model, expect_state
from tests.ui.doubles import QuickPageStudio, finish
from zimage_app.domain.errors import RequestError
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import REFERENCE_STAGES, Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.sizes import shaped
from zimage_app.service.generation.start_pictures import FOLDER, PictureInputs
from zimage_app.ui.fields.stage_edits import with_proportions
from zimage_app.ui.fields.values import stages_values
from zimage_app.ui.start.start_picture import start_routes

WIDTH, HEIGHT = 240, 160


def a_photo(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.effect_mandelbrot((WIDTH, HEIGHT), (-2, -1.5, 1, 1.5), 20).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


# Without a browser.


@pytest.mark.parametrize(("kind", "media"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_a_picture_is_given_back_as_it_came(tmp_path: Path, kind: str, media: str) -> None:
    client = TestClient(Starlette(routes=start_routes(QuickPageStudio(tmp_path), "auto")))
    digest = client.post("/inputs", params={"name": "x"}, content=a_photo(kind)).json()["picture"]
    answer = client.get(f"/inputs/{digest}")
    assert answer.content == a_photo(kind)
    assert answer.headers["content-type"] == media
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get(f"/inputs/{'0' * 64}").status_code == 404
    assert client.get("/inputs/..%2fqueue.sqlite").status_code == 404


def test_x1_a_picture_is_given_to_whom_it_belongs_only(tmp_path: Path) -> None:
    anna, bert = "a" * 32, "b" * 32
    shared = PictureInputs(tmp_path, shared=True)
    digest = shared.save(a_photo(), "x", anna).sha256
    path, kind = shared.original(digest, anna) or (Path(), "")
    assert (path.read_bytes(), kind) == (a_photo(), "image/png")
    assert shared.original(digest, bert) is None
    assert shared.original(digest) is None


@pytest.mark.parametrize(
    ("canvas", "size"), [((896, 864), (768, 752)), ((100, 100), (768, 768)), ((4000, 100), (2048, 128))]
)
def test_a_stage_takes_a_canvass_shape_and_keeps_its_pixels(canvas: tuple[int, int], size: tuple[int, int]) -> None:
    assert shaped(Stage(width=672, height=864), *canvas) == size


def test_all_stages_take_it() -> None:
    page: dict[str, Any] = stages_values(REFERENCE_STAGES)
    changed = with_proportions(page, 864, 672)
    assert [changed["stages"][2][side] for side in ("width", "height")] == [864, 672]
    assert [changed["stages"][0][side] for side in ("width", "height")] == [224, 176]
    for wrong in ("x", None, 0, 1.5):
        with pytest.raises(RequestError, match="is no size"):
            with_proportions(page, wrong, 100)


# In Chromium.


def begin(page: Page) -> Locator:
    """Hand a picture in and open the editor; gives its surface."""
    file: Any = {"name": "photo.png", "mimeType": "image/png", "buffer": a_photo()}
    page.locator(".drop input").set_input_files(file)
    page.locator(".drop .start-from").click()
    expect(page.locator(".start .chosen")).to_be_visible()
    return reopen(page)


def reopen(page: Page) -> Locator:
    page.locator(".start .part").click()
    surface = page.locator(".mask-editor .show")
    expect(surface).to_be_visible()
    return surface


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the picture lies on the screen."""
    box = page.locator(".mask-editor canvas.paint").bounding_box()
    assert box is not None
    return box["x"] + x / WIDTH * box["width"], box["y"] + y / HEIGHT * box["height"]


def under(page: Page, x: float, y: float) -> tuple[float, float]:
    """Which pixel of the picture lies at a place of the screen."""
    box = page.locator(".mask-editor canvas.paint").bounding_box()
    assert box is not None
    return (x - box["x"]) / box["width"] * WIDTH, (y - box["y"]) / box["height"] * HEIGHT


def drag(page: Page, *points: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, *point), steps=4)
    page.mouse.up()


def set_brush(page: Page, size: int) -> None:
    page.locator(".brush-size input").fill(str(size))


def applied(page: Page, studio: QuickPageStudio) -> np.ndarray:
    """The mask that is handed in by pressing the button."""
    page.locator(".mask-editor .apply").click()
    expect(page.locator(".mask-editor")).to_be_hidden()
    return newest_mask(studio)


def newest_mask(studio: QuickPageStudio) -> np.ndarray:
    files = [path for path in (studio._config.outputs / FOLDER).iterdir() if len(path.name) == 64]
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    return np.asarray(Image.open(newest).convert("L"))


def test_a_part_is_painted_with_the_mouse_and_used(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    choose_model(page, "三个阶段")
    begin(page)
    expect(page.locator(".mask-editor .state")).to_have_text("没有选择区域：将重绘整张图片。")
    expect(page.locator(".mask-editor .feather span")).to_have_text("羽化: 16")
    set_brush(page, 40)
    drag(page, (60, 80), (120, 80))
    expect(page.locator(".mask-editor .state")).to_contain_text("将重绘画布的")
    mask = applied(page, scripted)
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask[80, 90] == 255
    assert mask[80, 45] > 0, "the brush is round and reaches half its size"
    assert mask[80, 10] == mask[10, 90] == mask[80, 200] == 0
    expect(page.locator(".start .kept")).to_have_text("只重绘一部分")
    ask(page, "局部重绘")
    expect_state(page, "done")
    start = scripted.today()[0].record.request.start
    assert start is not None
    assert start.mask is not None
    assert (start.feather, start.paste, start.differential) == (16, True, None)
    arrive(page)
    page.locator(".strip .thumb").first.click()
    page.locator(".canvas .acts .reuse").click()
    expect(page.locator(".start .part")).to_have_text("编辑蒙版…")
    reopen(page)
    assert (applied(page, scripted) == mask).all(), "what is opened again is what was painted"


def test_what_is_painted_can_be_undone_inverted_erased_and_cleared(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit(locale="en-US")
    surface = begin(page)
    state = page.locator(".mask-editor .state")
    set_brush(page, 60)
    drag(page, (60, 80), (60, 80))
    drag(page, (180, 80), (180, 80))
    surface.press("Control+z")
    surface.press("Control+z")
    expect(state).to_have_text("Nothing is marked: all of the picture is redrawn.")
    expect(page.locator(".acts .undo")).to_be_disabled()
    surface.press("Control+Shift+z")
    page.locator(".acts .invert").click()
    page.locator(".tools .erase").click()
    drag(page, (180, 80), (180, 80))
    mask = applied(page, scripted)
    assert mask[80, 60] == mask[80, 180] == 0
    assert mask[80, 120] == mask[5, 5] == 255
    reopen(page)
    page.locator(".acts .clear").click()
    page.locator(".mask-editor .apply").click()
    expect(page.locator(".start .kept")).to_be_empty()


def test_it_is_enlarged_and_moved_with_the_wheel_and_the_hand(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    begin(page)
    x, y = (round(side) for side in at(page, 200, 120))  # the wheel's event has whole pixels
    page.mouse.move(x, y)
    before = under(page, x, y)
    for _ in range(6):
        page.mouse.wheel(0, -100)
    page.wait_for_function("document.querySelector('canvas.paint').getBoundingClientRect().width > 2500")
    assert under(page, x, y) == pytest.approx(before, abs=0.5), "what is under the pointer stays there"
    page.locator(".tools .move").click()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 50, y - 30)
    page.mouse.up()
    assert under(page, x - 50, y - 30) == pytest.approx(before, abs=0.5)
    page.locator(".tools .paint").click()
    set_brush(page, 20)
    drag(page, (200, 120), (200, 120))
    mask = applied(page, scripted)
    assert mask[120, 200] == 255
    assert mask[120, 185] == 0


def test_it_is_painted_with_keys_and_a_larger_canvas_gives_the_stages_its_shape(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    page = visit()
    surface = begin(page)
    set_brush(page, 40)
    surface.focus()
    for key in ("Space", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "Space"):
        surface.press(key)
    mask = applied(page, scripted)
    assert mask[80, 120] == mask[80, 80] == 255
    assert mask[80, 180] == 0
    reopen(page)
    page.locator(".acts .clear").click()
    left = page.locator(".extend .left input")
    for typed, used in (("99999", "2048"), ("-50", "0"), ("12.7", "13"), ("80", "80")):
        left.fill(typed)
        left.blur()
        expect(left).to_have_value(used)
    expect(page.locator(".mask-editor .size")).to_have_text("画布 320×160")
    expect(page.locator(".mask-editor .state")).to_have_text("将重绘画布的 25%。")
    page.locator(".mask-editor .shape").click()
    expect(page.locator(".mask-editor .state")).to_contain_text("各阶段将采用此比例")
    page.locator(".mask-editor .differential input").check()
    page.locator(".mask-editor .paste input").uncheck()
    page.locator(".mask-editor .apply").click()
    expect(page.locator("#knob-stages-0-width input[type=number]")).to_have_value("288")
    reopen(page)
    expect(page.locator(".mask-editor .shape")).to_have_attribute("aria-pressed", "false")
    left.fill("320")
    page.locator(".mask-editor .shape").click()
    page.locator(".mask-editor .cancel").click()
    ask(page, "扩图")
    expect_state(page, "done")
    record = scripted.today()[0].record
    assert record.request.start is not None
    assert record.request.start.extend == (80, 0, 0, 0)
    assert record.request.start.mask is None
    assert record.request.start.differential == 1.0
    assert not record.request.start.paste
    assert (record.width, record.height) == (544, 272)


def test_leaving_changes_nothing_and_another_picture_takes_the_mask_off(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit()
    begin(page)
    drag(page, (60, 80), (120, 80))
    page.keyboard.press("Escape")
    expect(page.locator(".mask-editor .state")).to_contain_text("再按一次 Esc")
    page.keyboard.press("Escape")
    expect(page.locator(".mask-editor")).to_be_hidden()
    expect(page.locator(".start .kept")).to_be_empty()
    reopen(page)
    expect(page.locator(".mask-editor .state")).to_have_text("没有选择区域：将重绘整张图片。")
    drag(page, (60, 80), (120, 80))
    # One that was cancelled while it was being stored isn't used.
    held: list[Route] = []
    page.route("**/inputs?name=mask.png", lambda route: held.append(route))
    with page.expect_request("**/inputs?name=mask.png"):
        page.locator(".mask-editor .apply").click()
    expect(page.locator(".mask-editor .apply")).to_be_disabled()
    page.locator(".mask-editor .cancel").click()
    held[0].continue_()
    page.unroute_all()
    page.wait_for_function("!document.querySelector('.mask-editor .apply').disabled")
    expect(page.locator(".start .kept")).to_be_empty()
    reopen(page)
    drag(page, (60, 80), (120, 80))
    page.locator(".mask-editor .apply").click()
    expect(page.locator(".start .kept")).not_to_be_empty()
    other: Any = {"name": "other.png", "mimeType": "image/png", "buffer": a_photo("WEBP")}
    page.locator(".drop input").set_input_files(other)
    page.locator(".drop .start-from").click()
    expect(page.locator(".start .kept")).to_be_empty()


class Fingers:
    """On a screen that is touched."""

    def __init__(self, page: Page) -> None:
        self._client = page.context.new_cdp_session(page)

    def drag(self, *places: list[tuple[float, float]]) -> None:
        """Put down at the first places, move over the others, lift."""
        kinds = ["touchStart", *["touchMove"] * (len(places) - 1)]
        for kind, points in zip(kinds, places, strict=True):
            self._send(kind, points)
        self._send("touchEnd", [])

    def _send(self, kind: str, points: list[tuple[float, float]]) -> None:
        fingers = [{"x": x, "y": y, "id": place} for place, (x, y) in enumerate(points)]
        self._client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def test_one_finger_paints_and_two_enlarge(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit(**PHONE)
    begin(page)
    set_brush(page, 40)
    fingers = Fingers(page)
    x, y = at(page, 120, 80)
    fingers.drag([(x - 40, y)], [(x, y)], [(x + 40, y)])
    box = page.locator(".mask-editor canvas.paint").bounding_box()
    fingers.drag([(x - 30, y), (x + 30, y)], [(x - 60, y), (x + 60, y)])
    wider = page.locator(".mask-editor canvas.paint").bounding_box()
    assert box is not None
    assert wider is not None
    assert wider["width"] / box["width"] == pytest.approx(2.0, rel=0.05)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    mask = applied(page, scripted)
    assert mask[80, 120] == 255
    assert mask[20, 120] == mask[140, 120] == 0, "two fingers leave no mark"


def test_a_mask_with_transparency_opens_as_it_acts(visit: Visit, scripted: QuickPageStudio) -> None:
    """As a picture from ComfyUI has it whose own transparent part is the mask."""
    image = Image.open(io.BytesIO(a_photo())).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, WIDTH // 2, HEIGHT))
    file = io.BytesIO()
    image.save(file, "PNG")
    digest = scripted.inputs.save(file.getvalue(), "x").sha256
    request = GenerationRequest(prompt="x", seed=1, start=StartPicture(picture=digest, mask=digest))
    job = scripted.submit(request, scripted.default_model)
    finish(scripted, job)
    page = visit()
    page.locator(".strip .thumb").first.click()
    page.locator(".canvas .acts .reuse").click()
    expect(page.locator(".start .part")).to_have_text("编辑蒙版…")
    reopen(page)
    mask = applied(page, scripted)
    assert mask[:, : WIDTH // 2 - 1].min() == 255
    assert mask[:, WIDTH // 2 + 1 :].max() == 0
