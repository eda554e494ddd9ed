"""The page's event handlers: they take the page's values and return updates of components.

Handlers only submit jobs and watch them; the studio's own threads make the pictures. Watching runs on the event loop
without a thread of its own, so there everything that reads files is moved to a thread.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec

import gradio as gr
from gradio.components import Component
from starlette.concurrency import run_in_threadpool

from zimage_app.domain.another import Another, another
from zimage_app.domain.card import ModelCard
from zimage_app.domain.errors import LoraError, RequestError, StudioError
from zimage_app.domain.many import counted
from zimage_app.domain.request import GenerationRequest, parse_request
from zimage_app.domain.settings.knob import parse_as
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Language, Text
from zimage_app.domain.upscaling import Upscaling, resized_by
from zimage_app.service.jobs.state import JobState
from zimage_app.service.jobs.view import JobView
from zimage_app.service.pictures.history.pixels import compare_pixels, read_pixels
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.permissions import may_see
from zimage_app.service.studio import Studio, new_group
from zimage_app.ui.canvas.canvas import idle_data, job_data, lost_data
from zimage_app.ui.canvas.examples import EXAMPLES
from zimage_app.ui.drop.drop import imported_values
from zimage_app.ui.fields.controls import element_id
from zimage_app.ui.fields.stage_edits import edited, resized, with_proportions
from zimage_app.ui.fields.values import (
    COUNT,
    Values,
    knob_path,
    page_stages,
    request_data,
    request_values,
    stage_values,
    stages_values,
    start_value,
    titled,
)
from zimage_app.ui.history.history import item_data
from zimage_app.ui.http import Data
from zimage_app.ui.negatives.negative_picker import nag_values
from zimage_app.ui.presets.preset_bar import preset_card, preset_named, preset_values
from zimage_app.ui.server.visitor import visitor_of
from zimage_app.ui.words.i18n import WORDS, card_key, say
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of

log = logging.getLogger(__name__)

Updates = dict[Component, Any]

_WATCH_INTERVAL = 0.5
"""Maximum seconds between two updates to a tab; Gradio notices that a tab is closed when it sends an update."""
_STRIP_LENGTH = 24
NO_NOTICE: Data = {"text": ""}


@dataclass(frozen=True)
class PageComponents:
    """The components that handlers read and update."""

    fields: dict[str, Component]
    """Every setting and ``model``, by page name, in the order in which handlers get their values."""
    size: Component
    """The last resizing of the stages: ``base`` are the sizes before it, ``sizes`` those after it."""
    canvas: Component
    notice: Component
    examples: Component
    stop: Component
    submitted_job: Component
    """Holds the id of the job that this tab submitted last."""
    repeated: Component
    """The ids of the picture that was last made again, and of the job that does it or has done it."""


_Inputs = ParamSpec("_Inputs")


def _guarded(
    handler: Callable[Concatenate[Handlers, gr.Request, _Inputs], Updates],
) -> Callable[Concatenate[Handlers, gr.Request, _Inputs], Updates]:
    """Turn a handler's error into a notice on the page."""

    @wraps(handler)
    def guarded(self: Handlers, request: gr.Request, /, *args: _Inputs.args, **kwargs: _Inputs.kwargs) -> Updates:
        try:
            return handler(self, request, *args, **kwargs)
        except StudioError as error:
            return self._refusal(error, self._language(request))
        except Exception:
            log.exception("a handler of the page failed")
            return self._internal(self._language(request))

    return guarded


