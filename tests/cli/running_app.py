"""A running app that commands find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.ui.conftest import served
from zimage_app.service.studio import Studio
from zimage_app.web.credentials import Credentials
from zimage_app.web.middleware import MiddlewareConfig

_KEY = "0" * 64


@contextmanager
def announced(studio: Studio) -> Iterator[None]:
    """Serve an app behind a password, as app.py does: its user's own programs need none."""
    config = MiddlewareConfig(credentials=Credentials({"anna": "correct horse"}, local_key=_KEY))
    with served(studio, config) as address:
        studio.start()
        studio.announce(address.rstrip("/"), _KEY)
        yield
