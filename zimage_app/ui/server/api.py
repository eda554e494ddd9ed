"""The public functions that programs call through Gradio: with ``gradio_client``, or with MCP where it is enabled.

REST (``/api``) can do more; these functions are for Spaces and for clients of Gradio or MCP. Gradio and MCP show the
functions' docstrings to such clients.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path

import gradio as gr
from gradio.events import api
from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool

from zimage_app.domain.errors import RequestError, StudioError
from zimage_app.domain.request import parse_request
from zimage_app.domain.text import Language, Text
from zimage_app.service.jobs.view import JobView
from zimage_app.service.pictures.history import MAX_SEARCH, HistoryItem, Search
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.rules.permissions import may_see
from zimage_app.service.studio import Studio
from zimage_app.ui.http import Data
from zimage_app.ui.server.framework import FILES
from zimage_app.ui.server.visitor import visitor_of
from zimage_app.web.json_bodies import exceeded_bound
from zimage_app.web.language import LanguageChoice, language_of
from zimage_app.web.owner import new_owner, owner_of

_FUNCTIONS = ("generate", "status", "history")
_WATCH_INTERVAL = 30.0
_MAX_LISTED = 100
_MAX_FILES = 64
"""Maximum of picture files kept for download; older pictures are still in the history."""


def add_public_functions(studio: Studio, default_language: LanguageChoice) -> None:
    """Add ``/generate``, ``/status`` and ``/history`` to the page's API; call inside the ``gr.Blocks`` context."""
    public = _PublicFunctions(studio, default_language)
    for name in _FUNCTIONS:
        api(getattr(public, name), api_name=name, concurrency_limit=None)


def public_parameters() -> dict[str, set[str]]:
    """Return the parameter names of each public function, by the function's name."""
    signatures = {name: signature(getattr(_PublicFunctions, name)) for name in _FUNCTIONS}
    return {name: set(each.parameters) - {"self", "request"} for name, each in signatures.items()}


def require_mcp(*, logins: bool) -> None:
    """Check that tools can be offered to MCP clients on a page with or without ``logins``.

    Raises:
        StudioError: the installed ``mcp`` package is missing or has a major version that Gradio can't use, which then
            offers no tools; or there are logins, and Gradio's tools call the page by a client of its own that has none.
    """
    if logins:
        raise StudioError(
            Text(
                "--mcp can't be used with --auth: the tools call the page themselves, and have no login; leave out one"
                " of them, or let a proxy in front ask for logins",
                "--mcp 不能与 --auth 同时使用：这些工具会自行访问页面，却没有登录信息；请去掉其中一个，"
                "或由前面的反向代理负责登录",
            )
        )
    try:
        found = version("mcp")
    except PackageNotFoundError:
        found = "none"
    if not found.startswith("1."):
        raise StudioError(
            Text(
                f'--mcp needs version 1 of the package mcp (found: {found}): pip install "mcp>=1.30,<2"',
                f'--mcp 需要 1.x 版的 mcp 包（当前：{found}）：pip install "mcp>=1.30,<2"',
            )
        )


