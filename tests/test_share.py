"""The public link: a tunnel that is played, a page that loads nothing from abroad, one sentence where there is none."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio.networking
import httpx
import pytest

from tests.log_state import kept_logging
from tests.ports import free_port
from tests.ui.doubles import QuickPageStudio
from zimage_app import serve
from zimage_app.serve import open_page
from zimage_app.web.middleware import MiddlewareConfig

LINK = "https://0123456789abcdef.gradio.live"


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the app tidies up the common one, and says so
    with kept_logging():
        yield


def tunnel(monkeypatch: pytest.MonkeyPatch, made: Callable[..., str]) -> None:
    monkeypatch.setattr(gradio.networking, "setup_tunnel", made)


def no_tunnel(**options: Any) -> str:
    raise RuntimeError(f"Could not get share link from Gradio API Server for {options['local_port']}.")


@contextlib.contextmanager
def shared(tmp_path: Path) -> Iterator[tuple[Any, str]]:
    port = free_port()
    page = open_page(
        QuickPageStudio(tmp_path), "auto", MiddlewareConfig(), server_name="127.0.0.1", server_port=port, share=True
    )
    try:
        yield page, f"http://127.0.0.1:{port}/"
    finally:
        page.close(verbose=False)


def test_the_tunnel_gets_the_port_and_the_page_loads_nothing_from_abroad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def made(**options: Any) -> str:
        asked.append(options["local_port"])
        return LINK

    tunnel(monkeypatch, made)
    with shared(tmp_path) as (page, address):
        assert page.share_url == LINK
        assert asked == [int(address.rsplit(":", 1)[1].strip("/"))]
        html = httpx.get(address).text
        foreign = [url for url in re.findall(r'(?:src|href)="(https?://[^"]+)"', html) if "127.0.0.1" not in url]
        assert [url for url in foreign if url.endswith((".js", ".css"))] == []
        script = re.search(r'<script [^>]*type="module"[^>]* src="([^"]+)"', html)
        assert script is not None
        assert httpx.get(httpx.URL(address).join(script[1])).status_code == 200
    assert capsys.readouterr().out == ""


def test_without_a_tunnel_the_page_opens_here_and_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tunnel(monkeypatch, no_tunnel)
    monkeypatch.setattr("gradio.Blocks.block_thread", lambda self: self.close(verbose=False))
    port = free_port()
    serve.main(["--share", "--port", str(port), "--outputs", str(tmp_path), "--model", "demo", "--lang", "zh"])
    said = capsys.readouterr()
    assert said.out == f"Z-Image Progressive Studio: http://127.0.0.1:{port}/\n"
    assert [line for line in said.err.splitlines() if "未能建立公开链接" in line] == said.err.splitlines()


def test_the_link_is_printed_beside_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tunnel(monkeypatch, lambda **_: LINK)
    monkeypatch.setattr("gradio.Blocks.block_thread", lambda self: self.close(verbose=False))
    port = free_port()
    serve.main(["--share", "--port", str(port), "--outputs", str(tmp_path), "--model", "demo"])
    assert capsys.readouterr().out == f"Z-Image Progressive Studio: http://127.0.0.1:{port}/, {LINK}\n"


def test_a_space_makes_no_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def made(**options: Any) -> str:
        asked.append(options)
        return LINK

    tunnel(monkeypatch, made)
    monkeypatch.setattr("gradio.Blocks.block_thread", lambda self: self.close(verbose=False))
    monkeypatch.setenv("SPACE_ID", "me/studio")
    serve.main(["--share", "--port", str(free_port()), "--outputs", str(tmp_path), "--model", "demo"])
    assert asked == []
