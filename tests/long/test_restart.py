"""The server is killed and started again under an open page: the run goes on, and the page finds its picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.ports import free_port
from tests.service import faults
from tests.service.quick import PATIENCE
from tests.ui.conftest import Visit, ask, expect_state

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("politely", [True, False])
def test_a_page_finds_its_picture(visitor: Visit, tmp_path: Path, politely: bool) -> None:
    port = free_port()
    with faults.served(tmp_path, port=port) as (program, _):
        page = visitor(f"http://127.0.0.1:{port}/")
        ask(page, "夕阳下的小船")
        expect_state(page, "running")
        (program.terminate if politely else program.kill)()
        program.wait(PATIENCE)
    with faults.served(tmp_path, port=port):
        # Loaded anew by itself, with the picture, which was made meanwhile or is being made.
        expect(page.locator(".strip .thumb")).to_have_count(1, timeout=120_000)
        expect(page.locator(".canvas")).not_to_have_attribute("data-state", "running")
        expect(page.locator("#knob-prompt textarea")).to_have_value("夕阳下的小船")
        assert len(list(tmp_path.glob("*/*.png"))) == 1
