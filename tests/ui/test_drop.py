"""Settings from files that are dropped on the page or chosen: over HTTP, and in Chromium."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.generation.test_start_pictures import bomb
from tests.service.imports.test_imports import DATA, graph, picture
from tests.service.imports.test_kinds import graph_of
from tests.ui.conftest import Visit
from tests.ui.doubles import THREE, QuickPageStudio
from zimage_app.domain.settings.stage import REFERENCE_STAGES
from zimage_app.service.imports import MAX_BYTES
from zimage_app.ui.drop.drop import import_routes, imported_values
from zimage_app.ui.fields.values import stages_values

MARKUP = "<img src=x onerror=alert(1)>"
BIG_SEED = 2**64 - 3


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(Starlette(routes=import_routes(QuickPageStudio(tmp_path), "auto")))


def test_a_workflow_is_answered_with_its_settings_and_lists(client: TestClient) -> None:
    answer = client.post("/import", params={"name": "a.json"}, content=(DATA / "reference_api.json").read_bytes())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    data = answer.json()
    assert (data["source"], data["model"]) == ("ComfyUI", "")
    assert any("not on this machine" in line for line in data["left"])
    values = imported_values(data["settings"], THREE)
    assert values["prompt"].startswith("水墨, ink wash")
    assert values["seed"] == "905124181980574"
    expected = stages_values(REFERENCE_STAGES)["stages"]
    pairs = list(enumerate(zip(expected, values["stages"], strict=True)))
    differs = {(number, name) for number, (stage, found) in pairs for name in stage if stage[name] != found[name]}
    assert differs == {(1, "seed"), (2, "seed")}


def test_the_lists_are_in_the_visitor_s_language(client: TestClient) -> None:
    answer = client.post("/import", content=json.dumps(graph()), headers={"accept-language": "zh-CN"})
    assert any("调度器" in line for line in answer.json()["translated"])


@pytest.mark.parametrize(
    ("content", "words"), [(b"milk", "list.txt holds no settings"), (b" " * (MAX_BYTES + 2), "bigger than 64 MB")]
)
def test_a_wrong_file_is_one_sentence(client: TestClient, content: bytes, words: str) -> None:
    answer = client.post("/import", params={"name": "list.txt"}, content=content)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "words", "kind"),
    [
        (picture({}), "holds no settings", "plain"),
        (picture({})[:60], "is not a picture that can be read", "error"),
        (bomb(9_000, 9_000), "has more than 50 million pixels; make it smaller", "error"),
        (b"", "is empty", "error"),
        (b"milk", "holds no settings", "error"),
    ],
    ids=["whole", "cut off", "too large", "empty", "text"],
)
def test_a_file_without_settings_may_be_started_from_only_if_it_is_a_whole_picture(
    client: TestClient, content: bytes, words: str, kind: str
) -> None:
    answer = client.post("/import", params={"name": "photo.png"}, content=content)
    assert list(answer.json()) == [kind]
    assert words in answer.json()[kind]
    assert answer.status_code == (200 if kind == "plain" else 422)


def test_what_a_file_does_not_say_is_as_the_model_recommends_and_the_prompt_stays() -> None:
    values = imported_values('{"seed": 5}', THREE)
    assert "prompt" not in values
    assert values["seed"] == "5"
    assert values["stages"][1]["denoise"] == 0.7


# In Chromium.

DROP = """([name, text, ...others]) => {
  const files = new DataTransfer();
  for (const [other, data] of others) files.items.add(new File([Uint8Array.from(data)], other));
  files.items.add(new File([text], name));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true });
    document.querySelector("#canvas").dispatchEvent(event);
    if (kind === "dragover") window.overlaid = !document.querySelector(".drop-overlay").hidden;
  }
}"""


def value_of(page: Page, name: str) -> str:
    return page.locator(f"#knob-{name}").locator("input, textarea").first.input_value()


def test_a_workflow_that_is_dropped_fills_the_page(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit()
    data = graph()
    data["316"]["inputs"]["noise_seed"] = BIG_SEED
    data["276"]["inputs"]["sampler_name"] = MARKUP
    data["340"]["inputs"]["value"] = f"小船 {MARKUP}"
    page.evaluate(DROP, ["流程.json", json.dumps(data)])
    assert page.evaluate("window.overlaid") is True
    expect(page.locator(".drop-overlay")).to_be_hidden()
    found = page.locator(".drop .found")
    expect(found).to_be_visible()
    expect(found.locator("h2")).to_have_text("流程.json：ComfyUI 的参数")
    expect(found).to_have_accessible_name("流程.json：ComfyUI 的参数")
    expect(found.locator(".left")).to_contain_text(f"这里没有 {MARKUP}")
    expect(page.locator("#notice")).to_contain_text("已填入文件中的参数")
    assert value_of(page, "prompt") == f"水墨, ink wash, 小船 {MARKUP}"
    assert value_of(page, "seed") == str(BIG_SEED)  # whole, though a browser's numbers would round it
    page.keyboard.press("Escape")
    expect(found).to_be_hidden()
    expect(page.locator(".drop .choose")).to_be_focused()
    photo = ["photo.png", list(picture({}))]
    unread = "共 2 个文件，其中 1 个未读取"
    page.evaluate(DROP, ["list.txt", "milk", photo])
    expect(found.locator("h2")).to_have_text("以此图生图？")
    expect(found.locator(".note")).to_contain_text(unread)
    page.evaluate(DROP, ["list.txt", "milk", ["broken.png", photo[1][:60]]])
    expect(page.locator(".drop .problem")).to_contain_text("broken.png 不是可读取的图片")
    expect(page.locator(".drop .problem")).to_contain_text(unread)
    expect(found).to_be_hidden()
    page.evaluate(DROP, ["流程.JSON", json.dumps(data), photo])
    expect(found.locator("h2")).to_have_text("流程.JSON：ComfyUI 的参数")
    expect(found.locator(".note")).to_contain_text(unread)


def test_the_button_takes_a_picture_and_a_wrong_file_is_told_in_one_sentence(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    del scripted
    page = visit(locale="en-US", viewport={"width": 390, "height": 800})
    page.locator("#knob-prompt textarea").fill("kept")
    with page.expect_file_chooser() as chooser:
        page.locator(".drop .choose").press("Enter")
    chooser.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": picture({})})
    expect(page.locator(".drop h2")).to_have_text("Start from this picture?")
    expect(page.locator(".drop .note")).to_contain_text("photo.png holds no settings")
    expect(page.locator(".drop .problem")).to_be_empty()
    page.locator(".drop input").set_input_files({"name": "x.json", "mimeType": "application/json", "buffer": b"milk"})
    expect(page.locator(".drop .problem")).to_contain_text("x.json")
    expect(page.locator(".drop .found")).to_be_hidden()
    assert value_of(page, "prompt") == "kept"
    text = "a boat\nSteps: 5, Sampler: Euler a, CFG scale: 1, Seed: 3, Size: 512x512, Clip skip: 2"
    png = picture({"parameters": text})
    page.locator(".drop input").set_input_files({"name": "boat.png", "mimeType": "image/png", "buffer": png})
    expect(page.locator(".drop h2")).to_have_text("boat.png: settings of A1111/Forge")
    expect(page.locator(".drop .problem")).to_be_empty()
    expect(page.locator(".drop .left li")).to_have_text(
        [
            "Clip skip: 2 has no equivalent in this app",
            "Stage 1, Scheduler: the file doesn't say it; simple is filled in",
            "Model: none was found in the file",
        ]
    )
    expect(page.locator(".drop .translated li")).to_have_text(["Stage 1, Sampler: Euler a → euler_ancestral"])
    expect(page.locator("#knob-prompt textarea")).to_have_value("a boat")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".drop .close").click()
    expect(page.locator(".drop .found")).to_be_hidden()


def test_files_that_a_workflow_names_are_taken_where_they_are_dropped_with_it(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    page = visit(locale="en-US")
    page.evaluate("document.addEventListener('studio:settings', (event) => (window.now = event.detail))")
    nodes = graph_of(
        {
            "10": ["LoadImage", {"image": "clipspace/beach.png [input]"}],
            "14": ["LoadImageMask", {"image": "sky.png", "channel": "red"}],
            "12": ["VAEEncodeForInpaint", {"pixels": ["10", 0], "mask": ["14", 0], "grow_mask_by": 8}],
            "13": ["DifferentialDiffusion", {"model": ["1", 0], "strength": 0.5}],
            "6": {"latent_image": ["12", 0], "model": ["13", 0]},
        }
    )
    beach, sky = picture({}, (48, 32)), picture({}, (48, 30))
    page.evaluate(DROP, ["flow.json", json.dumps(nodes), ["sky.png", list(sky)], ["beach.png", list(beach)]])
    expect(page.locator(".drop .note")).to_have_text("It begins with clipspace/beach.png: choose it as start picture.")
    expect(page.locator("#knob-prompt textarea")).to_have_value("two herons")
    page.locator(".drop .start-from").click()
    page.wait_for_function("window.now?.start?.picture")
    start = page.evaluate("window.now.start")
    assert (start["stage"], start["feather"], start["differential"], start["paste"]) == (1, 4, 0.5, False)
    assert start["picture"] == hashlib.sha256(beach).hexdigest()
    assert start["mask"] == hashlib.sha256(sky).hexdigest()
    expect(page.locator(".start .kept")).to_have_text("A part is redrawn")
    page.locator(".start .remove").click()
    page.locator(".drop input").set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": beach})
    page.locator(".drop .start-from").click()
    page.wait_for_function("window.now.start?.picture")
    assert not page.evaluate("window.now.start.mask")  # what the workflow says was for one picture
    assert scripted.inputs.original(hashlib.sha256(sky).hexdigest())


def test_one_press_puts_every_field_back_as_it_was(visit: Visit, scripted: QuickPageStudio) -> None:
    del scripted
    page = visit(locale="en-US")
    page.evaluate("document.addEventListener('studio:settings', (event) => (window.now = event.detail))")
    page.locator("#knob-prompt textarea").fill("mine, {red|blue}")
    page.locator("#knob-seed").locator("input, textarea").first.fill("77")
    page.wait_for_function("window.now?.seed === '77' && window.now.prompt.startsWith('mine')")
    before = page.evaluate("window.now")
    data = graph()
    data["316"]["inputs"]["noise_seed"] = BIG_SEED
    page.evaluate(DROP, ["flow.json", json.dumps(data)])
    expect(page.locator("#knob-prompt textarea")).to_have_value("水墨, ink wash, 一艘红色小船停在湖面上，夕阳，雪山")
    page.wait_for_function("window.now.loras.length === 1")
    expect(page.locator(".drop .take-settings")).to_be_hidden()
    page.locator(".drop .undo").click()
    expect(page.locator("#knob-prompt textarea")).to_have_value("mine, {red|blue}")
    expect(page.locator("#notice")).to_contain_text("It is as it was before.")
    page.wait_for_function("(before) => JSON.stringify(window.now) === JSON.stringify(before)", arg=before)
    expect(page.locator(".drop .undo")).to_be_hidden()
    page.locator(".drop .take-settings").click()
    page.wait_for_function("(seed) => window.now.seed === seed", arg=str(BIG_SEED))
