"""The route of the queue panel. The owner's cookie selects the jobs."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.text import Text
from zimage_app.service.rules.permissions import may_see, refuse_if_shared
from zimage_app.service.studio import Studio
from zimage_app.ui.http import NO_STORE, Data, chosen_action, error_response, json_body
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import owner_of


def queue_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes of ``/queue.json``: GET unfinished jobs; POST ``{"do": ORDER, "id": JOB or GROUP}``."""

    def answer(request: Request, work: Callable[[], object]) -> Response:
        language = language_of(request, default_language)
        try:
            work()
        except StudioError as error:
            return error_response(studio, error, language)
        return JSONResponse(queue_data(studio, owner_of(request)), headers=NO_STORE)

    def show(request: Request) -> Response:
        return answer(request, lambda: None)

    async def change(request: Request) -> Response:
        order = await json_body(request)
        return await run_in_threadpool(answer, request, lambda: _carry_out(studio, owner_of(request), order))

    return [Route("/queue.json", show), Route("/queue.json", change, methods=["POST"])]


def queue_data(studio: Studio, owner: str) -> Data:
    """Return the panel's data: this visitor's jobs in the order in which they run, and the number of others."""
    queue, views = studio.queue(), studio.jobs(owner, shared=studio.shared)
    return {
        "paused": queue.paused,
        "others": max(0, queue.running + queue.waiting - len(views)),
        "home": not studio.shared,
        "groups": _open_groups(studio, owner),
        "jobs": [
            {
                "id": view.id,
                "state": view.state,
                "prompt": view.prompt,
                "group": view.group,
                "percent": round(100 * view.progress),
            }
            for view in views
        ],
    }


def _open_groups(studio: Studio, owner: str) -> list[Data]:
    """Return this visitor's unfinished batches and grids."""
    return [
        {"title": view.record.title, "done": view.done, "total": len(view.record.items)}
        for view in studio.groups.unfinished(lambda mark: may_see(mark, owner, shared=studio.shared))
    ]


def _carry_out(studio: Studio, owner: str, order: object) -> None:
    """Carry out one order; raise RequestError for an unknown one."""
    given = order if isinstance(order, dict) else {}
    target = str(given.get("id", ""))
    orders: dict[str, Callable[[], object]] = {
        "pause": lambda: _pause(studio, True),
        "resume": lambda: _pause(studio, False),
        "clear": lambda: studio.clear_queue(owner, shared=studio.shared),
        "cancel_group": lambda: studio.cancel_group(target, owner, shared=studio.shared),
        "cancel": lambda: studio.cancel(_own(studio, owner, target)),
        "up": lambda: studio.move(_own(studio, owner, target)),
        "first": lambda: studio.move(_own(studio, owner, target), first=True),
    }
    chosen_action(orders, given.get("do"))()


def _pause(studio: Studio, paused: bool) -> None:
    refuse_if_shared("queue", shared=studio.shared)
    studio.pause_queue(paused)


def _own(studio: Studio, owner: str, job_id: str) -> str:
    """Return the id of a job that this visitor may change; raise RequestError for any other."""
    view = studio.view(job_id)
    if view is None or not may_see(view.owner, owner, shared=studio.shared):
        raise RequestError("id", Text("is no job of yours that is known", "不是你的任务，或已不存在"))
    return job_id
