"""``python app.py``: parses flags, serves page and REST on one port, and prints the address."""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import io
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn
from urllib.parse import urlsplit

from zimage_app.cli import terminal
from zimage_app.cli.flag_errors import flag_error
from zimage_app.domain.errors import RequestError, StudioError, system_reason
from zimage_app.domain.text import Language, Text, visible
from zimage_app.rest.app import rest_routes
from zimage_app.service.diagnostics.housekeeping import start_cleanup
from zimage_app.service.diagnostics.logs import LogSettings, start_logging
from zimage_app.service.library.first_fetch import fetch_first
from zimage_app.service.setup.config import ROOT
from zimage_app.service.setup.network import DEFAULT_PORT, address_of, choose_port
from zimage_app.service.setup.settings import Settings, add_flags, flag_of, load_settings, unknown_variables
from zimage_app.service.setup.space import import_spaces, on_space, on_zero_gpu
from zimage_app.service.studio import Studio
from zimage_app.ui.launch import start
from zimage_app.ui.server.api import require_mcp
from zimage_app.web.credentials import read_credentials
from zimage_app.web.language import LanguageChoice
from zimage_app.web.middleware import MiddlewareConfig, middleware_config, private_folder

_NO_LINK = Text(
    "There is no public link: the tunnel's program can't be fetched, or its server not reached. The page works on this"
    " machine; try again later, or put it behind a proxy of your own with --public.",
    "未能建立公开链接：无法下载隧道程序，或连不上其服务器。页面仍可在本机使用；可稍后再试，"
    "或改用自己的反向代理并加 --public。",
)

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class _AppParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one sentence instead of the usage."""
        said = flag_error(message)
        sentence = Text(f"{said.en}; --help lists what is allowed", f"{said.zh}；--help 列出可用的选项")
        self.exit(2, f"{self.prog}: {sentence.to(_terminal_language('auto'))}\n")


def parse_arguments(arguments: Sequence[str] | None) -> Settings:
    """Settings from flags, environment and file; an unknown flag ends the program with status 2 and one sentence.

    Raises:
        StudioError: a setting is out of bounds; names it, where it was given, and what is allowed.
    """
    parser = _AppParser(prog=_program(), description="Z-Image Progressive Studio: the page.")
    add_flags(parser)
    return load_settings(vars(parser.parse_args(arguments)), os.environ)


def _program() -> str:
    return "zimage app" if Path(sys.argv[0]).stem == "zimage" else "app.py"


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the page and serve it until the process is interrupted."""
    terminal.write_utf8()
    language = _terminal_language("auto")
    try:
        settings = parse_arguments(arguments)
        language = _terminal_language(settings.lang)
        credentials = read_credentials(settings.auth, settings.auth_file, settings.api_key, os.environ)
        credentials = replace(credentials, local_key=secrets.token_hex(32))
        if settings.mcp:
            require_mcp(logins=bool(credentials.users))
        _require_outputs(settings)
        port = choose_port(settings.host, settings.port)
        start_logging(LogSettings(settings.outputs, settings.log_level, settings.log_json))
        if settings.home != ROOT:
            _notify(Text(f"Your folder: {settings.home}", f"数据目录：{settings.home}"), language)
        for text in unknown_variables(os.environ):
            _notify(text, language)
        if settings.fetch:
            fetch_first(settings.config, lambda text: _notify(text, language))
        borrowed = on_zero_gpu(os.environ)
        if borrowed:
            import_spaces()
        studio = Studio(replace(settings.config, borrowed_gpu=borrowed))
        if borrowed:
            studio.prepare()
        studio.start()
    except StudioError as error:
        _notify(error.text, language)
        raise SystemExit(2) from error
    start_cleanup(settings.config)
    with _ending_on_signals():
        try:
            with private_folder():
                _serve(studio, settings, port, middleware_config(settings, credentials, os.environ))
        finally:
            studio.close()


def _require_outputs(settings: Settings) -> None:
    """Make the folder of pictures; raises RequestError where it can't be made or written, but not on a full disk."""
    try:
        settings.outputs.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=settings.outputs):
            pass
    except OSError as error:
        if error.errno in _FULL_DISK:  # pictures are kept in memory until there is room
            return
        below_home = settings.outputs == settings.home / "outputs"
        reason = system_reason(error)
        raise RequestError(
            flag_of("home" if below_home else "outputs"),
            Text(
                f"the folder {settings.outputs} can't be made or written ({reason}); name another, or give access",
                f"无法创建或写入文件夹 {settings.outputs}（{reason}）；请指定其他文件夹，或授予权限",
            ),
        ) from error


class _Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """End the program on SIGTERM, or when its terminal is closed, as on Ctrl+C: the running job goes back to the queue.

    Contexts inside are closed. The interpreter's own teardown is skipped: freeing all objects of a page and a model
    takes seconds, and the system may kill the process before.
    """

    def end(number: int, frame: object) -> NoReturn:
        del number, frame
        raise _Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
            signal.signal(signal.SIGHUP, end)
    try:
        yield
    except _Terminated:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # the terminal was closed
                stream.flush()
        os._exit(0)


def _notify(text: Text, language: Language) -> None:
    sys.stderr.write(f"{visible(text.to(language))}\n")
    sys.stderr.flush()


def _serve(studio: Studio, settings: Settings, port: int, config: MiddlewareConfig) -> None:
    share = settings.share and not on_space(os.environ)  # a Space has a public address already
    network: dict[str, Any] = {"server_name": settings.host, "server_port": port, "share": share}
    page = open_page(studio, settings.lang, config, mcp=settings.mcp, **network)
    gc.freeze()  # these objects live until the end; exclude them from later garbage collections
    gc.enable()
    if page.share_url:
        config.hosts.add(urlsplit(page.share_url).hostname or "")
    elif share:
        _notify(_NO_LINK, _terminal_language(settings.lang))
    # With the name localhost, programs on Windows would first try IPv6 for two seconds.
    studio.announce(address_of(settings.host, port, "127.0.0.1"), config.credentials.local_key)
    public = f", {page.share_url}" if page.share_url else ""
    if settings.port is None and port != DEFAULT_PORT and "GRADIO_SERVER_PORT" not in os.environ:
        public += f" ({DEFAULT_PORT} is taken / 端口 {DEFAULT_PORT} 已被占用)"
    sys.stdout.write(f"Z-Image Progressive Studio: {page.local_url}{public}\n")
    sys.stdout.flush()
    page.block_thread()


def open_page(studio: Studio, default_language: LanguageChoice, config: MiddlewareConfig, **network: Any) -> Any:
    """Serve page and REST on one port behind the middleware; return Gradio's ``Blocks``. ``network`` goes to ``start``.

    With ``share``, the result's ``share_url`` is the public link, or None where it could not be made.
    """
    # Gradio prints several lines about a public link.
    with redirect_stdout(io.StringIO()) if network.get("share") else nullcontext():
        routes = rest_routes(studio, default_language, config.prefix)
        page = start(studio, default_language, routes=routes, config=config, **network)
    # With ``share``, Gradio's page would load a script from another host; the tunnel works without it.
    page.share = False
    return page


def _terminal_language(choice: LanguageChoice) -> Language:
    return terminal.language() if choice == "auto" else choice
