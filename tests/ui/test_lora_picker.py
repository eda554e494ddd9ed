"""The LoRA list and its picker: over HTTP, and in Chromium."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.service.lora_files import WIDTH, lora_shapes, write_json, write_lora
from tests.ui.conftest import Visit, arrive, ask, choose_model, expect_state
from tests.ui.doubles import QuickPageStudio
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.service.library.loras.sidecar import Notes
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio
from zimage_app.ui.fields.values import stages_values
from zimage_app.ui.loras.lora_picker import lora_routes, save_note
from zimage_app.ui.prompt.hints import hints
from zimage_app.ui.prompt.prompt_tools import prompt
from zimage_app.ui.server.script_functions import script_function

MARKUP = "<img src=x onerror=alert(1)>"
FLUX = {"lora_unet_double_blocks_0_img_mlp_0.lora_down.weight": (4, 8)}


def fill_folder(folder: Path) -> None:
    """LoRAs of every sort."""
    write_lora(folder / "风格" / "水墨 ink.safetensors", {"modelspec.trigger_phrase": "水墨, ink wash"})
    snow = write_lora(folder / "snow.safetensors")
    write_json(snow.with_suffix(".json"), {"activation text": "雪景", "preferred weight": 0.7, "notes": MARKUP})
    Image.new("RGB", (80, 100), "navy").save(snow.with_suffix(".png"))
    write_lora(folder / "flux.safetensors", {"ss_base_model_version": "flux1"}, FLUX)
    write_lora(folder / "large.safetensors", shapes=lora_shapes(3840))
    (folder / "broken.safetensors").write_bytes(b"\xff" * 64)


@pytest.fixture
def loras(scripted: QuickPageStudio) -> Iterator[Path]:
    """The scripted studio's LoRAs."""
    folder = scripted.loras.folder
    fill_folder(folder)
    scripted.loras.entries(refresh=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # a hash may just be written beside a file
    scripted.loras.entries(refresh=True)


# Over HTTP.


@pytest.fixture
def studio(tmp_path: Path) -> QuickPageStudio:
    fill_folder(tmp_path / "loras")
    return QuickPageStudio(tmp_path, step_seconds=0.0)


@pytest.fixture
def client(studio: QuickPageStudio) -> TestClient:
    return TestClient(Starlette(routes=lora_routes(studio, "auto")))


def test_the_library_is_told_in_the_readers_language(client: TestClient) -> None:
    for header, word in (("zh-CN", "而当前模型为"), ("en", f"the chosen one has {WIDTH}")):
        entries = {
            entry["name"]: entry for entry in client.get("/loras.json", headers={"accept-language": header}).json()
        }
        assert list(entries) == ["broken", "flux", "large", "snow", "风格/水墨 ink"]
        assert word in entries["large"]["warnings"][0]
    assert entries["broken"]["problem"].startswith("is not a whole safetensors file")
    assert "not a LoRA for Z-Image" in entries["flux"]["warnings"][0]
    ink = entries["风格/水墨 ink"]
    assert (ink["triggers"], ink["preset"], ink["kind"], ink["rank"]) == (["水墨", "ink wash"],) * 2 + ("LoRA", "4")
    assert (entries["snow"]["strength"], entries["snow"]["note"], ink["sha256"]) == (0.7, MARKUP, None)


def test_a_new_file_is_told_after_a_refresh(client: TestClient, studio: QuickPageStudio) -> None:
    assert len(client.get("/loras.json").json()) == 5
    write_lora(studio.loras.folder / "new.safetensors")
    assert len(client.get("/loras.json").json()) == 5
    assert len(client.get("/loras.json?refresh").json()) == 6
    assert client.get("/loras.json?model=gone").status_code == 404


def test_thumbnails_are_small_jpegs_and_only_of_loras(client: TestClient, studio: QuickPageStudio) -> None:
    answer = client.get("/lora.jpg", params={"name": "snow"})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (80, 100)
    Image.new("RGB", (9, 9)).save(studio.loras.folder.parent / "secret.png")
    for name in ("", "flux", "gone", "../secret", "../secret.png", str(studio.loras.folder.parent / "secret")):
        assert client.get("/lora.jpg", params={"name": name}).status_code == 404


def test_a_hash_is_told_when_it_is_asked_for(client: TestClient, studio: QuickPageStudio) -> None:
    digest = hashlib.sha256((studio.loras.folder / "snow.safetensors").read_bytes()).hexdigest()
    assert client.get("/lora.sha256", params={"name": "snow"}).text == digest
    assert {entry["name"]: entry["sha256"] for entry in client.get("/loras.json").json()}["snow"] == digest
    for name in ("", "gone", "broken", "../snow"):
        assert client.get("/lora.sha256", params={"name": name}).status_code == 404


def test_notes_are_kept_or_refused_in_the_pages_language(studio: QuickPageStudio) -> None:
    save = script_function(studio, save_note)
    call = {"name": "snow", "language": "zh", "model": "quick"}
    assert save(call | {"notes": {"triggers": ["雪"], "strength": 0.5}})["entry"]["preset"] == ("雪",)
    assert studio.loras.find("snow").notes == Notes(triggers=("雪",), strength=0.5)
    assert "不能大于 2" in save(call | {"notes": {"strength": 3}})["error"]
    assert "没有这个 LoRA" in save(call | {"name": "gone", "notes": {}})["error"]
    assert "error" in save({})


def test_strangers_change_no_notes(tmp_path: Path, models_dir: Path) -> None:
    write_lora(tmp_path / "ink.safetensors")
    studio = Studio(StudioConfig(models=models_dir, loras=tmp_path, model="tiny", shared=True))
    answer = script_function(studio, save_note)(
        {"name": "ink", "notes": {"note": "x"}, "language": "en", "model": "tiny"}
    )
    assert answer == {"error": "On a shared page, notes can't be changed."}
    assert not (tmp_path / "ink.yaml").exists()
    assert studio.width("tiny") == 64


def test_what_the_model_reads_is_told_where_it_is_not_the_prompt(studio: QuickPageStudio) -> None:
    hint, read = script_function(studio, hints), script_function(studio, prompt)

    def told(prompt: str, **values: object) -> object:
        settings = {"prompt": prompt, "negative": "", "triggers": "", "loras": [], "seed": "", "model": "quick"}
        page = {"settings": settings | stages_values(studio.card("quick").stages) | values, "language": "en"}
        answer = read({"do": "preview"} | page)
        reads = None if answer.get("same", True) else {name: answer[name] for name in ("text", "loras")}
        return {"notes": hint(page)["notes"], "reads": reads}

    ink = {"name": "风格/水墨 ink", "triggers": ["水墨"]}
    assert told("a boat") == {"notes": {}, "reads": None}
    assert told("a boat", loras=[ink]) == {"notes": {}, "reads": {"text": "水墨, a boat", "loras": []}}
    assert told("水墨 boat", loras=[ink]) == {"notes": {}, "reads": None}
    assert told("雪景 <lora:snow:0.5>") == {"notes": {}, "reads": {"text": "雪景", "loras": ["snow 0.5"]}}
    assert told("a <lora:snow:0.5>") == {
        "notes": {"loras": ["LoRA snow: none of its trigger words is in the prompt: 雪景"]},
        "reads": {"text": "a", "loras": ["snow 0.5"]},
    }
    answer = told("a <lora:large:0.5:stages=2>")
    assert answer == {
        "notes": {"loras": [f"LoRA large: made for a model of width 3840; the chosen one has {WIDTH}"]},
        "reads": {"text": "a", "loras": ["large 0.5 @2"]},
    }
    assert told("a <lora:snow:0.5") == {"notes": {}, "reads": None}
    assert told("", loras=[ink]) == {"notes": {}, "reads": None}
    answer = told("a <lora:snou>")
    assert isinstance(answer, dict)
    assert "did you mean snow" in answer["notes"]["loras"][0]


# In Chromium.


def choose(page: Page, *names: str) -> None:
    """Pick LoRAs in the dialog and close it."""
    page.locator(".loras .add").click()
    for name in names:
        page.locator(f".studio-loras .card[data-name='{name}']").click()
    page.locator(".studio-loras .done").click()
    expect(page.locator(".studio-loras")).to_have_count(0)


def use(page: Page, name: str) -> Locator:
    """The row of a LoRA."""
    return page.locator(f".loras .use[data-name='{name}']")


def run(page: Page, scripted: QuickPageStudio, prompt: str = "小船") -> tuple[LoraUse, ...]:
    """Make a picture; gives the LoRAs that it was made with."""
    before = len(scripted.today(limit=999))
    ask(page, prompt)
    page.wait_for_function("document.querySelector('.canvas').dataset.state !== 'running'")
    expect_state(page, "done")
    for _ in range(100):
        if len(scripted.today(limit=999)) > before:
            break
        page.wait_for_timeout(50)
    return scripted.today()[0].record.request.loras


@pytest.mark.usefixtures("loras")
def test_a_lora_is_searched_for_chosen_set_and_used(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    page.locator(".loras .add").click()
    search = page.locator(".studio-loras input[type=search]")
    expect(search).to_be_focused()
    expect(page.locator(".studio-loras .card")).to_have_count(5)
    expect(page.locator(".studio-loras .card .words").first).to_have_css("border-top-width", "0px")
    for text, found in (
        ("水", 1),
        ("INK 水墨", 1),
        ("雪景", 1),
        ("flux1", 1),
        ("ｓｎｏｗ", 1),
        ("lora", 4),
        ("zzz", 0),
    ):
        search.fill(text)
        expect(page.locator(".studio-loras .card")).to_have_count(found)
    expect(page.locator(".studio-loras .empty")).to_have_text("没有匹配的结果。")
    search.fill("水墨")
    search.press("Enter")
    expect(page.locator(".studio-loras .card")).to_have_attribute("aria-pressed", "true")
    page.locator(".studio-loras .done").click()
    row = use(page, "风格/水墨 ink")
    expect(row).to_contain_text("水墨 ink")
    expect(page.locator(".reading")).not_to_be_visible()
    page.locator("#knob-prompt textarea").fill("小船")
    # Of its words in two languages it brings those of the prompt's, or of the page's.
    expect(page.locator(".reading .text")).to_have_text("水墨, 小船")
    row.locator(".words button", has_text="ink wash").click()
    expect(page.locator(".reading .text")).to_have_text("水墨, ink wash, 小船")
    row.locator(".remove").click()
    page.locator("#knob-prompt textarea").fill("a boat")
    choose(page, "风格/水墨 ink")
    expect(page.locator(".reading .text")).to_have_text("ink wash, a boat")
    row.locator(".words button", has_text="水墨").click()
    row.locator(".words button", has_text="ink wash").click()
    expect(page.locator(".reading .text")).to_have_text("水墨, a boat")
    row.locator("input[type=number]").fill("0.55")
    row.locator(".where button", has_text="2").click()
    assert run(page, scripted) == (LoraUse(name="风格/水墨 ink", strength=0.55, stages=(1,), triggers=("水墨",)),)
    expect(page.locator(".facts")).to_contain_text("风格/水墨 ink 0.55 @1")


@pytest.mark.usefixtures("loras")
def test_the_list_survives_a_reload_in_its_order(visit: Visit, scripted: QuickPageStudio) -> None:
    page = visit()
    choose(page, "snow", "风格/水墨 ink", "large")
    use(page, "large").locator(".up").click()
    expect(page.locator(".use")).to_have_count(3)
    assert page.locator(".use").evaluate_all("rows => rows.map((row) => row.dataset.name)") == [
        "snow",
        "large",
        "风格/水墨 ink",
    ]
    use(page, "snow").locator(".remove").click()
    expect(page.locator(".use")).to_have_count(2)
    slider = use(page, "large").locator("input[type=range]")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowLeft")
    expect(use(page, "large").locator("input[type=number]")).to_have_value("0.8")
    page.wait_for_timeout(300)
    arrive(page)
    expect(page.locator(".use")).to_have_count(2)
    uses = run(page, scripted)
    assert [(each.name, each.strength) for each in uses] == [("large", 0.8), ("风格/水墨 ink", 1.0)]


@pytest.mark.usefixtures("loras")
def test_what_is_wrong_with_a_lora_stands_at_its_row_and_stages_that_are_off_have_no_switch(visit: Visit) -> None:
    page = visit()
    page.locator(".loras .add").click()
    broken = page.locator(".studio-loras .card[data-name='broken']")
    expect(broken).to_be_disabled()
    expect(broken).to_contain_text("不是完整的 safetensors 文件")
    page.keyboard.press("Escape")
    choose(page, "flux", "large")
    expect(use(page, "flux").locator(".remark")).to_contain_text("不是 Z-Image 的 LoRA")
    expect(use(page, "large").locator(".remark")).to_contain_text(f"3840 的模型，而当前模型为 {WIDTH}")
    expect(use(page, "large").locator(".where button")).to_have_count(2)  # this model recommends two stages
    page.locator("#knob-stages-0-enabled input").click()
    expect(use(page, "large").locator(".where")).to_be_hidden()


def test_files_that_come_and_go_are_seen_when_the_picker_opens_even_hundreds(visit: Visit, loras: Path) -> None:
    page = visit()
    choose(page, "snow")
    write_lora(loras / "brand new.safetensors")
    (loras / "snow.safetensors").unlink()
    page.locator(".loras .add").click()
    expect(page.locator(".studio-loras .card[data-name='brand new']")).to_be_visible()
    expect(use(page, "snow").locator(".remark")).to_contain_text("已没有这个文件")
    (loras / "brand new.safetensors").rename(loras / "renamed.safetensors")
    page.locator(".studio-loras .refresh").click()
    expect(page.locator(".studio-loras .card[data-name='renamed']")).to_be_visible()
    expect(page.locator(".studio-loras .card[data-name='brand new']")).to_have_count(0)
    page.keyboard.press("Escape")
    ask(page, "小船")
    expect(page.locator(".notice")).to_contain_text("没有这个 LoRA")
    # Hundreds are drawn as they are scrolled to.
    for number in range(300):
        write_lora(loras / "many" / f"style {number:03}.safetensors")
    page.locator(".loras .add").click()
    page.locator(".studio-loras .refresh").click()
    expect(page.locator(".studio-loras .count")).to_have_text("305 / 305 个")
    cards = page.locator(".studio-loras .card")
    assert cards.count() < 305
    page.locator(".studio-loras input[type=search]").fill("style 299")
    expect(cards).to_have_count(1)
    page.locator(".studio-loras input[type=search]").fill("")
    body = page.locator(".studio-loras .body")
    for _ in range(20):
        body.evaluate("node => (node.scrollTop = node.scrollHeight)")
        page.wait_for_timeout(60)
        if cards.count() == 305:
            break
    expect(cards).to_have_count(305)


@pytest.mark.usefixtures("loras")
def test_a_late_list_for_another_model_does_not_count(visit: Visit) -> None:
    page = visit()
    choose(page, "snow")
    held: list[Route] = []
    page.route("**/loras.json?model=three", lambda route: held.append(route))
    with page.expect_request("**/loras.json?model=three"):
        choose_model(page, "三个阶段")
    with page.expect_response("**/loras.json?model=quick"):
        choose_model(page, "快速渐变")
    with page.expect_response("**/loras.json?model=three"):
        held[0].fulfill(json=[])
    page.evaluate("fetch('health').then(() => true)")  # by its answer, the script has read the one before
    expect(use(page, "snow").locator(".remark")).to_have_count(0)


@pytest.mark.usefixtures("loras")
def test_the_keyboard_reaches_everything_and_pressed_switches_look_alike_in_the_dark(
    visit: Visit, scripted: QuickPageStudio
) -> None:
    page = visit()
    page.locator(".loras .add").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".studio-loras input[type=search]")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".studio-loras .card:not(:disabled)").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(page.locator(".loras .add")).to_be_focused()
    row = use(page, "snow")
    row.locator(".where button", has_text="1").focus()
    page.keyboard.press("Enter")
    expect(row.locator(".where button", has_text="1")).to_have_attribute("aria-pressed", "false")
    expect(row.locator(".where button", has_text="1")).to_be_focused()
    names = page.locator(".loras button, .loras input").evaluate_all(
        "nodes => nodes.filter((node) => !(node.getAttribute('aria-label') || node.textContent)).length"
    )
    assert names == 0
    page.locator(".bar .theme").click()
    pressed = [row.locator(f".{kind} button[aria-pressed=true]").first for kind in ("where", "words")]
    for style in ("color", "border-color"):
        value = pressed[0].evaluate(f"node => getComputedStyle(node).getPropertyValue('{style}')")
        expect(pressed[1]).to_have_css(style, value)
    assert run(page, scripted)[0].stages == (2,)