class Handlers:
    """The page's handlers for one studio."""

    def __init__(
        self, studio: Studio, components: PageComponents, words: gr.I18n, default_language: LanguageChoice
    ) -> None:
        self._studio = studio
        self._components = components
        self._words = words
        self._translated = {card.name for card in studio.cards()}
        """Names of the models whose texts are in ``words``; models added later are translated on the server."""
        self._default_language = default_language

    @_guarded
    def generate(self, request: gr.Request, rounds: object, *inputs: Any) -> Updates:
        """Submit the picture or pictures that the fields describe; ``follow`` shows them.

        ``rounds`` is how often the same was submitted before; seeds continue from there.
        """
        values = self._values(inputs)
        parsed, count = parse_request(request_data(values)), values[COUNT]
        model, owner = str(values["model"]), self._owner(request)
        requests = counted(parsed, count, rounds if isinstance(rounds, int) else 0)
        group = new_group() if len(requests) > 1 else ""
        ids = self._studio.submit_group(requests, model, owner, group)
        return self._submitted(ids[-1])

    @_guarded
    def make_example(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> Updates:
        """Fill in an example's prompt, and submit it with the seed of its thumbnail."""
        example = EXAMPLES.get(str(getattr(event, "name", "")))
        if example is None:
            raise RequestError("name", Text("is no example", "没有这个示例"))
        prompt = example.prompt.to(self._language(request))
        values = self._values(inputs) | {"prompt": prompt}
        parsed = parse_request(request_data(values) | {"seed": example.seed})
        job_id = self._studio.submit(parsed, str(values["model"]), self._owner(request))
        return self._field_updates({"prompt": prompt}) | self._submitted(job_id)

    @_guarded
    def again(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Submit a saved picture's settings again; ``compare`` later reports whether the pixels are the same."""
        record = self._picture(request, event).record
        job_id = self._studio.submit(record.request, record.model, self._owner(request))
        repeated = {"picture": str(getattr(event, "id", "")), "job": job_id}
        return self._submitted(job_id) | {self._components.repeated: repeated}

    @_guarded
    def another(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Submit a variant of a saved picture, or the remaining stages of a stopped run."""
        before, model = self._source(request, event)
        given = {name: value for name in Another.model_fields if (value := getattr(event, name, None)) is not None}
        job_id = self._studio.submit(another(before, parse_as(Another, given)), model, self._owner(request))
        return self._submitted(job_id)

    @_guarded
    def start_from(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Fill in a picture of the history as the start picture of a stage."""
        owner, language = self._owner(request), self._language(request)
        before = self._picture(request, event)
        stage = getattr(event, "stage", 1)
        start = parse_as(StartPicture, {"picture": self._studio.store_as_input(before, owner).sha256, "stage": stage})
        said = _notice("info", say("started_from", language, stage=start.stage))
        return self._field_updates({"start": start_value(start)}) | {self._components.notice: said}

    @_guarded
    def upscale(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Submit an upscaling of a picture to twice its size."""
        owner, language = self._owner(request), self._language(request)
        before = self._picture(request, event)
        upscaling = parse_as(Upscaling, {"upscaler": getattr(event, "upscaler", None) or None})
        model = before.record.model
        enlarging = self._studio.upscaled(before, upscaling, model, owner)
        job_id = self._studio.submit(enlarging, model, owner)
        return self._submitted(job_id, _notice("info", resized_by(enlarging).to(language)))

    @_guarded
    def compare(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Report whether a job that repeats a picture has made the same pixels; nothing while the job isn't over."""
        picture_id, job_id = str(getattr(event, "picture", "")), str(getattr(event, "job", ""))
        view = self._studio.view(job_id)
        if view is not None and not view.ended:
            return {self._components.repeated: gr.skip()}
        updates: Updates = {self._components.repeated: {"over": job_id}}
        made = view.picture.record.id if view is not None and view.picture is not None else ""
        before, after = (self._studio.picture(each, self._owner(request)) for each in (picture_id, made))
        if before is not None and after is not None:
            language = self._language(request)
            said = say("again_same", language, sentence=_same_pixels(before, after).to(language))
            updates[self._components.notice] = _notice("info", said)
        return updates

    async def follow(self, request: gr.Request, submitted_job: str) -> AsyncIterator[Updates]:
        """Show this browser's jobs one after another until all are over.

        Without an open job, show the one that the tab submitted last; without that too, an empty canvas.
        """

        async def run() -> AsyncIterator[Updates]:
            job_id = self._current(request) or submitted_job
            if not job_id:
                strip = await run_in_threadpool(self._strip, request)
                yield {self._components.canvas: {"job": idle_data(self._language(request)), "strip": strip}}
            while job_id:
                async for updates in self._watch(job_id, request):
                    yield updates
                job_id = self._current(request)
            yield {self._components.stop: gr.update(interactive=False, value=self._words("stop"))}

        async for updates in self._guarded_run(run(), request):
            yield updates

    @_guarded
    def stop(self, request: gr.Request, job_id: object) -> Updates:
        """Cancel the visitor's job; offer to cancel those that were submitted with it.

        Only ``follow`` updates the button, so that no two updates arrive reversed.
        """
        view = self._studio.view(str(job_id))
        nothing: Updates = {self._components.notice: gr.skip()}
        if view is None or not self._may_see(view, request):
            return nothing
        self._studio.cancel(view.id)
        jobs = self._studio.jobs(self._owner(request), shared=self._studio.shared)
        left = [job for job in jobs if view.group and job.group == view.group and job.id != view.id]
        if not left:
            return nothing
        said = _notice("info", say("stopped_one", self._language(request), count=len(left)))
        return {self._components.notice: said | {"group": view.group}}

    @_guarded
    def choose_model(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> Updates:
        """Fill in the chosen model's own stages and examples; offer to undo where changed stages were replaced."""
        before, language = self._values(inputs), self._language(request)
        card = self._studio.card(str(getattr(event, "model", "")))
        values = stages_values(card.stages)
        updates = self._card_updates(card, language) | self._field_updates(values)
        if all(before["stages"] != stages_values(one.stages)["stages"] for one in self._studio.cards()):
            updates[self._components.notice] = _undoable(say("model_stages", language), before, values)
        return updates

    @_guarded
    def models_arrived(self, request: gr.Request) -> Updates:
        """Update the list of models after the set of usable ones has changed."""
        return {self._components.fields["model"]: gr.update(choices=self._choices(self._language(request)))}

    @_guarded
    def edit_stages(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> Updates:
        """Add, copy, move or remove a stage; offer to undo a removal."""
        edit, stage = str(getattr(event, "edit", "")), getattr(event, "stage", None)
        before, language = self._values(inputs), self._language(request)
        values, said = edited(before, edit, stage)
        sentences = [text.to(language) for text in said]
        if edit != "remove":
            return self._field_updates(values) | {self._components.notice: _notice("info", " ".join(sentences))}
        sentences.insert(0, say("stage_removed", language, stage=int(str(stage)) + 1))
        return self._field_updates(values) | {self._components.notice: _undoable(" ".join(sentences), before, values)}

    @_guarded
    def shape_stages(self, _request: gr.Request, event: gr.EventData, *inputs: Any) -> Updates:
        """Give the stages the proportions of the start picture's canvas."""
        sides = (getattr(event, name, None) for name in ("width", "height"))
        return self._field_updates(with_proportions(self._values(inputs), *sides))

    @_guarded
    def resize_stages(self, _request: gr.Request, event: gr.EventData, *inputs: Any) -> Updates:
        """Change the picture's size, and all stages' sizes in proportion."""
        size, base = (getattr(event, name, None) for name in ("size", "base"))
        values = resized(self._values(inputs), size, base)
        sizes = [[stage["width"], stage["height"]] for stage in values["stages"]]
        return self._field_updates(values) | {
            self._components.size: {"base": base, "sizes": sizes},
            self._components.notice: NO_NOTICE,
        }

    @_guarded
    def release_seeds(self, request: gr.Request, *inputs: Any) -> Updates:
        """Set all stages to follow the picture's seed; offer to undo."""
        before = self._values(inputs)
        values: Values = {"stages": [stage | {"seed": "follow"} for stage in page_stages(before)]}
        said = say("seeds_released", self._language(request))
        return self._field_updates(values) | {self._components.notice: _undoable(said, before, values)}

    @_guarded
    def enable_nag(self, _request: gr.Request, *inputs: Any) -> Updates:
        """Turn on NAG in the stages where the negative prompt would have no effect."""
        return self._field_updates(nag_values(self._values(inputs))) | {self._components.notice: NO_NOTICE}

    @_guarded
    def apply_preset(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> Updates:
        """Fill in a preset's settings; offer to undo."""
        before, language = self._values(inputs), self._language(request)
        present_card = self._studio.card(str(before["model"]))
        preset = preset_named(self._studio, str(getattr(event, "name", "")), present_card)
        card = preset_card(self._studio, preset, present_card)
        values = preset_values(preset, card, before)
        updates = self._field_updates(values)
        if card is not None and card.name != present_card.name:
            updates |= self._card_updates(card, language)
        said = "presets_applied" if card else "presets_no_model"
        words = {"title": preset.title.to(language), "model": preset.settings.get("model")}
        notice = _undoable(say(said, language, **words), before, values, card)
        return updates | {self._components.notice: notice}

    @_guarded
    def reset(self, request: gr.Request, *inputs: Any) -> Updates:
        """Reset all settings but the prompt to what the model recommends; offer to undo."""
        before = self._values(inputs)
        usual = parse_request({"prompt": "-"})
        values: Values = request_values(usual, self._studio.card(str(before["model"])))
        del values["prompt"]
        said = say("presets_reset_done", self._language(request))
        return self._field_updates(values) | {self._components.notice: _undoable(said, before, values)}

    @_guarded
    def last_seed(self, request: gr.Request) -> Updates:
        """Fill in the seed of this browser's newest picture of today."""
        owner = self._owner(request)
        pictures = self._studio.today(owner, 1) if owner else ()
        if not pictures:
            return {self._components.notice: _notice("info", say("seed_none_yet", self._language(request)))}
        seed = str(pictures[0].record.seeds[0])
        return self._field_updates({"seed": seed}) | {self._components.notice: NO_NOTICE}

    @_guarded
    def reuse(self, request: gr.Request, event: gr.EventData, *inputs: Any) -> Updates:
        """Fill in the settings of a saved picture or of a stopped run, and their model if it is here; offer to undo."""
        before, language = self._values(inputs), self._language(request)
        settled, model = self._source(request, event)
        card = self._card(model, str(before["model"]))
        values: Values = request_values(settled, card)
        updates = self._field_updates(values) | self._card_updates(card, language)
        sentences = [say("reused", language), *self._other_files(settled, language)]
        if card.name != model:
            sentences.insert(1, say("model_gone", language, model=model, default=card.name))
        return updates | {self._components.notice: _undoable(" ".join(sentences), before, values, card)}

    @_guarded
    def import_settings(self, request: gr.Request, event: gr.EventData, present: str) -> Updates:
        """Fill in a file's settings, and its model where that is available; otherwise keep the present model."""
        language = self._language(request)
        given, model = getattr(event, "settings", None), getattr(event, "model", "")
        card = self._card(model, present)
        values = imported_values(given, card)
        updates = self._field_updates(values) | self._card_updates(card, language)
        return updates | {self._components.notice: _notice("info", say("drop_filled", language))}

    @_guarded
    def undo(self, request: gr.Request, event: gr.EventData) -> Updates:
        """Undo a change: fill in the earlier values, which the page sends."""
        given = getattr(event, "values", None)
        language = self._language(request)
        values = (
            {name: given[name] for name in self._components.fields if name in given} if isinstance(given, dict) else {}
        )
        card = self._card(str(values.pop("model", "")), self._studio.default_model)
        updates = self._field_updates(values) | self._card_updates(card, language)
        return updates | {self._components.notice: _notice("info", say("undone", language))}

    @_guarded
    def restore(self, request: gr.Request, saved: object) -> Updates:
        """Fill in the settings saved in this browser; replace those that are no longer valid, with a notice."""
        if not isinstance(saved, Mapping):
            return {self._components.notice: NO_NOTICE}
        language = self._language(request)
        name = str(saved.get("model", ""))
        default = self._studio.default_model
        sentences = []
        card = self._card(name, default)
        if card.name != name:
            sentences.append(say("model_gone", language, model=name, default=default))
        recommended = stages_values(card.stages)
        values = recommended | {key: saved[key] for key in self._components.fields if key in saved and key != "model"}
        try:
            # Half-typed values stay as they are: Generate reports them. Settings saved by an older version lack newer
            # fields; these get their defaults.
            values["stages"] = [stage_values(Stage()) | stage for stage in page_stages(values)]
        except RequestError as error:
            values |= recommended
            sentences.append(say("stages_reset", language, reason=self._studio.redacted(titled(error)).to(language)))
        values["loras"], wrong = _valid_loras(values.get("loras") or [])
        if wrong is not None:
            sentences.append(say("loras_left_out", language, reason=self._studio.redacted(wrong.text).to(language)))
        updates = self._field_updates(values) | self._card_updates(card, language)
        return updates | {self._components.notice: _notice("info", " ".join(sentences)) if sentences else NO_NOTICE}

    # Helpers.

    def _current(self, request: gr.Request) -> str:
        """Return the id of this browser's running or next job; empty where it has none or keeps no cookie."""
        owner = self._owner(request)
        return (self._studio.current(owner) if owner else None) or ""

    def _may_see(self, view: JobView, request: gr.Request) -> bool:
        """Whether this visitor may follow and stop a job.

        One of a browser without cookies belongs to everybody who knows its id, which can't be guessed.
        """
        return not view.owner or may_see(view.owner, self._owner(request), shared=self._studio.shared)

    async def _watch(self, job_id: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Show a job until it is over, or until another job of this browser runs while this one waits."""
        language = self._language(request)
        strip = await run_in_threadpool(self._strip, request)
        view = self._studio.view(job_id)
        if view and not self._may_see(view, request):
            yield {self._components.canvas: {"job": lost_data(language), "strip": strip}}
            return
        yield {self._components.stop: gr.update(interactive=True, value=self._words("stop"))}
        seen: JobView | None = None
        signs = itertools.count()  # changes every value: Gradio sends nothing for an unchanged one
        async for seen in self._studio.watch(job_id, _WATCH_INTERVAL):
            if seen.ended:
                strip = await run_in_threadpool(self._strip, request)
            job = job_data(seen, language, paused=self._studio.queue().paused) | {"home": not self._studio.shared}
            updates: Updates = {self._components.canvas: {"job": job, "strip": strip, "sign": next(signs)}}
            if seen.state is JobState.STOPPING:
                updates[self._components.stop] = gr.update(value=self._words("stopping"), interactive=False)
            yield updates
            if seen.state is JobState.WAITING and self._current(request) not in ("", job_id):
                return
        if seen is None:
            yield {self._components.canvas: {"job": lost_data(language), "strip": strip}}

    def _submitted(self, job_id: str, notice: Data = NO_NOTICE) -> Updates:
        return {self._components.submitted_job: job_id, self._components.notice: notice}

    def _field_updates(self, values: Values) -> Updates:
        """Return the updates that fill the values into their fields."""
        return {self._components.fields[name]: gr.update(value=value) for name, value in values.items()}

    def _picture(self, request: gr.Request, event: gr.EventData) -> SavedPicture:
        """Return the picture that an event names; raises StudioError where it no longer exists."""
        saved = self._studio.picture(str(getattr(event, "id", "")), self._owner(request))
        if saved is None:
            raise StudioError(WORDS["picture_gone"])
        return saved

    def _source(self, request: gr.Request, event: gr.EventData) -> tuple[GenerationRequest, str]:
        """Return request and model of the picture or run that an event names; raises StudioError where it is gone."""
        job_id = getattr(event, "job", None)
        if job_id is None:
            record = self._picture(request, event).record
            return record.request, record.model
        run = self._studio.run_of(str(job_id), self._owner(request))
        if run is None:
            raise StudioError(WORDS["picture_gone"])
        return run[1].request, run[0].model

    def _other_files(self, request: GenerationRequest, language: Language) -> Iterator[str]:
        """Yield a sentence for each LoRA of a picture whose file is missing or has changed since."""
        for use in request.loras:
            try:
                warning = self._studio.loras.resolve_use(use)[1] if use.strength else None
            except LoraError as error:
                warning = error.text
            if warning is not None:
                yield self._studio.redacted(warning).to(language)

    def _card_updates(self, card: ModelCard, language: Language) -> Updates:
        about = self._word(card, "description", language)
        return {
            self._components.fields["model"]: gr.update(choices=self._choices(language), value=card.name, info=about),
            self._components.examples: list(card.examples),
            self._components.notice: NO_NOTICE,
        }

    def _card(self, name: object, otherwise: str) -> ModelCard:
        """Return the card of a model, or of the model ``otherwise`` if the first can't be used here."""
        return next((card for card in self._studio.cards() if card.name == name), None) or self._studio.card(otherwise)

    def _choices(self, language: Language) -> list[tuple[Any, str]]:
        return [(self._word(card, "title", language), card.name) for card in self._studio.cards()]

    def _word(self, card: ModelCard, part: Literal["title", "description"], language: Language) -> Any:
        """Return a model's title or description: as a key that the browser translates, or else already translated."""
        if card.name in self._translated:
            return self._words(card_key(card, part))
        text: Text = getattr(card, part)
        return text.to(language)

    def _strip(self, request: gr.Request) -> list[Data]:
        # Visitors without cookies can't be told apart, so none of them sees pictures of the others.
        owner = self._owner(request)
        found = self._studio.history.page(owner, page_size=_STRIP_LENGTH).items if owner else ()
        return [item_data(item) for item in found]

    def _values(self, inputs: tuple[Any, ...]) -> Values:
        return dict(zip(self._components.fields, inputs, strict=True))

    def _owner(self, request: gr.Request) -> str:
        return owner_of(visitor_of(request))

    def _language(self, request: gr.Request) -> Language:
        return language_of(visitor_of(request), self._default_language)

    async def _guarded_run(self, run: AsyncIterator[Updates], request: gr.Request) -> AsyncIterator[Updates]:
        language = self._language(request)
        try:
            async for updates in run:
                yield updates
        except StudioError as error:
            yield self._refusal(error, language)
        except Exception:
            log.exception("a job could not be shown")
            yield self._internal(language)

    def _refusal(self, error: StudioError, language: Language) -> Updates:
        sentence = self._studio.redacted(titled(error)).to(language)
        name = knob_path(error.field) if isinstance(error, RequestError) else ""
        return {self._components.notice: _notice("error", sentence) | {"field": element_id(name) if name else ""}}

    def _internal(self, language: Language) -> Updates:
        return {self._components.notice: _notice("error", say("internal", language))}


def _valid_loras(given: object) -> tuple[list[Any], RequestError | None]:
    """Return the entries of a remembered LoRA list that are valid, and the error of the first that isn't."""
    kept: list[Any] = []
    wrong: RequestError | None = None
    for use in given if isinstance(given, list) else [given]:
        try:
            parse_request({"prompt": "-", "loras": [*kept, use]})
            kept.append(use)
        except RequestError as error:
            wrong = wrong or error
    return kept, wrong


def _same_pixels(before: SavedPicture, after: SavedPicture) -> Text:
    return compare_pixels(read_pixels(before.path), read_pixels(after.path))[1]


def _undoable(text: str, before: Values, values: Values, card: ModelCard | None = None) -> Data:
    """Return a notice whose Undo restores the model and the fields in ``values``; ``card`` is a new model's.

    Where nothing changes, as by a second press, the notice stays: its Undo still restores what the first one changed.
    """
    changed = values | ({"model": card.name} if card else {})
    undo = {name: before[name] for name in ("model", *values)}
    return gr.skip() if before | changed == before else _notice("info", text) | {"undo": undo}


_signs = itertools.count()


def _notice(kind: str, text: str) -> Data:
    """Return a notice. Each error gets a unique mark, because Gradio doesn't send a value that stays the same."""
    return {"kind": kind, "text": text} | ({"sign": next(_signs)} if kind == "error" else {})
