"""``python app.py``: flags, page and REST on one port, the line with the address. Decides nothing about pictures."""

from __future__ import annotations

import argparse
import locale
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from zimage_app.domain.errors import StudioError
from zimage_app.domain.text import Language, language_named
from zimage_app.rest.app import rest_routes
from zimage_app.service.backend import Backend
from zimage_app.service.config import ROOT, StudioConfig, comfyui_from_environment
from zimage_app.service.limits import HOME
from zimage_app.service.network import DEFAULT_PORT, choose_port
from zimage_app.service.studio import Studio
from zimage_app.ui.launch import start
from zimage_app.web.credentials import API_KEY, AUTH, read_credentials
from zimage_app.web.door import Door, door, private_folder
from zimage_app.web.language import LanguageChoice


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
    _add_door_flags(parser)
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
    parser.add_argument(
        "--time-limit",
        type=_seconds,
        default=HOME.seconds,
        metavar="SECONDS",
        help=f"how long one picture may take (default: {HOME.seconds:g}; 0: as long as it takes)",
    )
    parser.add_argument("--lang", choices=("auto", "zh", "en"), default="auto", help="language of the page at first")
    return parser.parse_args(arguments)


def _add_door_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--public", action="store_true", help="visitors are strangers to each other, as on a shared link"
    )
    parser.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD", help=f"ask for a login; better in {AUTH}"
    )
    parser.add_argument("--auth-file", type=Path, metavar="FILE", help="logins, one USER:PASSWORD a line")
    parser.add_argument("--api-key", metavar="KEY", help=f"ask programs at /api for this key; better in {API_KEY}")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to this name too, behind a proxy"
    )


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; use a whole number from 1 to 65535")
    return port


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a time; use seconds, or 0 for no limit")
    return seconds or None


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
        shared=options.share or options.public or "SPACE_ID" in os.environ,
    )
    config = replace(config, limits=replace(config.allowed, seconds=options.time_limit))
    try:
        credentials = read_credentials(options.auth, options.auth_file, options.api_key, os.environ)
        port = choose_port(options.host, options.port)
        studio = Studio(config)
    except StudioError as error:
        sys.stderr.write(f"{error.to(language)}\n")
        raise SystemExit(2) from error
    _end_on_sigterm()
    try:
        studio.resume()
        with private_folder():
            _serve(studio, options, port, door(options.allow_host, credentials, os.environ))
    finally:
        studio.close()


def _end_on_sigterm() -> None:
    """Let the system's polite request end the program as Ctrl+C does: the running job goes back to the queue."""

    def end(number: int, frame: object) -> NoReturn:
        del number, frame
        raise SystemExit(0)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)


def _serve(studio: Studio, options: argparse.Namespace, port: int, entry: Door) -> None:
    network = {"server_name": options.host, "server_port": port, "share": options.share}
    page = open_page(studio, options.lang, entry, **network)
    if page.share_url:
        entry.hosts.add(urlsplit(page.share_url).hostname or "")
    public = f", {page.share_url}" if options.share and page.share_url else ""
    if options.port is None and port != DEFAULT_PORT and "GRADIO_SERVER_PORT" not in os.environ:
        public += f" ({DEFAULT_PORT} is taken / 端口 {DEFAULT_PORT} 已被占用)"
    sys.stdout.write(f"Z-Image Progressive Studio: {page.local_url}{public}\n")
    sys.stdout.flush()
    # With share on, Gradio serves a page that loads its script from abroad; the tunnel works as well with our own.
    page.share = False
    page.block_thread()


def open_page(studio: Backend, first: LanguageChoice, entry: Door, **network: Any) -> Any:
    """Page and REST on one port behind one door; gives Gradio's ``Blocks``. ``network`` is that of ``start``."""
    return start(studio, first, routes=rest_routes(studio, first), middleware=entry.middleware(first), **network)


def _terminal_language(choice: LanguageChoice) -> Language:
    if choice != "auto":
        return choice
    return language_named(locale.getlocale()[0])
