"""Builds the page: the layout of components, and the wiring of their events to handlers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from zimage_app.domain.card import ModelCard
from zimage_app.domain.many import MAX_COUNT
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.studio import Studio
from zimage_app.ui.asset import asset
from zimage_app.ui.fields.controls import bounds, element_id, stage_form
from zimage_app.ui.fields.values import COUNT, SIZE, stages_values
from zimage_app.ui.http import Data
from zimage_app.ui.loras.lora_picker import limits, save_note
from zimage_app.ui.models.model_panel import models
from zimage_app.ui.negatives.negative_picker import negatives
from zimage_app.ui.page.handlers import Handlers, PageComponents
from zimage_app.ui.presets.preset_bar import presets
from zimage_app.ui.prompt.hints import hints
from zimage_app.ui.prompt.prompt_tools import prompt
from zimage_app.ui.server.api import add_public_functions
from zimage_app.ui.server.script_functions import script_function
from zimage_app.ui.start.start_picture import mask_bounds
from zimage_app.ui.words.i18n import card_key, knob_key
from zimage_app.web.language import LanguageChoice

TITLE = "Z-Image Progressive Studio"
"""Until the page's script adds its subtitle in the reader's language."""
_STORAGE_KEY = "zimage-studio-settings"
"""Name and secret in the browser's storage. Gradio's defaults are random per start, so saved settings would be lost."""
_MAX_TYPED = 20_000
"""Maximum characters of a text field: above every field's limit, so that cut text is still refused."""
_UPLOADS = (600, 3600)
"""Interval of Gradio's clean-up of temporary files, and the age at which it deletes them, in seconds."""
_SUBMITTED_JOB = "(submitted) => [submitted || sessionStorage.getItem('studio-asked') || '']"
"""JavaScript for the id of the job that this tab submitted last, also before a reload."""
_SHOWN_JOB = "() => [document.querySelector('.canvas').dataset.job || '']"
"""JavaScript for the id of the job on the canvas."""
_KEPT_SETTINGS = "(saved) => [window.studio.keptSettings() ?? saved]"
_MODEL_INPUT = "(model) => document.dispatchEvent(new CustomEvent('studio:model', { detail: model })) && []"
_WAIT_TURN = "(...values) => window.studio.waitForTurn(false, values)"
_WAIT_CHANGE_TURN = "(...values) => window.studio.waitForTurn(true, values)"
_WAIT_PRESS = "(...values) => window.studio.waitForGenerateTurn(false, values)"
_WAIT_CHANGE_PRESS = "(...values) => window.studio.waitForGenerateTurn(true, values)"
_END_TURN = "() => window.studio.endTurn()"
_PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build_page(studio: Studio, words: gr.I18n, default_language: LanguageChoice) -> gr.Blocks:
    """Build the whole page for ``studio``; ``words`` must hold the texts of all its models.

    It has no ``gr.State``: for that, each tab would keep a connection open, and browsers allow six per host.
    """
    cards = studio.cards()
    card = studio.card(studio.default_model)
    page = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=_UPLOADS)
    with page:
        with gr.Column(elem_id="page"):
            _custom_component("topbar")
            with gr.Row(elem_id="studio"):
                builder = _Controls(studio, card, words)
                builder.column(cards)
                with gr.Column(elem_id="right"):
                    _custom_component("views")
                    canvas = _custom_component("canvas")
                    _custom_component("compare")
                    _custom_component("history")
                    _custom_component("many", form=stage_form())
            _custom_component("viewer")
            pictures = _custom_component("picture_events")
            _custom_component("mask", bounds=mask_bounds())
        components = builder.components(canvas)
        add_public_functions(
            studio, default_language
        )  # before the handlers, because Gradio would give those the same names
        handlers = Handlers(studio, components, words, default_language)
        _wire(page, builder, components, handlers)
        _wire_pictures(pictures, components, handlers)
    page.queue(default_concurrency_limit=None)
    return page


def _custom_component(
    name: str, value: object = None, server: Callable[[object], Data] | None = None, **props: Any
) -> gr.HTML:
    """Add a component of our own: static markup that its script fills in. The script may call ``server``."""
    return gr.HTML(
        value=value,
        html_template=asset(f"{name}.html"),
        js_on_load=asset(f"{name}.js"),
        server_functions=[server] if server else None,
        apply_default_css=False,
        **{"elem_id": name} | props,
    )


