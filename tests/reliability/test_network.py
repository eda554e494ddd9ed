"""C10: without a network, and with one that fails in the middle. The app itself runs, and is killed, as a program.

``tests/models/hub`` tests fetching piece by piece; here a person starts the app, fetches, loses power, and goes on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.models.hub.conftest import REPO
from tests.models.hub.fake_hub import FakeHub, Fault, forget_this_machine, serve
from tests.ports import free_port
from tests.service.test_studio import finish
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.models.tiny import write_tiny_model
from zimage_app.service.setup.config import ROOT, StudioConfig
from zimage_app.service.studio import Studio

MODEL = "z-image-turbo"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    host = address[0] if isinstance(address, tuple) else ""
    if self.family != getattr(socket, "AF_UNIX", None) and host not in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):
        with open({log!r}, "a") as log:
            log.write(f"{{address}}\\n")
        raise OSError(101, "Network is unreachable")
    return _connect(self, address)
def getaddrinfo(host, *rest, **more):
    if host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", None, b"127.0.0.1", b"localhost"):
        return _getaddrinfo(host, *rest, **more)
    with open({log!r}, "a") as log:
        log.write(f"{{host}}\\n")
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
_getaddrinfo = socket.getaddrinfo
socket.socket.connect, socket.getaddrinfo = connect, getaddrinfo
"""
"""Python runs this first where it finds it as ``sitecustomize``."""


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)


@contextmanager
def app(folder: Path, models: Path, *flags: str) -> Iterator[str]:
    """app.py on a free port, without a network; gives its address."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(NO_NETWORK.format(log=str(folder / "asked")), encoding="utf-8")
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--outputs", str(folder / "outputs"), *flags]
    environment = os.environ | {"PYTHONPATH": str(folder / "site")}
    command += ["--models-dir", str(models)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert f":{port}/" in process.stdout.readline()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.timeout(180)
def test_c10_the_page_is_up_without_a_network_and_asks_for_nothing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "demo", models / "demo")
    with app(tmp_path, models) as address:
        page = httpx.get(address, timeout=60.0)
        assert page.status_code == 200
        assert "Z-Image" in page.text
        assert httpx.get(f"{address}/health", timeout=60.0).status_code == 200
    assert not (tmp_path / "asked").exists(), (tmp_path / "asked").read_text()


@pytest.mark.timeout(180)
def test_c10_the_page_is_up_beside_a_damaged_model_that_it_would_begin_with(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "demo", models / "demo")
    shutil.copytree(write_tiny_model(tmp_path / "tiny"), models / MODEL)
    (models / MODEL / WEIGHTS).write_bytes(b"<!DOCTYPE html>")
    with app(tmp_path, models) as address:
        assert httpx.get(address, timeout=60.0).status_code == 200


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    """The published model at toy size."""
    folder = write_tiny_model(tmp_path / "published" / "tiny")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "card.yaml")
    with serve(FakeHub({REPO: {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}})) as hub:
        yield hub


@pytest.mark.timeout(300)
def test_c10_a_download_that_was_killed_goes_on_and_one_that_came_wrong_comes_again(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copytree(ROOT / "models" / "demo", models / "demo")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    _killed_in_the_middle(hub, models)
    hub.asked.clear()
    hub.faults[WEIGHTS] = [Fault(garble=True), Fault(cut=1000)]
    with closing(Studio(StudioConfig(models=models, outputs=tmp_path / "outputs"))) as studio:
        assert {view.name: view.state for view in studio.models.views()}[MODEL] == "fetch"
        _fetch(studio)
        rest, whole, *more = hub.ranges(WEIGHTS)
        assert rest.startswith("bytes="), "what had come before the kill is not asked for again"
        assert whole == "", "the rest came wrong, so all of it comes again"
        assert [asked.partition("-")[0] for asked in more] == ["bytes=1000"], "and goes on where it broke off"
        assert {name for name, _ in hub.asked} <= {REPO, *hub.repos[REPO]}, "nothing else is asked for"
        _one_bit_flipped(models / MODEL / TEXT)
        (wrong,) = (verdict for verdict in studio.models.check(MODEL) if not verdict.good)
        assert f"{TEXT} is not what was fetched: delete it and fetch the model again" in wrong.text.en
        (models / MODEL / TEXT).unlink()
        _fetch(studio)
        assert all(verdict.good for verdict in studio.models.check(MODEL))
        request = GenerationRequest(prompt="a", seed=1, stages=(Stage(width=64, height=64, steps=1),))
        made = finish(studio, studio.submit(request, MODEL))
        assert (made.state, made.error) == ("done", None)


def _fetch(studio: Studio) -> None:
    view = studio.models.start(MODEL)
    while not view.ended:
        view = studio.models.wait(view.version, timeout=30.0) or view
    assert (view.state, view.error) == ("done", None)


def _one_bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def _killed_in_the_middle(hub: FakeHub, models: Path) -> None:
    """The app is fetching on its own, and gone with half of the weights on disk."""
    hub.faults[WEIGHTS] = [Fault(hold=threading.Event())]
    code = (
        "from pathlib import Path; from zimage_app.service.studio import Studio;"
        " from zimage_app.service.setup.config import StudioConfig;"
        f" models = Path({str(models)!r});"
        " studio = Studio(StudioConfig(models=models, outputs=models.parent / 'outputs'));"
        f" studio.models.start({MODEL!r}); studio.models._thread.join()"
    )
    growing = models / MODEL / ".fetching"
    half = len(hub.repos[REPO][WEIGHTS]) // 2
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as program:
        while not any(path.stat().st_size >= half for path in growing.glob("*diffusion_pytorch_model*")):
            assert program.poll() is None
            time.sleep(0.05)
        program.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
