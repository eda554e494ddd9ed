"""Handlers without a browser: what is put in, refused, kept from strangers, and logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.components import Component
from starlette.requests import Request

from tests.loops import run_async
from tests.service.lora_files import write_lora
from tests.ui.doubles import QUICK, THREE, QuickPageStudio, finish
from tests.ui.page_values import value_at
from zimage_app.domain.card import ModelCard
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.jobs.view import QueueView
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.ui.fields.values import COUNT, REQUEST_FIELDS, knob_path, stage_values, stages_values
from zimage_app.ui.page.handlers import NO_NOTICE, Handlers, PageComponents, Updates
from zimage_app.ui.words.i18n import translations
from zimage_app.web.owner import OWNER_COOKIE

OWNER = "0" * 32


class _Broken(QuickPageStudio):
    def today(self, owner: str = "", limit: int = 24) -> tuple[SavedPicture, ...]:
        del owner, limit
        raise RuntimeError("secret path /home/somebody")

    def current(self, owner: str) -> str | None:
        self.today(owner)
        return None


class _Leaving(QuickPageStudio):
    usable: tuple[ModelCard, ...] = (QUICK, THREE)

    def cards(self) -> tuple[ModelCard, ...]:
        return self.usable


class _Page:
    """Handlers with plain components to write to, and what they wrote."""

    def __init__(self, studio: QuickPageStudio) -> None:
        with gr.Blocks():
            fields: dict[str, Component] = {name: gr.Textbox() for name in ("model", *REQUEST_FIELDS, COUNT)}
            rest = {
                name: gr.State()
                for name in ("size", "canvas", "notice", "examples", "stop", "submitted_job", "repeated")
            }
        self.components = PageComponents(fields=fields, **rest)
        self.handlers = Handlers(studio, self.components, translations(studio.cards()), "auto")

    def value(self, updates: Updates, name: str) -> Any:
        values = {
            field: updates[component]["value"]
            for field, component in self.components.fields.items()
            if component in updates
        }
        return value_at(values, name)

    def notice(self, updates: Updates) -> str:
        return str(updates[self.components.notice]["text"])


def _visitor(owner: str = OWNER) -> gr.Request:
    headers = [(b"accept-language", b"en"), (b"cookie", f"{OWNER_COOKIE}={owner}".encode())]
    return gr.Request(request=Request({"type": "http", "headers": headers}))


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[QuickPageStudio]:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0)) as studio:
        yield studio


@pytest.fixture
def page(studio: QuickPageStudio) -> _Page:
    return _Page(studio)


def _event(**data: object) -> gr.EventData:
    return gr.EventData(None, data)


def test_remembered_settings_are_put_in(page: _Page) -> None:
    saved = {"model": "three", "prompt": "小船", "stages": [{"steps": 5}], "unknown": 1}
    updates = page.handlers.restore(_visitor(), saved)
    assert (page.value(updates, "model"), page.value(updates, "prompt")) == ("three", "小船")
    assert page.value(updates, "stages") == [stage_values(Stage(steps=5))]
    assert page.notice(updates) == ""


def test_remembered_half_typed_values_stay_and_take_nothing_with_them(page: _Page) -> None:
    stages: list[dict[str, Any]] = [{"steps": None, "width": 1000}, {"seed": "12a", "sampler": "gone"}]
    loras = [{"name": "ink", "strength": 0.5}]
    updates = page.handlers.restore(_visitor(), {"model": "quick", "stages": stages, "loras": loras})
    assert page.value(updates, "stages") == [stage_values(Stage()) | stage for stage in stages]
    assert page.value(updates, "loras") == loras
    assert page.notice(updates) == ""
    refused = page.handlers.generate(_visitor(), 0, *_inputs(page, prompt="x", stages=page.value(updates, "stages")))
    assert refused[page.components.notice]["field"] == "knob-stages-0-width"


def test_a_remembered_model_that_is_gone_is_named(page: _Page) -> None:
    updates = page.handlers.restore(_visitor(), {"model": "lost"})
    assert page.value(updates, "model") == "quick"
    assert page.notice(updates) == "The model lost is not available here; quick is selected."


@pytest.mark.parametrize("saved", [None, "text", 7])
def test_nothing_remembered_changes_nothing(page: _Page, saved: object) -> None:
    assert set(page.handlers.restore(_visitor(), saved)) == {page.components.notice}


def _saved(studio: QuickPageStudio, request: GenerationRequest) -> str:
    picture = finish(studio, studio.submit(request, "quick")).picture
    assert picture is not None
    return picture.record.id


def test_the_loras_of_a_picture_are_put_in(page: _Page, studio: QuickPageStudio) -> None:
    write_lora(studio.loras.folder / "ink.safetensors")
    uses = (LoraUse(name="ink", strength=0.5, stages=(1,)), LoraUse(name="ink", strength=0.0))
    request = GenerationRequest(prompt="x", stages=(Stage(width=64, height=64),), loras=uses)
    updates = page.handlers.reuse(_visitor(), _event(id=_saved(studio, request)), *_inputs(page))
    assert page.value(updates, "stages.0.width") == 64
    assert page.value(updates, "loras") == [
        {"name": "ink", "strength": 0.5, "stages": [1]},
        {"name": "ink", "strength": 0.0},
    ]
    assert page.notice(updates) == "The picture's settings were put in."
    (studio.loras.folder / "ink.safetensors").unlink()
    studio.loras.entries(refresh=True)
    updates = page.handlers.reuse(_visitor(), _event(id=studio.today()[0].record.id), *_inputs(page))
    assert page.notice(updates).startswith("The picture's settings were put in. ink: there is no such LoRA")


def test_the_settings_of_a_picture_whose_model_is_gone_are_put_in(tmp_path: Path) -> None:
    with closing(_Leaving(tmp_path, step_seconds=0.0)) as studio:
        page, picture = _Page(studio), _saved(studio, GenerationRequest(prompt="x", seed=5))
        studio.usable = (THREE,)
        updates = page.handlers.reuse(_visitor(), _event(id=picture), *_inputs(page, model="three"))
    assert (page.value(updates, "model"), page.value(updates, "seed")) == ("three", "5")
    assert page.notice(updates) == (
        "The picture's settings were put in. The model quick is not available here; three is selected."
    )


def test_a_second_press_keeps_the_first_ones_undo(page: _Page, studio: QuickPageStudio) -> None:
    picture = _saved(studio, GenerationRequest(prompt="x", seed=5, stages=(Stage(width=64, height=64, seed=7),)))
    presses: list[tuple[Callable[..., Updates], dict[str, object]]] = [
        (lambda *given: page.handlers.reuse(_visitor(), _event(id=picture), *given), {"prompt": "y"}),
        (lambda *given: page.handlers.reset(_visitor(), *given), {"negative": "y"}),
        (lambda *given: page.handlers.release_seeds(_visitor(), *given), stages_values((Stage(seed=7),))),
        (lambda *given: page.handlers.apply_preset(_visitor(), _event(name="model:single_stage"), *given), {}),
    ]
    for press, own in presses:
        before = _inputs(page, **own)
        updates = press(*before)
        undo = updates[page.components.notice]["undo"]
        assert undo == {name: value for name, value in zip(page.components.fields, before, strict=True) if name in undo}
        after = [
            updates.get(field, {}).get("value", value)
            for field, value in zip(page.components.fields.values(), before, strict=True)
        ]
        assert after != before
        assert press(*after)[page.components.notice] == gr.skip()


def test_nag_is_switched_on_once(page: _Page) -> None:
    off = _inputs(page, negative="x", **stages_values((Stage(cfg=1.0),)))
    on = page.handlers.enable_nag(_visitor(), *off)
    assert page.value(on, "stages.0.nag") is True
    again = _inputs(page, negative="x", stages=page.value(on, "stages"))
    assert page.handlers.enable_nag(_visitor(), *again) == {page.components.notice: NO_NOTICE}


_INK = {"name": "ink"}


@pytest.mark.parametrize(
    ("loras", "kept"),
    [("ink", []), ([{"name": 3}, _INK], [_INK]), ({"a": 1}, []), ([_INK, {"name": "x", "strength": 99}], [_INK])],
)
def test_remembered_loras_that_are_none_are_left_out(page: _Page, loras: object, kept: list[object]) -> None:
    updates = page.handlers.restore(_visitor(), {"model": "quick", "stages": [{"steps": 5}], "loras": loras})
    assert page.value(updates, "loras") == kept
    assert page.value(updates, "stages.0.steps") == 5
    assert "loras" in page.notice(updates)


def test_settings_of_eight_stages_are_put_in(page: _Page, studio: QuickPageStudio) -> None:
    request = GenerationRequest(prompt="x", stages=(Stage(width=64, height=64, steps=1, denoise=0.5),) * 8)
    updates = page.handlers.reuse(_visitor(), _event(id=_saved(studio, request)), *_inputs(page))
    assert (len(page.value(updates, "stages")), page.value(updates, "stages.7.denoise")) == (8, 0.5)


@pytest.mark.parametrize("stages", [0, "many", None, [1], [], [{}] * 9])
def test_remembered_stages_that_are_none_are_named(page: _Page, stages: object) -> None:
    updates = page.handlers.restore(_visitor(), {"model": "quick", "prompt": "小船", "stages": stages})
    assert len(page.value(updates, "stages")) == 2
    assert "1 to 8" in page.notice(updates)


def test_an_edit_of_the_stages_says_what_became_of_a_lora(page: _Page) -> None:
    values = {
        "model": "quick",
        "prompt": "",
        "negative": "",
        "triggers": "",
        "seed": "",
        "start": None,
        "keep_stages": False,
        "count": 1,
        "variation_strength": 0.0,
        "variation_seed": "",
    }
    values |= stages_values(QUICK.stages) | {"loras": [{"name": "ink", "stages": [1]}]}
    inputs = [values[name] for name in page.components.fields]
    updates = page.handlers.edit_stages(_visitor(), _event(edit="remove", stage=0), *inputs)
    assert [stage["width"] for stage in page.value(updates, "stages")] == [336]
    assert (
        page.notice(updates)
        == "Stage 1 was removed. LoRA ink acted in the removed stage only; it is switched off (strength 0)."
    )
    updates = page.handlers.edit_stages(_visitor(), _event(edit="remove"), *inputs)
    assert page.notice(updates).startswith("Stages: ")


@pytest.mark.parametrize("picture", ["", "nothing", None])
def test_a_picture_that_is_gone_is_told(page: _Page, picture: object) -> None:
    assert (
        page.notice(page.handlers.reuse(_visitor(), _event(id=picture), *_inputs(page)))
        == "This picture's file is no longer there."
    )


@pytest.mark.parametrize("order", [{"id": "nothing"}, {"job": "nothing"}, {"job": ["x"]}, {}])
def test_another_of_what_is_gone_is_told(page: _Page, order: dict[str, object]) -> None:
    for update in (
        page.handlers.another(_visitor(), _event(how="seed", **order)),
        page.handlers.reuse(_visitor(), _event(**order), *_inputs(page)),
    ):
        assert page.notice(update) == "This picture's file is no longer there."


@pytest.mark.parametrize("order", [{}, {"how": "other"}, {"how": "keep", "kept": 2}, {"how": "keep", "kept": "1"}])
def test_another_that_makes_no_sense_is_refused(page: _Page, studio: QuickPageStudio, order: dict[str, object]) -> None:
    picture = _saved(studio, GenerationRequest(prompt="x"))
    updates = page.handlers.another(_visitor(), _event(id=picture, **order))
    assert page.components.submitted_job not in updates
    assert updates[page.components.notice]["kind"] == "error"


def test_a_run_of_another_visitor_is_nobodys_to_go_on_with(tmp_path: Path) -> None:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)) as studio:
        page = _Page(studio)
        job = studio.submit(GenerationRequest(prompt="mine"), "quick", "a" * 32)
        finish(studio, job)
        updates = page.handlers.another(_visitor(), _event(job=job, how="same"))
        assert page.notice(updates) == "This picture's file is no longer there."
        assert page.components.submitted_job in page.handlers.another(_visitor("a" * 32), _event(job=job, how="same"))


def test_an_example_that_there_is_not_is_refused(page: _Page) -> None:
    updates = page.handlers.make_example(_visitor(), _event(name="../x"), *_inputs(page))
    assert updates[page.components.notice]["kind"] == "error"


def test_a_picture_is_made_twice_as_large(page: _Page, studio: QuickPageStudio) -> None:
    before = finish(studio, studio.submit(GenerationRequest(prompt="x", seed=7), "quick", OWNER)).picture
    assert before is not None
    updates = page.handlers.upscale(_visitor(), _event(id=before.record.id, upscaler=""))
    assert page.notice(updates).startswith("Enlarged to 672 x 864 with Lanczos")
    made = finish(studio, updates[page.components.submitted_job]).picture
    assert made is not None
    assert (made.record.width, made.record.height, made.record.request.seed) == (672, 864, 7)
    assert (
        page.notice(page.handlers.upscale(_visitor(), _event(id="nothing")))
        == "This picture's file is no longer there."
    )
    gone = page.handlers.upscale(_visitor(), _event(id=before.record.id, upscaler="4x.pth"))
    assert "there is no '4x.pth'" in page.notice(gone)


def _follow(page: _Page, visitor: gr.Request, submitted_job: str = "") -> list[Updates]:
    async def all_updates() -> list[Updates]:
        return [updates async for updates in page.handlers.follow(visitor, submitted_job)]

    return run_async(all_updates())


def test_a_stranger_without_a_cookie_sees_nobodys_pictures(page: _Page, studio: QuickPageStudio) -> None:
    _saved(studio, GenerationRequest(prompt="x"))
    job = studio.submit(GenerationRequest(prompt="x"), "quick", "")
    mine, _ = _follow(page, _visitor(owner=""))
    assert mine[page.components.canvas]["strip"] == []
    assert mine[page.components.canvas]["job"]["state"] == "idle"
    finish(studio, job)
    known, _ = _follow(page, _visitor())
    assert len(known[page.components.canvas]["strip"]) == 2


def test_what_nobody_foresaw_is_logged_and_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = _Page(_Broken(tmp_path))
    with caplog.at_level(logging.ERROR):
        for updates in (page.handlers.last_seed(_visitor()), *_follow(page, _visitor())):
            assert page.notice(updates).startswith("Internal error")
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "secret path /home/somebody"
    ] * 2


def _inputs(page: _Page, **given: object) -> list[object]:
    values: dict[str, object] = {
        "keep_stages": False,
        "count": 1,
        "variation_strength": 0.0,
        "variation_seed": "",
        "model": "quick",
        "prompt": "",
        "negative": "",
        "triggers": "",
        "loras": [],
        "seed": "",
        "start": None,
    }
    values |= stages_values(QUICK.stages) | given
    return [values[name] for name in page.components.fields]


def test_several_pictures_are_asked_for_at_once_as_a_group(page: _Page, studio: QuickPageStudio) -> None:
    last = page.handlers.generate(_visitor(), 0, *_inputs(page, prompt="x", seed="7", count=3))[
        page.components.submitted_job
    ]
    finish(studio, last)
    assert sorted(picture.record.request.seed for picture in studio.today()) == [7, 8, 9]


@pytest.mark.parametrize("count", [0, 101, None, 2.5])
def test_a_count_that_is_none_is_named(page: _Page, studio: QuickPageStudio, count: object) -> None:
    updates = page.handlers.generate(_visitor(), 0, *_inputs(page, prompt="x", count=count))
    assert page.notice(updates).startswith("Pictures: ")
    assert updates[page.components.notice]["field"] == "knob-count"
    assert studio.queue() == QueueView(0, 0)


def test_a_refused_request_names_its_field(page: _Page, studio: QuickPageStudio) -> None:
    updates = page.handlers.generate(_visitor(), 0, *_inputs(page))
    assert page.notice(updates).startswith("Prompt: ")
    assert updates[page.components.notice]["field"] == "knob-prompt"
    updates = page.handlers.generate(_visitor(), 0, *_inputs(page, prompt="x" * 1001))
    assert page.notice(updates) == "Prompt: 1001 tokens, but this model takes at most 1000; make it shorter"
    assert updates[page.components.notice]["field"] == "knob-prompt"
    assert studio.queue() == QueueView(0, 0)


def test_what_is_asked_for_while_something_runs_waits_and_is_shown_in_turn(
    page: _Page, studio: QuickPageStudio
) -> None:
    studio.loading = threading.Event()
    studio.step_seconds = 0.1  # no picture is done before it is looked at
    asked = [
        page.handlers.generate(_visitor(), 0, *_inputs(page, prompt=f"{n}"))[page.components.submitted_job]
        for n in range(3)
    ]
    assert studio.queue() == QueueView(1, 2)
    studio.loading.set()
    shown = [
        updates[page.components.canvas]["job"]["id"]
        for updates in _follow(page, _visitor(), asked[-1])
        if page.components.canvas in updates
    ]
    assert list(dict.fromkeys(shown)) == asked
    (*_, last, stop) = _follow(page, _visitor(), asked[-1])
    assert (last[page.components.canvas]["job"]["id"], last[page.components.canvas]["job"]["state"]) == (
        asked[-1],
        "done",
    )
    assert stop[page.components.stop]["interactive"] is False


def test_a_job_of_another_visitor_is_not_shown(tmp_path: Path) -> None:
    with closing(QuickPageStudio(tmp_path, step_seconds=0.0, shared=True)) as studio:
        page = _Page(studio)
        job = studio.submit(GenerationRequest(prompt="theirs"), "quick", "a" * 32)
        told, _ = _follow(page, _visitor(), job)
        assert page.components.stop not in told
        assert told[page.components.canvas]["job"]["error"].startswith("This run is no longer known")
        assert len(_follow(page, _visitor("a" * 32), job)) > 2


def test_a_job_that_is_not_known_any_more_is_told(page: _Page) -> None:
    (*_, told, _) = _follow(page, _visitor(), "nothing")
    assert told[page.components.canvas]["job"]["state"] == "failed"
    assert "no longer known" in told[page.components.canvas]["job"]["error"]


def test_only_its_owner_stops_a_job_on_a_shared_app(tmp_path: Path) -> None:
    with closing(QuickPageStudio(tmp_path, step_seconds=60, shared=True)) as studio:
        page = _Page(studio)
        job = page.handlers.generate(_visitor(), 0, *_inputs(page, prompt="x"))[page.components.submitted_job]
        page.handlers.stop(_visitor("1" * 32), job)
        assert studio.queue() == QueueView(1, 0)
        page.handlers.stop(_visitor(), job)
        assert finish(studio, job).state == "cancelled"


def test_a_field_leads_to_the_control_that_it_is_a_part_of() -> None:
    assert knob_path("stages.1.easycache.window_shift") == "stages.1.easycache.window_shift"
    assert knob_path("stages.0.easycache") == "stages.0.easycache"
    assert knob_path("stages.0.colour") == knob_path("stages") == "stages"
    assert knob_path("triggers.3") == "triggers"
    assert knob_path("loras.0.name") == "loras"
    assert knob_path("request") == ""
