"""The middleware that every request passes before page or REST, and its configuration."""

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
"""The site that embeds Spaces in a frame."""
_LOOPBACK = ("127.0.0.1", "::1")
_SPACE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", *_LOOPBACK)
"""Networks that a Space's requests come from: the platform's own."""


@dataclass(frozen=True)
class MiddlewareConfig:
    """Configuration of the middleware: credentials, host names, prefix, proxies."""

    hosts: Hosts = field(default_factory=Hosts)
    credentials: Credentials = field(default_factory=Credentials)
    framed_by: str = ""
    """The one other site that may embed the page in a frame."""
    prefix: str = ""
    """The path below which a proxy serves the app."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies whose ``X-Forwarded-For`` is trusted."""
    gate: Gate = field(default_factory=Gate)

    def middleware(self, default_language: LanguageChoice) -> list[Middleware]:
        """The middleware, outermost first."""
        return [
            Middleware(PrefixMiddleware, prefix=self.prefix),
            Middleware(GuardMiddleware, hosts=self.hosts, framed_by=self.framed_by, gate=self.gate),
            Middleware(TrafficMiddleware, default_language=default_language),
            Middleware(AccessMiddleware, credentials=self.credentials, default_language=default_language),
            Middleware(JsonMiddleware, files=TAKES_FILES, default_language=default_language),
        ]


def middleware_config(settings: Settings, credentials: Credentials, environment: Mapping[str, str]) -> MiddlewareConfig:
    """The configuration for these settings; on a Space, the environment gives its host name."""
    space = environment.get("SPACE_HOST")
    names = [*settings.allow_host, *([space] if space else [])]
    return MiddlewareConfig(
        Hosts(names),
        credentials,
        framed_by=_SPACES if "SPACE_ID" in environment else "",
        prefix=urlsplit(settings.root_path or environment.get("GRADIO_ROOT_PATH", "")).path.rstrip("/"),
        proxies=settings.trusted_proxy or _proxies(settings, environment),
    )


def _proxies(settings: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The proxies that a deployment implies: a Space's networks, or this machine for a share link's tunnel."""
    if "SPACE_ID" in environment:
        return _SPACE_NETWORKS
    return _LOOPBACK if settings.share else ()


@contextmanager
def private_folder() -> Iterator[None]:
    """Keep temporary files of Gradio and all libraries in a private folder, which is deleted at the end."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}-{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = usual