class _PublicFunctions:
    """The public functions of one studio."""

    def __init__(self, studio: Studio, default_language: LanguageChoice) -> None:
        self._studio = studio
        self._default_language = default_language

    async def generate(
        self, request: gr.Request, prompt: str, seed: int = -1, model: str = "", settings: str = "", wait: bool = True
    ) -> Data:
        """Make a picture from a prompt.

        Args:
            prompt: What the picture shows, in Chinese or English.
            seed: The same number gives the same picture; -1 draws one.
            model: The name of a model; empty for the usual one.
            settings: More settings as JSON, as POST /api/generate takes them, for example {"stages": [...]}.
            wait: Return when the picture is finished; otherwise at once, with a task_id for status.

        Returns:
            task_id, status, progress in percent, and with wait the picture's file, id, seed and settings.
        """
        visitor = visitor_of(request)
        language = language_of(visitor, self._default_language)
        try:
            more = _settings(settings)
            asked = parse_request({"prompt": prompt} | ({} if seed == -1 else {"seed": seed}) | more)
            owner = owner_of(visitor) or (new_owner() if self._studio.shared else "")
            job_id = await run_in_threadpool(self._studio.submit, asked, model or self._studio.default_model, owner)
            view = self._studio.view(job_id)
            if wait:
                async for newest in self._studio.watch(job_id, _WATCH_INTERVAL):
                    view = newest
        except StudioError as error:
            raise gr.Error(self._studio.redacted(error.text).to(language), print_exception=False) from error
        if view is None or view.error is not None:
            problem = view.error.text if view and view.error else _NO_TASK
            raise gr.Error(problem.to(language), print_exception=False)
        return await run_in_threadpool(_task, view, language)

    def status(self, request: gr.Request, task_id: str = "") -> Data:
        """Get the progress of a picture, or the length of the queue.

        Args:
            task_id: The task_id from generate; empty for the queue.

        Returns:
            The task as generate returns it, with its picture once it is done; or the numbers running and waiting.
        """
        visitor = visitor_of(request)
        language = language_of(visitor, self._default_language)
        if not task_id:
            queue = self._studio.queue()
            return {"running": queue.running, "waiting": queue.waiting}
        view = self._studio.view(task_id)
        if view is None or not may_see(view.owner, owner_of(visitor), shared=self._studio.shared):
            raise gr.Error(_NO_TASK.to(language), print_exception=False)
        return _task(view, language)

    def history(self, request: gr.Request, search: str = "", page: int = 1, page_size: int = 20) -> Data:
        """List the pictures that were made, newest first.

        Args:
            search: Words of the prompt or the settings, up to 400 characters; empty for all.
            page: Page number, from 1.
            page_size: Pictures per page, up to 100.

        Returns:
            items with id, prompt, model, seed and size; total; page; pages.
        """
        visitor = visitor_of(request)
        if len(search) > MAX_SEARCH:
            raise gr.Error(_SEARCH_TOO_LONG.to(language_of(visitor, self._default_language)), print_exception=False)
        size = min(max(1, page_size), _MAX_LISTED)
        found = self._studio.history.page(owner_of(visitor), Search(search), max(1, page), size)
        items = [_item(item) for item in found.items]
        return {"items": items, "total": found.total, "page": found.page, "pages": found.pages}


_SEARCH_TOO_LONG = Text(f"search: may have at most {MAX_SEARCH} characters", f"search：最多 {MAX_SEARCH} 个字符")
_NO_TASK = Text("There is no such task.", "没有这个任务。")


def _settings(text: str) -> Data:
    if reason := exceeded_bound(text.encode(errors="replace")):
        raise RequestError("settings", reason)
    try:
        settings = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise RequestError("settings", Text("is not JSON", "不是 JSON")) from error
    if not isinstance(settings, dict):
        raise RequestError("settings", Text("must be a group of settings", "必须是一组设置"))
    return settings


def _task(view: JobView, language: Language) -> Data:
    task: Data = {
        "task_id": view.id,
        "status": view.state,
        "progress": round(100.0 * view.progress, 1),
        "error": view.error.to(language) if view.error else None,
        "picture": None,
    }
    if view.picture is not None:
        record = view.picture.record
        task["picture"] = {
            "id": record.id,
            "seed": record.seeds[0],
            "model": record.model,
            "settings": record.request.model_dump(mode="json"),
            "file": _file(view.picture),
        }
    return task


def _file(saved: SavedPicture) -> Data:
    """Write the PNG below Gradio's upload folder, under a random path, and return it as Gradio's file data.

    Gradio serves the file to anyone who knows the path. The folder is temporary and is deleted when the app ends.
    """
    folder = Path(get_upload_folder()) / FILES
    path = folder / f"{time.time_ns():020d}-{secrets.token_hex(16)}" / saved.path.name
    path.parent.mkdir(parents=True)
    path.write_bytes(saved.read())
    for old in sorted(folder.iterdir())[:-_MAX_FILES]:
        shutil.rmtree(old, ignore_errors=True)
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def _item(item: HistoryItem) -> Data:
    return {
        "id": item.id,
        "created": item.created.isoformat(),
        "prompt": item.prompt,
        "model": item.model,
        "seed": item.seed,
        "width": item.width,
        "height": item.height,
    }
