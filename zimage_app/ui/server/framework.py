"""Allow list of Gradio's routes: those that the page and programs need. All others answer 404.

Gradio has some ninety routes, some of which fetch any URL, take files or change the app, and a newer version may add
more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from gradio.utils import get_upload_folder
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from zimage_app.domain.text import Text
from zimage_app.web.json_bodies import JSON_BODY
from zimage_app.web.language import LanguageChoice
from zimage_app.web.refusal import refusal

FILES = "api"
"""Subfolder of Gradio's upload folder for the pictures that the public functions return."""
_SESSION = r"[A-Za-z0-9_-]{1,64}"
_FUNCTION = r"(generate|status|history)"
_STATIC = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
_GET_PATHS = re.compile(
    rf"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/(assets|static)(/{_STATIC})+"
    rf"|/gradio_api/(info/?|openapi\.json|startup-events|app_id/?|theme\.css|queue/(data|status)"
    rf"|call/{_FUNCTION}/{_SESSION})"
)
"""Paths for GET and HEAD: the page and its files, descriptions of the functions for programs, event streams."""
_POST_PATHS = re.compile(
    rf"/gradio_api/(queue/join|component_server/?|cancel|reset/?|(run|api)/(predict|{_FUNCTION})/?"
    rf"|call/(v2/)?{_FUNCTION}/?)"
)
"""Paths for POST: calls of the page's functions and of the public functions."""
_MCP_PATHS = re.compile(r"/gradio_api/mcp(/|/sse|/messages/?|/schema|/http/?)?")
_FILE = "/gradio_api/file="
_NOT_FOUND = Text("There is nothing at this address.", "这个地址没有内容。")
_INVALID_BODY = Text("The body isn't one that this address takes.", "请求内容不符合该地址的要求。")


class _Call(BaseModel):
    """The fields that Gradio reads from a call's body, with limits that Gradio doesn't check itself."""

    model_config = ConfigDict(strict=True, extra="allow")

    session_hash: Annotated[str | None, Field(pattern=rf"^{_SESSION}$")] = None
    event_id: Annotated[str | None, Field(pattern=rf"^{_SESSION}$")] = None
    fn_index: Annotated[int | None, Field(ge=0, le=100_000)] = None
    fn_name: Annotated[str | None, Field(max_length=64)] = None
    trigger_id: Annotated[int | None, Field(ge=0, le=100_000)] = None
    component_id: Annotated[int | None, Field(ge=0, le=100_000)] = None


class _PageCall(_Call):
    session_hash: Annotated[str, Field(pattern=rf"^{_SESSION}$")]


class FrameworkMiddleware:
    """Passes on requests for our own routes and for allowed Gradio routes; answers 404 to all others."""

    def __init__(
        self,
        app: ASGIApp,
        own_routes: Sequence[BaseRoute],
        functions: dict[str, set[str]],
        *,
        mcp: bool,
        default_language: LanguageChoice,
    ) -> None:
        """``own_routes`` are our own routes; ``functions`` the parameters of the public functions by their names."""
        self._app = app
        self._own_routes = own_routes
        self._functions = functions
        self._mcp = mcp
        self._default_language = default_language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it: 404 for a path that isn't allowed, 422 for an invalid body."""
        if scope["type"] != "http" or any(each.matches(scope)[0] is not Match.NONE for each in self._own_routes):
            await self._app(scope, receive, send)
        elif scope["path"].startswith(_FILE):
            await self._file(scope, receive, send)
        elif not self._is_served(scope):
            await refusal(scope, 404, _NOT_FOUND, self._default_language)(scope, receive, send)
        elif scope["method"] == "POST" and not self._is_call(scope):
            await refusal(scope, 422, _INVALID_BODY, self._default_language)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        """Whether the raw path is on the list for its method; a path with percent escapes never is."""
        raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        if self._mcp and _MCP_PATHS.fullmatch(raw):
            return True
        served = {"GET": _GET_PATHS, "HEAD": _GET_PATHS, "POST": _POST_PATHS}.get(scope["method"])
        return served is not None and served.fullmatch(raw) is not None

    def _is_call(self, scope: Scope) -> bool:
        """Whether Gradio can handle the body without an internal error."""
        path = scope["path"].rstrip("/")
        if _MCP_PATHS.fullmatch(path):
            return True
        body: Any = scope.get(JSON_BODY)
        if not isinstance(body, dict):
            return False
        if "/call/v2/" in path:
            return set(body) <= self._functions[path.rsplit("/", 1)[1]]
        shape = _PageCall if path.endswith(("/queue/join", "/component_server")) else _Call
        try:
            shape.model_validate(body)
        except ValidationError:
            return False
        return True

    async def _file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a picture that a public function returned, by its random path, which only the caller knows."""
        folder = (Path(get_upload_folder()) / FILES).resolve()
        given = unquote(scope["path"].removeprefix(_FILE))
        try:
            path = Path(given).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            path = folder
        if scope["method"] not in ("GET", "HEAD") or path.suffix != ".png" or folder not in path.parents:
            await refusal(scope, 404, _NOT_FOUND, self._default_language)(scope, receive, send)
            return
        answer = FileResponse(path, media_type="image/png", filename=path.name, headers={"cache-control": "no-store"})
        await answer(scope, receive, send)
