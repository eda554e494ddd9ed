"""The app's front door: everything that a request passes before page or REST see it, and what it is set up with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.middleware import Middleware

from zimage_app.service.diagnostics.housekeeping import TEMPORARY
from zimage_app.service.setup.settings import Settings
from zimage_app.web.access import AccessMiddleware
from zimage_app.web.credentials import Credentials
from zimage_app.web.guard import TAKES_FILES, Gate, GuardMiddleware
from zimage_app.web.hosts import Hosts
from zimage_app.web.json_bodies import JsonMiddleware
from zimage_app.web.language import LanguageChoice
from zimage_app.web.prefix import PrefixMiddleware
from zimage_app.web.traffic import TrafficMiddleware

_SPACES = "https://huggingface.co"
"""The site that shows Spaces in a frame."""
_LOOPBACK = ("127.0.0.1", "::1")
_SPACE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", *_LOOPBACK)
"""Where a Space's requests come from: the platform's own network."""


@dataclass(frozen=True)
class Door:
    """Who may come in, and under which names the app is called."""

    hosts: Hosts = field(default_factory=Hosts)
    credentials: Credentials = field(default_factory=Credentials)
    framed_by: str = ""
    """The one site beside our own that may show the page in a frame."""
    prefix: str = ""
    """The path that the app is reached below."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks whose word is taken for who asks."""
    gate: Gate = field(default_factory=Gate)

    def middleware(self, first: LanguageChoice) -> list[Middleware]:
        """Outermost first."""
        return [
            Middleware(PrefixMiddleware, prefix=self.prefix),
            Middleware(GuardMiddleware, hosts=self.hosts, framed_by=self.framed_by, gate=self.gate),
            Middleware(TrafficMiddleware, first=first),
            Middleware(AccessMiddleware, credentials=self.credentials, first=first),
            Middleware(JsonMiddleware, files=TAKES_FILES, first=first),
        ]


def door(settings: Settings, credentials: Credentials, environment: Mapping[str, str]) -> Door:
    """The door of an app with these settings; a Space's environment says its name."""
    space = environment.get("SPACE_HOST")
    names = [*settings.allow_host, *([space] if space else [])]
    return Door(
        Hosts(names),
        credentials,
        framed_by=_SPACES if "SPACE_ID" in environment else "",
        prefix=urlsplit(settings.root_path or environment.get("GRADIO_ROOT_PATH", "")).path.rstrip("/"),
        proxies=settings.trusted_proxy or _proxies(settings, environment),
    )


def _proxies(settings: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The proxies that come with the way the app is reached: a Space's, and the tunnel's program on this machine."""
    if "SPACE_ID" in environment:
        return _SPACE_NETWORKS
    return _LOOPBACK if settings.share else ()


@contextmanager
def private_folder() -> Iterator[None]:
    """Have Gradio and every library keep temporary files in a folder of this app's own, which ends with it."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}-{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = usual