def _notes(field: str) -> None:
    """Add the place for remarks on a field's current value; with an empty ``field``, for remarks on no single field."""
    _custom_component("notes", elem_id=f"notes-{field or 'all'}", field=field)


class _Controls:
    """Builds the left column and keeps references to its components."""

    def __init__(self, studio: Studio, card: ModelCard, words: gr.I18n) -> None:
        self._studio = studio
        self._words = words
        self._card = card
        self.fields: dict[str, Component] = {}

    def column(self, cards: Iterable[ModelCard]) -> None:
        """Add all controls in order of use: prompt; size, seed and Generate; LoRAs and words; model and the rest."""
        with gr.Column(elem_id="left"), gr.Column(elem_id="scroll"):
            with gr.Column(elem_id="compose"):
                self._compose()
            with gr.Column(elem_id="actions"):
                with gr.Column(elem_id="shape"):
                    self._size()
                    self._seed()
                with gr.Column(elem_id="go"):
                    self._go()
            with gr.Column(elem_id="settings"):
                self._words_column()
                self._model(cards)
                self.presets = _custom_component("presets", server=script_function(self._studio, presets))
                _custom_component("everything")
                with gr.Column(elem_id="rest"):
                    self._rest()

    def _compose(self) -> None:
        self._text("prompt", lines=4, max_lines=10, placeholder=self._words("prompt_hint"), autofocus=True)
        _custom_component("prompt", server=script_function(self._studio, prompt))
        _notes("prompt")
        self.examples = _custom_component("examples", list(self._card.examples))
        self.drop = _custom_component("drop")
        self.fields["start"] = _custom_component("start", None, elem_id=element_id("start"))
        _notes("start")

    def _go(self) -> None:
        self.notice = _custom_component("notice", {})
        self.submitted_job = _custom_component("submitted_job", "")
        self.repeated = _custom_component("repeated", {})
        with gr.Row(elem_id="buttons"):
            self.fields[COUNT] = gr.Number(
                1, label=self._words("count"), precision=0, minimum=1, maximum=MAX_COUNT, step=1, scale=1,
                min_width=64, elem_id=element_id(COUNT),
            )  # fmt: skip
            self.generate = gr.Button(self._words("generate"), variant="primary", elem_id="generate", scale=5)
            self.rounds = _custom_component("forever", 0)
            self.stop = gr.Button(
                self._words("stop"), variant="stop", elem_id="stop", scale=2, min_width=72, interactive=False
            )
        _custom_component("summary", server=script_function(self._studio, hints))
        _notes("")

    def _words_column(self) -> None:
        """Add LoRAs, trigger words and the negative prompt."""
        self._loras()
        _notes("loras")
        self._text("triggers", max_lines=1, placeholder=self._words("triggers_hint"))
        _custom_component("triggers")
        self._text("negative", lines=2, max_lines=6)
        _notes("negative")
        self.negatives = _custom_component("negatives", server=script_function(self._studio, negatives))

    def components(self, canvas: Component) -> PageComponents:
        """Return the components that handlers use."""
        return PageComponents(
            fields=self.fields,
            size=self.size,
            canvas=canvas,
            notice=self.notice,
            examples=self.examples,
            stop=self.stop,
            submitted_job=self.submitted_job,
            repeated=self.repeated,
        )

    def _text(self, field: str, **options: Any) -> None:
        self.fields[field] = gr.Textbox(**self._named(field), max_length=_MAX_TYPED, **options)

    def _model(self, cards: Iterable[ModelCard]) -> None:
        choices = [(self._words(card_key(card, "title")), card.name) for card in cards]
        self.fields["model"] = gr.Dropdown(
            choices,
            value=self._card.name,
            label=self._words("model"),
            info=self._words(card_key(self._card, "description")),
            elem_id=element_id("model"),
        )
        self.models = _custom_component(
            "models", server=script_function(self._studio, models), known=sorted(name for _, name in choices)
        )

    def _loras(self) -> None:
        self.fields["loras"] = _custom_component(
            "loras", [], script_function(self._studio, save_note), elem_id=element_id("loras"), limits=limits()
        )

    def _size(self) -> None:
        low, high, step = bounds(Stage, "width")
        limits = {"low": low, "high": high, "step": step}
        self.size = _custom_component("size", {}, elem_id=element_id(SIZE), bounds=limits)
        _notes("size")

    def _seed(self) -> None:
        with gr.Row(elem_id="seeds"):
            self._text("seed", max_lines=1, placeholder=self._words("seed_hint"), scale=4, min_width=120)
            self.seed_random = gr.Button(self._words("seed_random"), size="sm", elem_id="seed-random", min_width=60)
            self.seed_last = gr.Button(self._words("seed_last"), size="sm", elem_id="seed-last", min_width=60)
        self.fixed_seeds = _custom_component("fixed_seeds")

    def _rest(self) -> None:
        """Add the controls that are seldom used: stages, variation of the seed, saving of stage pictures."""
        stages = stages_values(self._card.stages)["stages"]
        self.fields["stages"] = _custom_component("stages", stages, elem_id=element_id("stages"), form=stage_form())
        with gr.Row(elem_id="variation"):
            low, high, step = bounds(GenerationRequest, "variation_strength")
            self.fields["variation_strength"] = gr.Slider(
                low, high, value=low, step=step, buttons=[], min_width=150, scale=4, **self._named("variation_strength")
            )
            self._text("variation_seed", max_lines=1, placeholder=self._words("seed_hint"), scale=3, min_width=120)
        self.fields["keep_stages"] = gr.Checkbox(container=False, **self._named("keep_stages"))

    def _named(self, field: str) -> dict[str, Any]:
        return {
            "label": self._words(knob_key(GenerationRequest, field, "title")),
            "info": self._words(knob_key(GenerationRequest, field, "help")),
            "elem_id": element_id(field),
        }