def test_notes_are_kept_beside_the_file(visit: Visit, loras: Path) -> None:
    page = visit(locale="en-US")
    choose(page, "snow")
    row = use(page, "snow")
    row.locator(".details").click()
    expect(row.locator(".about")).to_contain_text("snow.safetensors")
    expect(row.locator(".about")).to_contain_text(
        hashlib.sha256((loras / "snow.safetensors").read_bytes()).hexdigest()[:10]
    )
    words, strength, note = (row.locator(".about input").nth(place) for place in range(3))
    expect(words).to_have_attribute("placeholder", "雪景")
    expect(note).to_have_attribute("placeholder", MARKUP)
    strength.fill("9")
    row.locator(".save").click()
    expect(row.locator(".answer")).to_contain_text("at most 2")
    page.route("**/component_server/", lambda route: route.abort(), times=1)
    row.locator(".save").click()
    expect(row.locator(".answer")).to_have_text("The app does not answer; is it still running?")
    strength.fill("0.4")
    words.fill("snow, 雪")
    row.locator(".save").click()
    expect(row.locator(".answer")).to_have_text("Saved beside the file")
    assert (loras / "snow.yaml").read_text("utf-8") == "triggers:\n- snow\n- 雪\nstrength: 0.4\n"
    expect(row.locator(".words").get_by_role("button", name="雪", exact=True)).to_be_visible()
    row.locator(".details").click()
    row.locator(".details").click()
    expect(words).to_have_value("snow, 雪")
    words.fill("")
    strength.fill("")
    row.locator(".save").click()
    expect(row.locator(".answer")).to_have_text("Saved beside the file")
    assert not (loras / "snow.yaml").exists()


