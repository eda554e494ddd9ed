"""The app's front door: everything that a request passes before page or REST see it, and what it is set up with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.middleware import Middleware

from zimage_app.service.housekeeping import TEMPORARY
from zimage_app.web.access import AccessMiddleware
from zimage_app.web.credentials import Credentials
from zimage_app.web.guard import GuardMiddleware
from zimage_app.web.hosts import Hosts
from zimage_app.web.language import LanguageChoice

_SPACES = "https://huggingface.co"
"""The site that shows Spaces in a frame."""


@dataclass(frozen=True)
class Door:
    """Who may come in, and under which names the app is called."""

    hosts: Hosts = field(default_factory=Hosts)
    credentials: Credentials = field(default_factory=Credentials)
    framed_by: str = ""
    """The one site beside our own that may show the page in a frame."""

    def middleware(self, first: LanguageChoice) -> list[Middleware]:
        """Outermost first."""
        return [
            Middleware(GuardMiddleware, hosts=self.hosts, framed_by=self.framed_by),
            Middleware(AccessMiddleware, credentials=self.credentials, first=first),
        ]


def door(names: Iterable[str], credentials: Credentials, environment: Mapping[str, str]) -> Door:
    """The door of an app that is called by these names too; a Space's environment says its own."""
    space = environment.get("SPACE_HOST")
    framed_by = _SPACES if "SPACE_ID" in environment else ""
    return Door(Hosts([*names, *([space] if space else [])]), credentials, framed_by)


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