def _wire(page: gr.Blocks, controls: _Controls, components: PageComponents, handlers: Handlers) -> None:
    """Connect the left column's events to handlers. Only handlers that watch jobs go through Gradio's queue.

    Handlers get settings as typed: Gradio's own check (``preprocess``) is off, as its error messages name no field.
    """
    fields = list(components.fields.values())
    filled = [*fields, components.examples, components.notice]
    plain: dict[str, Any] = _PRIVATE | {"queue": False}
    prompt, model, seed = (components.fields[name] for name in ("prompt", "model", "seed"))
    starts = partial(gr.on, [controls.generate.click, _event(prompt, "submit")])
    queued = [components.submitted_job, components.notice]
    _queues(starts, handlers.generate, [controls.rounds, *fields], queued, _WAIT_PRESS, preprocess=False)
    # One handler per tab shows the jobs; triggers during its run start it once more after it has ended.
    watched = [components.notice, components.canvas, components.stop]
    shows = [page.load, _event(components.submitted_job, "submit")]
    follows = gr.on(
        shows,
        handlers.follow,
        components.submitted_job,
        watched,
        trigger_mode="always_last",
        js=_SUBMITTED_JOB,
        **_PRIVATE,
    )
    _event(components.submitted_job, "leave")(None, None, None, cancels=[follows], **plain)
    controls.stop.click(handlers.stop, components.submitted_job, components.notice, js=_SHOWN_JOB, **plain)
    _event(model, "input")(None, model, None, js=_MODEL_INPUT, trigger_mode="multiple", **plain)
    _changes(_event(controls.models, "choose"), handlers.choose_model, fields, filled, waited=True)
    _event(controls.models, "arrived")(handlers.models_arrived, None, model, **plain)
    _changes(controls.seed_random.click, lambda: "", None, [seed])
    _changes(controls.seed_last.click, handlers.last_seed, None, [seed, components.notice])
    _changes(_event(controls.fixed_seeds, "release"), handlers.release_seeds, fields, filled)
    _changes(_event(controls.examples, "choose"), _chosen, None, [prompt])
    _changes(_event(controls.negatives, "enable_nag"), handlers.enable_nag, fields, [*fields, components.notice])
    _changes(_event(controls.presets, "apply"), handlers.apply_preset, fields, filled, waited=True)
    _changes(_event(controls.presets, "reset"), handlers.reset, fields, filled, waited=True)
    _changes(_event(components.fields["stages"], "edit"), handlers.edit_stages, fields, filled, waited=True)
    _changes(_event(controls.size, "resize"), handlers.resize_stages, fields, [*filled, components.size], waited=True)
    _changes(_event(components.fields["start"], "shape"), handlers.shape_stages, fields, filled)
    _changes(_event(controls.drop, "fill"), handlers.import_settings, model, filled)
    for source in (controls.drop, controls.notice):
        _changes(_event(source, "undo"), handlers.undo, None, filled)
    _persist_settings(page, components, handlers, plain)


