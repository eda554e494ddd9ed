"""The routes with which the page's script plans, starts, lists, cancels and removes grids and batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from zimage_app.domain.errors import BusyError, ForbiddenError, RequestError, StudioError, after_title
from zimage_app.domain.plan import draw_seed
from zimage_app.domain.setting_paths import MAX_DIGITS
from zimage_app.domain.text import Language, Text
from zimage_app.service.group_orders import BatchInput, PlannedGroup, Requester, plan_batch, plan_grid, start
from zimage_app.service.groups import GroupView
from zimage_app.service.many.batch.items import BatchItem
from zimage_app.service.many.batch.reading import parse_batch
from zimage_app.service.many.grids.axes import axis_title, parse_axis
from zimage_app.service.rules.permissions import may_see
from zimage_app.service.studio import Studio
from zimage_app.ui.drop.drop import read_upload
from zimage_app.ui.fields.values import request_data
from zimage_app.ui.http import NO_STORE, Data, chosen_action, error_response, json_body, parse_json
from zimage_app.ui.words.i18n import WORDS, say
from zimage_app.web.guard import MAX_BODY
from zimage_app.web.json_bodies import MAX_JSON, exceeded_bound
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of
from zimage_app.web.slow_work import UPLOADS

_LISTED = 12
_MAX_FILE = 3 * 2**20
"""Bytes of a batch file from the page; also in many.js, and in the texts."""
_AXES = {"x": "X", "y": "Y", "z": "Z"}


def many_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes ``/many.json`` (GET the visitor's groups, POST an order) and ``/many/GROUP/FILE``.

    An order with a batch file goes to ``/many/batch``, as one line of JSON and the file.
    """

    def answer(request: Request, work: Callable[[], Data]) -> Response:
        language = language_of(request, default_language)
        try:
            return JSONResponse(work(), headers=NO_STORE)
        except StudioError as error:
            text = _titled(error) if isinstance(error, RequestError) else error.text
            return error_response(studio, error, language, text)

    def show(request: Request) -> Response:
        return answer(request, lambda: groups_data(studio, owner_of(request)))

    async def change(request: Request, read: Callable[[Request], Awaitable[Callable[[], object]]]) -> Response:
        order = await read(request)
        language = language_of(request, default_language)

        def work() -> Data:
            return _Orders(studio, owner_of(request), language, order()).carry_out()

        try:
            return await UPLOADS.run(answer, request, work)
        except BusyError as error:
            return JSONResponse({"error": error.to(language)}, 503, headers=NO_STORE)

    def file(request: Request) -> Response:
        view = _own(studio, owner_of(request), request.path_params["group_id"])
        path = studio.groups.file(view, request.path_params["name"]) if view else None
        if path is None:
            return PlainTextResponse(say("many_gone", language_of(request, default_language)), 404, headers=NO_STORE)
        kind = "attachment" if "download" in request.query_params else "inline"
        return FileResponse(path, filename=path.name, content_disposition_type=kind, headers=NO_STORE)

    return [
        Route("/many.json", show),
        Route("/many.json", partial(change, read=_order), methods=["POST"]),
        Route("/many/batch", partial(change, read=_order_with_file), methods=["POST"]),
        Route("/many/{group_id}/{name}", file),
    ]


async def _order(request: Request) -> Callable[[], object]:
    order = await json_body(request, MAX_BODY)
    return lambda: order


async def _order_with_file(request: Request) -> Callable[[], object]:
    """Read a line of JSON and a batch file; they are parsed by the returned function, which may raise RequestError."""
    _, body = await read_upload(request, MAX_JSON + _MAX_FILE, "")

    def parsed() -> object:
        line, _, file = body.partition(b"\n")
        if len(file) > _MAX_FILE:
            most = _MAX_FILE // 2**20
            text = Text(f"The file is bigger than {most} MB; split it.", f"文件超过 {most} MB，请拆分。")
            raise RequestError("FILE", text)
        order = None if len(line) > MAX_JSON or exceeded_bound(line) else parse_json(line)
        return order | {"text": file.decode(errors="replace")} if isinstance(order, dict) else None

    return parsed


def groups_data(studio: Studio, owner: str) -> Data:
    """Return the newest groups of a visitor."""
    views = studio.groups.newest(lambda mark: may_see(mark, owner, shared=studio.shared), _LISTED)
    return {"groups": [_group_data(view) for view in views]}


