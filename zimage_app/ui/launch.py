"""Starts the page's server: Gradio, the page's own routes, and the caller's routes on the same port.

Settings come as arguments; command line and environment are not read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import http_server
from gradio.route_utils import CustomCORSMiddleware
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from zimage_app.service.setup.network import address_of
from zimage_app.service.studio import Studio
from zimage_app.ui.asset import asset
from zimage_app.ui.canvas.picture_routes import picture_routes
from zimage_app.ui.canvas.workflow_route import workflow_route
from zimage_app.ui.drop.drop import import_routes
from zimage_app.ui.history.history_routes import history_routes
from zimage_app.ui.loras.lora_picker import lora_routes
from zimage_app.ui.many.many_routes import many_routes
from zimage_app.ui.page.fonts import font_faces, font_routes
from zimage_app.ui.page.page import build_page
from zimage_app.ui.page.theme import studio_theme
from zimage_app.ui.queue.queue_routes import queue_routes
from zimage_app.ui.server.api import public_parameters
from zimage_app.ui.server.framework import FrameworkMiddleware
from zimage_app.ui.server.sessions import EventsMiddleware, limit_sessions
from zimage_app.ui.server.visitor import VisitorMiddleware
from zimage_app.ui.start.start_picture import start_routes
from zimage_app.ui.topbar.monitor import monitor_routes
from zimage_app.ui.words.i18n import translations
from zimage_app.web.language import LanguageChoice
from zimage_app.web.middleware import MiddlewareConfig
from zimage_app.web.server import hold_new_connections, server_config
from zimage_app.web.watchdog import Watchdog

_STYLES = (
    "page",
    "actions",
    "canvas",
    "viewer",
    "topbar",
    "queue",
    "prompt",
    "triggers",
    "keyboard",
    "loras",
    "models",
    "negatives",
    "presets",
    "stages",
    "start",
    "size",
    "history",
    "many",
    "mask",
    "drop",
)


def start(
    studio: Studio,
    default_language: LanguageChoice,
    *,
    routes: Sequence[BaseRoute] = (),
    config: MiddlewareConfig,
    mcp: bool = False,
    **network: Any,
) -> gr.Blocks:
    """Start the server in the background and return; ``config.gate`` stays shut until everything is ready.

    ``routes`` are further routes on the same port, such as REST. ``mcp`` offers the public functions as MCP tools.
    ``network`` is passed to ``Blocks.launch``: server_name, server_port and share.
    """
    words = translations(studio.cards())
    with _one_application():
        page = build_page(studio, words, default_language)
    own_routes = [*routes, *page_routes(studio, default_language)]
    middleware = [
        *config.middleware(default_language),
        Middleware(
            FrameworkMiddleware,
            own_routes=own_routes,
            functions=public_parameters(),
            mcp=mcp,
            default_language=default_language,
        ),
        Middleware(EventsMiddleware, page=page, default_language=default_language),
        Middleware(VisitorMiddleware, default_language=default_language),
    ]
    watchdog = Watchdog()
    config.gate.shut()
    with _replaced_server(config.proxies):
        page.launch(
            i18n=words,
            theme=studio_theme(),
            css=font_faces() + "".join(asset(f"{name}.css") for name in _STYLES),
            favicon_path=Path(__file__).parent / "page" / "favicon.svg",
            footer_links=[],
            app_kwargs={
                "openapi_url": None,
                "middleware": middleware,
                "routes": own_routes,
                "lifespan": partial(_watched, watchdog),
            },
            prevent_thread_lock=True,
            quiet=True,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=mcp,
            root_path=config.prefix,
            **network,
        )
    limit_sessions(page)
    config.gate.open()
    return page


@contextmanager
def _one_application() -> Iterator[None]:
    """Build a page without the three web applications that Gradio creates; ``launch`` creates the one that serves."""
    original = App.create_app
    App.create_app = staticmethod(lambda *_, **__: None)  # type: ignore[assignment]
    try:
        yield
    finally:
        App.create_app = staticmethod(original)  # type: ignore[method-assign]


@asynccontextmanager
async def _watched(watchdog: Watchdog, app: object) -> AsyncIterator[None]:
    del app
    watchdog.watch(asyncio.get_running_loop())
    try:
        yield
    finally:
        watchdog.end()


@contextmanager
def _replaced_server(proxies: Sequence[str]) -> Iterator[None]:
    """Replace Gradio's server with one that limits connections and other sites; Gradio has no options for that."""
    original = http_server.start_server

    def start_server(
        app: App, server_name: str | None = None, server_port: int | None = None, *_: object, **__: object
    ) -> tuple[str, int, str, http_server.Server]:
        # Gradio would put this middleware outside the guard, and pages of all sites could read the responses.
        kept = [each for each in app.user_middleware if each.cls != CustomCORSMiddleware]  # type: ignore[comparison-overlap]
        app.user_middleware = kept
        name, port = server_name or "127.0.0.1", server_port or 0
        server = http_server.Server(server_config(app, name.strip("[]"), port, proxies))
        server.run_in_thread()  # type: ignore[no-untyped-call]
        hold_new_connections(server)
        return name, port, f"{address_of(name, port)}/", server

    http_server.start_server = start_server
    try:
        yield
    finally:
        http_server.start_server = original


def page_routes(studio: Studio, default_language: LanguageChoice) -> list[BaseRoute]:
    """Return the routes that the page's own scripts and links use, besides Gradio's."""
    return [
        *font_routes(),
        *picture_routes(studio, default_language),
        workflow_route(studio, default_language),
        *history_routes(studio, default_language),
        *lora_routes(studio, default_language),
        *many_routes(studio, default_language),
        *import_routes(studio, default_language),
        *monitor_routes(studio, default_language),
        *queue_routes(studio, default_language),
        *start_routes(studio, default_language),
    ]