def _record_another_file(studio: QuickPageStudio) -> None:
    """Let the newest picture's record say that its first LoRA was another file."""
    (mine,) = studio.today(limit=1)
    request = mine.record.request
    first, *others = request.loras
    loras = (first.model_copy(update={"sha256": "0" * 64}), *others)
    changed = mine.record.model_copy(update={"request": request.model_copy(update={"loras": loras})})
    with Image.open(mine.path) as image:
        studio.gallery.write(studio.gallery.encoded(np.asarray(image), changed), changed)


def test_a_pictures_loras_come_back_and_another_file_is_told(
    visit: Visit, scripted: QuickPageStudio, loras: Path
) -> None:
    page = visit(locale="en-US")
    digest = hashlib.sha256((loras / "snow.safetensors").read_bytes()).hexdigest()
    choose(page, "snow")
    run(page, scripted, "a boat <lora:风格/水墨 ink:0.3>")
    _record_another_file(scripted)
    use(page, "snow").locator(".remove").click()
    page.locator(".canvas .acts .reuse").click()
    expect(page.locator(".use")).to_have_count(2)
    expect(page.locator("#knob-prompt textarea")).to_have_value("a boat")
    expect(use(page, "风格/水墨 ink").locator("input[type=number]")).to_have_value("0.3")
    expect(page.locator(".notice")).to_contain_text(
        f"LoRA snow is another file than the one in these settings ({digest[:10]} instead of 0000000000)"
    )
    arrive(page)
    expect(use(page, "snow").locator(".remark")).to_contain_text("another file")


@pytest.mark.usefixtures("loras")
def test_a_phone_shows_list_and_picker_without_scrolling_sideways(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="en-US")
    choose(page, "风格/水墨 ink", "large")
    use(page, "large").locator(".details").click()
    for locator in (".loras .use", ".loras .about", ".reading"):
        for box in page.locator(locator).evaluate_all(
            "nodes => nodes.map((node) => node.getBoundingClientRect().right)"
        ):
            assert box <= 390
    page.locator(".loras .add").click()
    wide = page.locator(".studio-loras").evaluate("node => [node.scrollWidth, node.clientWidth, innerWidth]")
    assert wide[0] <= wide[1] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