class _Orders:
    """The orders that the script may send, by their name ``do``. A start repeats all data of its plan."""

    def __init__(self, studio: Studio, owner: str, language: Language, order: object) -> None:
        self._studio = studio
        self._owner = owner
        self._language = language
        self._order: Mapping[str, Any] = order if isinstance(order, dict) else {}

    def carry_out(self) -> Data:
        """Carry out the order and return its answer; raise StudioError for one that is unknown or fails."""
        orders: dict[str, Callable[[], Data]] = {
            "plan_grid": lambda: self._planned(self._grid()),
            "start_grid": lambda: self._begun(self._grid()),
            "plan_batch": lambda: self._planned(self._batch()),
            "start_batch": lambda: self._begun(self._batch()),
            "cancel": self._cancel,
            "remove": self._remove,
        }
        return chosen_action(orders, self._order.get("do"))()

    def _grid(self) -> PlannedGroup:
        settings, requester = self._settings()
        given = {name: str(text) for name in _AXES if (text := self._order.get(name))}
        axes = [parse_axis(text, name) for name, text in given.items()]
        return plan_grid(self._studio, settings, axes, requester)

    def _batch(self) -> PlannedGroup:
        settings, requester = self._settings()
        del settings["prompt"]
        name, text = str(self._order.get("name") or ""), str(self._order.get("text") or "")
        seed = settings.pop("seed")
        batch = parse_batch(name, text.encode(errors="replace"))
        seed = seed if isinstance(seed, int) else draw_seed()
        return plan_batch(self._studio, BatchInput(name, batch, settings, seed), requester)

    def _settings(self) -> tuple[Data, Requester]:
        """Return the page's settings as a request's plain data, with the seed that the plan drew, and the requester."""
        if self._studio.borrows_gpu:
            raise ForbiddenError(WORDS["many_no_gpu"])
        values = self._order.get("settings")
        if not isinstance(values, Mapping):
            raise RequestError("settings", Text("must be a group of settings", "必须是一组设置"))
        try:
            settings = request_data(values)
        except KeyError as error:
            raise RequestError(str(error.args[0]), Text("is missing", "缺少")) from error
        drawn = str(self._order.get("seed") or "")
        if settings["seed"] == "random" and drawn.isdecimal() and len(drawn) <= MAX_DIGITS:
            settings["seed"] = int(drawn)
        model = str(values.get("model") or self._studio.default_model)
        return settings, Requester(self._owner, model, self._language)

    def _planned(self, many: PlannedGroup) -> Data:
        words = many.cost.words.to(self._language)
        return {
            "told": say("many_pictures", self._language, count=len(many.items), words=words),
            "notes": [self._studio.redacted(note).to(self._language) for note in many.notes],
            "seed": str(many.items[0].plan.request.seed),
            "rows": [_row(item) for item in many.items] if many.kind == "batch" else [],
        }

    def _begun(self, many: PlannedGroup) -> Data:
        start(self._studio, many, self._settings()[1])
        return groups_data(self._studio, self._owner)

    def _cancel(self) -> Data:
        self._studio.cancel_group(self._named().record.group, self._owner, shared=self._studio.shared)
        return groups_data(self._studio, self._owner)

    def _remove(self) -> Data:
        self._studio.groups.remove(self._named())
        return groups_data(self._studio, self._owner)

    def _named(self) -> GroupView:
        view = _own(self._studio, self._owner, str(self._order.get("id", "")))
        if view is None:
            raise RequestError("id", WORDS["many_gone"])
        return view


def _own(studio: Studio, owner: str, group_id: str) -> GroupView | None:
    return studio.groups.find(group_id, lambda mark: may_see(mark, owner, shared=studio.shared))


def _group_data(view: GroupView) -> Data:
    record = view.record
    return {
        "id": record.id,
        "kind": record.kind,
        "title": record.title,
        "time": f"{record.created:%Y-%m-%d %H:%M}",
        "total": len(record.items),
        "done": view.done,
        "failed": view.failed,
        "cancelled": view.cancelled,
        "finished": view.finished,
        "files": list(view.files),
    }


def _row(item: BatchItem) -> list[str]:
    request, last = item.plan.request, item.plan.stages[-1].settings
    return [str(item.index), f"{item.name}.png", f"{last.width}×{last.height}", str(request.seed), request.full_prompt]


def _titled(error: RequestError) -> Text:
    """Return an error's message with the page's titles of axes and settings."""
    if error.field == "FILE":
        return error.reason
    if error.field not in _AXES:
        return after_title(axis_title(error.field), error.reason)
    axis = Text(*(say("many_axis", each, axis=_AXES[error.field]) for each in ("en", "zh")))
    cause = error.__cause__
    if isinstance(cause, RequestError) and cause.field not in ("axis", error.field):
        return after_title(axis, _titled(cause))
    return after_title(axis, error.reason)
