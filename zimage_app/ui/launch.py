"""``python app.py``: flags, server, the line with the address. Knows the page only as a whole."""

from __future__ import annotations

import argparse
import errno
import locale
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
from starlette.middleware import Middleware

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Language, Text, language_named
from zimage_app.service.backend import Backend
from zimage_app.service.config import ROOT, StudioConfig, comfyui_from_environment
from zimage_app.service.studio import Studio
from zimage_app.ui.asset import asset
from zimage_app.ui.drop import import_routes
from zimage_app.ui.i18n import translations
from zimage_app.ui.lora_picker import lora_routes
from zimage_app.ui.page import build_page
from zimage_app.ui.routes import picture_routes
from zimage_app.ui.theme import studio_theme
from zimage_app.ui.visitor import VisitorMiddleware
from zimage_app.web.language import LanguageChoice

DEFAULT_PORT = 7860
_PORTS_TO_TRY = 100
_WATCHERS = 128
"""Threads for handlers: each open page that watches a run holds one."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence instead of the usage."""
        self.exit(2, f"{self.prog}: {message}; --help lists what is allowed\n")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags of ``app.py``; ends the program with status 2 and one sentence for bad ones."""
    parser = _Parser(prog="app.py", description="Z-Image Progressive Studio: the page.")
    on_space = "SPACE_ID" in os.environ
    parser.add_argument("--model", help="model to start with; the names are those of the page's selector")
    parser.add_argument("--host", default="0.0.0.0" if on_space else "127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, help=f"port (default: {DEFAULT_PORT}, or the next free one)")
    parser.add_argument("--share", action="store_true", help="make a temporary public link")
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs", metavar="DIR", help="where pictures go")
    parser.add_argument("--loras", type=Path, default=ROOT / "loras", metavar="DIR", help="where LoRAs lie")
    parser.add_argument("--offline", action="store_true", help="never use the network")
    parser.add_argument(
        "--comfyui",
        type=Path,
        default=comfyui_from_environment(),
        metavar="DIR",
        help="a ComfyUI whose models are offered too (default: ZIMAGE_COMFYUI)",
    )
    parser.add_argument("--lang", choices=("auto", "zh", "en"), default="auto", help="language of the page at first")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; use a whole number from 1 to 65535")
    return port


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the page and stay until it is interrupted."""
    options = parse_arguments(arguments)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    language = _terminal_language(options.lang)
    config = StudioConfig(
        outputs=options.outputs,
        loras=options.loras,
        model=options.model,
        offline=options.offline,
        comfyui=options.comfyui,
        shared=options.share or "SPACE_ID" in os.environ,
    )
    try:
        port = choose_port(options.host, options.port)
        studio = Studio(config)
    except StudioError as error:
        sys.stderr.write(f"{error.to(language)}\n")
        raise SystemExit(2) from error
    try:
        _serve(studio, options, port)
    finally:
        studio.close()


def _serve(studio: Studio, options: argparse.Namespace, port: int) -> None:
    page = start(studio, options.lang, server_name=options.host, server_port=port, share=options.share)
    public = f", {page.share_url}" if options.share and page.share_url else ""
    if options.port is None and port != DEFAULT_PORT and "GRADIO_SERVER_PORT" not in os.environ:
        public += f" ({DEFAULT_PORT} is taken / 端口 {DEFAULT_PORT} 已被占用)"
    sys.stdout.write(f"Z-Image Progressive Studio: {page.local_url}{public}\n")
    sys.stdout.flush()
    # With share on, Gradio serves a page that loads its script from abroad; the tunnel works as well with our own.
    page.share = False
    page.block_thread()


def start(studio: Backend, first: LanguageChoice, **network: Any) -> gr.Blocks:
    """Open the port and return; ``network`` is server_name, server_port and share of ``Blocks.launch``."""
    words = translations(studio.cards())
    page = build_page(studio, words, first)
    page.launch(
        i18n=words,
        theme=studio_theme(),
        css=asset("page.css")
        + asset("loras.css")
        + asset("models.css")
        + asset("negatives.css")
        + asset("presets.css")
        + asset("drop.css"),
        favicon_path=Path(__file__).parent / "assets" / "favicon.svg",
        max_threads=_WATCHERS,
        footer_links=[],
        app_kwargs={
            "openapi_url": None,
            "middleware": [Middleware(VisitorMiddleware, first=first)],
            "routes": [*picture_routes(studio, first), *lora_routes(studio, first), *import_routes(studio, first)],
        },
        prevent_thread_lock=True,
        quiet=True,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        **network,
    )
    return page


def choose_port(host: str, asked: int | None) -> int:
    """The port to open: the one asked for, or the first free one from the default on.

    Raises:
        StudioError: the port asked for is taken, none is free, or the host isn't this machine's.
    """
    given = asked if asked is not None else _environment_port()
    ports = [given] if given is not None else range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TO_TRY)
    for port in ports:
        if _is_free(host, port):
            return port
    if given is None:
        text = Text(
            f"No port from {ports[0]} to {ports[-1]} is free; choose another with --port.",
            f"{ports[0]} 到 {ports[-1]} 的端口都被占用，请用 --port 指定其他端口。",
        )
    else:
        text = Text(
            f"Port {given} is taken; close the other program, choose another port with --port,"
            " or leave --port out for the next free one.",
            f"端口 {given} 已被占用；请关闭占用它的程序，用 --port 换一个端口，或不写 --port 以自动选择。",
        )
    raise StudioError(text)


def _environment_port() -> int | None:
    given = os.environ.get("GRADIO_SERVER_PORT", "")
    return int(given) if given.isdigit() else None


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            reason = error.strerror or str(error)
            raise StudioError(
                Text(
                    f"The page can't listen on --host {host}: {reason}; use 127.0.0.1 for this machine only"
                    " or 0.0.0.0 for the whole network.",
                    f"无法监听 --host {host}：{reason}；仅本机使用请填 127.0.0.1，局域网访问请填 0.0.0.0。",
                )
            ) from error
    return True


def _terminal_language(choice: LanguageChoice) -> Language:
    if choice != "auto":
        return choice
    return language_named(locale.getlocale()[0])
