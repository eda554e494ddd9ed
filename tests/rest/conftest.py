"""REST as a program calls it: over HTTP, in this process, with a studio that draws gradients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.ui.doubles import QuickPageStudio
from zimage_app.rest.app import rest_routes


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[QuickPageStudio]:
    """At home, quick."""
    studio = QuickPageStudio(tmp_path, step_seconds=0.005)
    yield studio
    studio.settle()
    studio.close()


@pytest.fixture
def client(studio: QuickPageStudio) -> TestClient:
    """A caller who keeps no cookies and reads English."""
    return TestClient(Starlette(routes=rest_routes(studio, "auto")), base_url="http://127.0.0.1")