def _wire_pictures(pictures: gr.HTML, components: PageComponents, handlers: Handlers) -> None:
    """Connect the actions on a picture, which canvas, viewer and history share."""
    fields = list(components.fields.values())
    filled = [*fields, components.examples, components.notice]
    plain: dict[str, Any] = _PRIVATE | {"queue": False}
    queued = [components.submitted_job, components.notice]
    _changes(_event(pictures, "reuse"), handlers.reuse, fields, filled)
    _changes(_event(pictures, "start"), handlers.start_from, None, [components.fields["start"], components.notice])
    _queues(_event(pictures, "upscale"), handlers.upscale, [], queued)
    _queues(_event(pictures, "another"), handlers.another, [], queued)
    _queues(
        _event(pictures, "example"),
        handlers.make_example,
        fields,
        [components.fields["prompt"], *queued],
        _WAIT_CHANGE_PRESS,
        preprocess=False,
    )
    repeated = [components.repeated, components.notice]
    _queues(_event(pictures, "again"), handlers.again, [], [components.submitted_job, *repeated])
    _event(components.repeated, "compare")(handlers.compare, None, repeated, trigger_mode="multiple", **plain)


def _queues(
    starts: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: list[Any],
    outputs: list[Any],
    js: str = _WAIT_TURN,
    **more: Any,
) -> None:
    """Connect a handler that submits pictures; clicks reach it one at a time, in their order."""
    plain: dict[str, Any] = _PRIVATE | {"queue": False, "trigger_mode": "multiple"}
    _ends_turn(starts(handler, inputs, outputs, js=js, **more, **plain))


def _changes(
    event: Callable[..., Any], handler: Callable[..., Any], inputs: Any, outputs: list[Any], waited: bool = False
) -> None:
    """Connect a handler that changes fields; ``waited``: its script has waited its turn (``studio.queueChange``)."""
    plain: dict[str, Any] = _PRIVATE | {"queue": False, "trigger_mode": "multiple"}
    js = None if waited else _WAIT_CHANGE_TURN
    _ends_turn(event(handler, inputs, outputs, preprocess=False, js=js, **plain))


def _ends_turn(handled: Any) -> None:
    """End the turn after a handler. Gradio reports a refused call only as a failure, never by ``then``."""
    for end in (handled.success, handled.failure):
        end(None, None, None, js=_END_TURN, **_PRIVATE, queue=False, trigger_mode="multiple")


def _persist_settings(page: gr.Blocks, components: PageComponents, handlers: Handlers, plain: dict[str, Any]) -> None:
    """Save the settings in the browser's storage, without a request, and restore them when the page is loaded.

    ``saved`` is of the tab that changed its settings last, for new tabs; each tab restores its own ones.
    Each change is also sent to the page's scripts as the event ``studio:settings``; they ask for hints after a pause.
    """
    saved = gr.BrowserState(None, storage_key=_STORAGE_KEY, secret=_STORAGE_KEY)
    fields = list(components.fields.values())
    names = json.dumps(list(components.fields))
    tell = f"""const settings = Object.fromEntries({names}.map((name, place) => [name, values[place]]));
      document.dispatchEvent(new CustomEvent("studio:settings", {{ detail: settings }}));"""
    keep = f"(saved, ...values) => {{ {tell} return window.studio.keepSettings(saved, settings); }}"
    begin = f"(...values) => {{ {tell} window.studio.restored = true; return []; }}"
    filled = [*fields, components.examples, components.notice]
    restored = page.load(handlers.restore, saved, filled, js=_KEPT_SETTINGS, **plain)
    # Also after a failed restore; otherwise nothing would be saved from then on.
    for end in (restored.success, restored.failure):
        end(None, fields, None, js=begin, **plain)
    changes = [_event(field, "change") for field in fields]
    gr.on(changes, None, [saved, *fields], saved, js=keep, **plain)


def _chosen(event: gr.EventData) -> str:
    return str(getattr(event, "text", ""))


def _event(component: Component, name: str) -> Any:
    """Return a component's event by name; Gradio adds them at run time, so type checkers don't know them."""
    return getattr(component, name)
