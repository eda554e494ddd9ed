"""The page's server: everything that the page needs, and what others want on the same port. Reads no flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from zimage_app.service.backend import Backend
from zimage_app.ui.asset import asset
from zimage_app.ui.drop import import_routes
from zimage_app.ui.history_routes import history_routes
from zimage_app.ui.i18n import translations
from zimage_app.ui.lora_picker import lora_routes
from zimage_app.ui.monitor import monitor_routes
from zimage_app.ui.page import build_page
from zimage_app.ui.routes import picture_routes
from zimage_app.ui.start_picture import start_routes
from zimage_app.ui.theme import studio_theme
from zimage_app.ui.visitor import VisitorMiddleware
from zimage_app.web.language import LanguageChoice

_STYLES = (
    "page",
    "topbar",
    "prompt",
    "triggers",
    "keyboard",
    "loras",
    "models",
    "negatives",
    "presets",
    "stages",
    "start",
    "history",
    "mask",
    "drop",
)
_WATCHERS = 128
"""Threads for handlers: each open page that watches a run holds one."""


def start(
    studio: Backend,
    first: LanguageChoice,
    *,
    routes: Sequence[BaseRoute] = (),
    middleware: Sequence[Middleware] = (),
    mcp: bool = False,
    **network: Any,
) -> gr.Blocks:
    """Open the port and return.

    ``routes`` are others' on the same port, ``middleware`` stands before everything, ``mcp`` offers the public
    functions as MCP tools, and ``network`` is server_name, server_port and share of ``Blocks.launch``.
    """
    words = translations(studio.cards())
    page = build_page(studio, words, first)
    page.launch(
        i18n=words,
        theme=studio_theme(),
        css="".join(asset(f"{name}.css") for name in _STYLES),
        favicon_path=Path(__file__).parent / "assets" / "favicon.svg",
        max_threads=_WATCHERS,
        footer_links=[],
        app_kwargs={
            "openapi_url": None,
            "middleware": [*middleware, Middleware(VisitorMiddleware, first=first)],
            "routes": [*routes, *page_routes(studio, first)],
        },
        prevent_thread_lock=True,
        quiet=True,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=mcp,
        **network,
    )
    return page


def page_routes(studio: Backend, first: LanguageChoice) -> list[BaseRoute]:
    """What the page's own scripts and links ask for, beside Gradio's routes."""
    return [
        *picture_routes(studio, first),
        *history_routes(studio, first),
        *lora_routes(studio, first),
        *import_routes(studio, first),
        *monitor_routes(studio, first),
        *start_routes(studio, first),
    ]
