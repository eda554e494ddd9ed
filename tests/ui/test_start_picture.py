"""The picture to start from: its routes, what becomes of it when stages change, and in Chromium."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.imports.test_imports import picture
from tests.ui.conftest import PHONE, Visit, apply_preset, arrive, ask, choose_model, expect_state
from tests.ui.doubles import QUICK, QuickPageStudio
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.service.generation.start_pictures import FOLDER, MAX_BYTES
from zimage_app.ui.fields.stage_edits import edited
from zimage_app.ui.fields.values import request_data, request_values, stages_values
from zimage_app.ui.start.start_picture import start_routes

PLAIN: dict[str, Any] = {"prompt": "小船", "negative": "", "triggers": "", "loras": [], "seed": ""}
SETTINGS = "a boat\nSteps: 5, Sampler: Euler a, CFG scale: 1, Seed: 3, Size: 512x512"


def a_photo(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(Starlette(routes=start_routes(QuickPageStudio(tmp_path), "auto")))


def test_a_picture_is_handed_in_and_shown_small(client: TestClient) -> None:
    answer = client.post("/inputs", params={"name": "photo.png"}, content=a_photo())
    assert answer.status_code == 200
    assert (answer.json()["width"], answer.json()["height"]) == (60, 40)
    small = client.get(f"/inputs/{answer.json()['picture']}.jpg")
    assert small.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(small.content)).size == (60, 40)
    assert client.get(f"/inputs/{'0' * 64}.jpg").status_code == 404
    assert client.get("/inputs/..%2fsecret.jpg").status_code == 404


def test_where_strangers_are_an_upload_without_a_cookie_gets_an_owner(tmp_path: Path) -> None:
    app = Starlette(routes=start_routes(QuickPageStudio(tmp_path, shared=True), "auto"))
    anna, bert = (TestClient(app, base_url="http://127.0.0.1") for _ in range(2))
    digest = anna.post("/inputs", params={"name": "x"}, content=a_photo()).json()["picture"]
    assert anna.get(f"/inputs/{digest}.jpg").status_code == 200
    assert bert.get(f"/inputs/{digest}.jpg").status_code == 404


@pytest.mark.parametrize(
    ("content", "words"), [(b"milk", "photo.png 不是可读取的图片"), (b" " * (MAX_BYTES + 2), "超过 32 MB")]
)
def test_what_is_no_picture_is_one_sentence_in_the_visitors_language(
    client: TestClient, content: bytes, words: str
) -> None:
    answer = client.post("/inputs", params={"name": "photo.png"}, content=content, headers={"accept-language": "zh-CN"})
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_a_start_picture_comes_back_as_it_was() -> None:
    start = StartPicture(picture="a" * 64, stage=2, fit="stretch")
    request = GenerationRequest(prompt="x", seed=1, stages=REFERENCE_STAGES, start=start)
    assert parse_request(request_data(request_values(request, QUICK))) == request


@pytest.mark.parametrize(
    ("edit", "stage", "then"),
    [("left", 1, 1), ("right", 1, 3), ("remove", 0, 1), ("remove", 1, 2), ("duplicate", 0, 3), ("add", 0, 2)],
)
def test_it_stays_at_its_stage_when_stages_change(edit: str, stage: int, then: int) -> None:
    page = PLAIN | stages_values(REFERENCE_STAGES) | {"start": {"picture": "a" * 64, "stage": 2}}
    changed, _ = edited(page, edit, stage)
    assert changed["start"] == StartPicture(picture="a" * 64, stage=then).model_dump(mode="json")


def test_the_last_stages_picture_stays_inside_when_that_is_removed() -> None:
    page = PLAIN | stages_values(REFERENCE_STAGES) | {"start": {"picture": "a" * 64, "stage": 3}}
    assert edited(page, "remove", 2)[0]["start"]["stage"] == 2


# In Chromium.

DROP = """([selector, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true });
    document.querySelector(selector).dispatchEvent(event);
  }
}"""


PASTE = """(field, [data, text]) => {
  const clipboardData = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
  if (text) clipboardData.setData("text/plain", text);
  const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
  return field.dispatchEvent(event) ? "left to the field" : "taken";
}"""


def drop(page: Page, selector: str, name: str, data: bytes) -> None:
    page.evaluate(DROP, [selector, name, base64.b64encode(data).decode()])


def expect_shown(page: Page) -> None:
    expect(page.locator(".start .chosen")).to_be_visible()
    page.wait_for_function("document.querySelector('.start img').naturalWidth === 60")


def test_a_picture_that_is_chosen_starts_at_a_stage(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    choose_model(page, "三个阶段")
    expect(page.locator("#knob-stages [role=tab]")).to_have_count(3)
    with page.expect_file_chooser() as chooser:
        page.locator(".drop .choose").press("Enter")
    chooser.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": a_photo()})
    page.locator(".drop .start-from").click()
    expect_shown(page)
    expect(page.locator(".start .at select")).to_have_value("2")  # the first that redraws a part only
    expect(page.locator(".start .denoise")).to_have_text("重绘幅度 0.7")
    expect(page.locator("#knob-stages .idle")).to_have_text("本阶段不会执行。")
    expect(page.locator("#knob-stages [role=tab]").first).to_contain_text("跳过")
    expect(page.locator("#knob-stages [role=tab]").nth(1)).to_contain_text("构图")
    page.locator(".start .at select").select_option("3")
    page.locator(".start .fit select").select_option("stretch")
    expect(page.locator(".start .denoise")).to_have_text("重绘幅度 0.6")
    ask(page, "从图片开始")
    expect_state(page, "done")
    made = scripted.today()[0].record
    assert made.request.start is not None
    assert (made.request.start.stage, made.request.start.fit) == (3, "stretch")
    assert [stage.number for stage in made.stages] == [2]
    expect(page.locator("#canvas .tile b")).to_have_text(["3 成片"])
    expect(page.locator(".facts")).to_contain_text(f"{made.request.start.picture[:10]} @3")
    arrive(page)
    expect_shown(page)
    page.locator(".start .remove").click()
    expect(page.locator(".drop .choose")).to_be_focused()
    page.locator(".strip .thumb").first.click()
    page.locator(".canvas .acts .reuse").click()
    expect_shown(page)
    expect(page.locator(".start .at select")).to_have_value("3")


def test_a_dropped_picture_fills_in_its_settings_and_may_be_started_from(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit(locale="en-US")
    page.locator("#knob-prompt textarea").fill("mine")
    drop(page, "#canvas", "boat.png", picture({"parameters": SETTINGS}))
    expect(page.locator("#knob-prompt textarea")).to_have_value("a boat")
    expect(page.locator(".drop .start-from")).to_be_visible()
    drop(page, "#canvas", "photo.png", a_photo())
    expect(page.locator(".drop h2")).to_have_text("Start from this picture?")
    expect(page.locator(".drop .note")).to_contain_text("photo.png holds no settings")
    expect(page.locator(".drop .problem")).to_be_empty()
    expect(page.locator(".drop .undo")).to_be_hidden()
    expect(page.locator(".drop .take-settings")).to_be_hidden()
    page.locator(".drop .start-from").click()
    expect_shown(page)
    expect(page.locator(".drop .found")).to_be_hidden()
    prompt = page.locator("#knob-prompt textarea")
    expect(prompt).to_have_value("a boat")
    # A pasted picture is taken in the prompt, too, but not in place of text.
    png = base64.b64encode(picture({"parameters": SETTINGS.replace("boat", "barn")})).decode()
    assert prompt.evaluate(PASTE, [png, "text"]) == "left to the field"
    assert prompt.evaluate(PASTE, [png, ""]) == "taken"
    expect(prompt).to_have_value("a barn")


def test_a_picture_dropped_on_another_takes_its_place_on_a_phone(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit(**PHONE)
    drop(page, "#canvas", "photo.png", a_photo("blue"))
    page.locator(".drop .start-from").tap()
    expect_shown(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    drop(page, "#canvas", "no.png", b"milk")
    expect(page.locator(".drop .problem")).to_contain_text("no.png")
    drop(page, ".start .chosen", "other.png", a_photo())
    expect(page.locator(".drop .problem")).to_be_empty()
    drop(page, ".start .chosen", "no.png", b"milk")
    expect(page.locator(".start .problem")).to_contain_text("no.png 不是可读取的图片")
    expect(page.locator(".start .chosen")).to_be_visible()


def test_a_picture_or_stage_that_is_gone_is_named_at_its_place(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.locator(".drop input").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": a_photo("lime")})
    page.locator(".drop .start-from").click()
    expect_shown(page)
    page.locator(".start .at select").select_option("2")
    apply_preset(page, "model:single_stage")
    expect(page.locator(".start .at option:checked")).to_have_text("2（不存在）")
    expect(page.locator("#notes-start")).to_contain_text("起始图片：2：没有这个阶段；可用 1 到 1")
    page.locator(".start .at select").select_option("1")
    expect(page.locator("#notes-start")).to_contain_text("起始图片没有作用")
    digest = page.locator(".start img").get_attribute("src") or ""
    (scripted._config.outputs / FOLDER / digest.removeprefix("inputs/").removesuffix(".jpg")).unlink()
    ask(page, "图片不见了")
    expect(page.locator(".notice")).to_contain_text("已不在本机")
    expect(page.locator(".studio-wrong")).to_have_attribute("id", "knob-start")
