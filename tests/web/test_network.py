"""The app opens no connection of its own in any mode, whatever is asked of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.service import faults
from tests.web.attacks import finish_a_job, visit

ROOT = Path(__file__).parents[2]
MODES = {
    "home": [],
    "strangers": ["--public", "--host", "0.0.0.0"],
    "logins": ["--auth", "anna:correct horse", "--offline"],
}
BAIT = "http://192.0.2.1/x.png"
"""An address that nobody has."""
ASKED = (
    *(f"/gradio_api/{way}{BAIT}" for way in ("file=", "file/", "proxy=", "stream/", "custom_component/")),
    *("/", "/config", "/docs", "/api/openapi.json", "/gradio_api/info", "/gradio_api/openapi.json", "/api/models"),
    *("/api/loras", "/api/presets", "/api/system/status", "/monitor.json", "/monitor/details.json", "/loras.json"),
    *("/pwa_icon/64", "/manifest.json", "/robots.txt", "/theme.css", "/history"),
)


@pytest.mark.parametrize("mode", MODES)
def test_no_connection_leaves_this_machine(tmp_path: Path, mode: str) -> None:
    notes, port = tmp_path / "notes", free_port()
    flags = [*MODES[mode], "--port", str(port), "--outputs", str(tmp_path / "outputs")]
    program = subprocess.Popen([sys.executable, "-m", "tests.web.guarded", str(notes), *flags], cwd=ROOT)
    auth = ("anna", "correct horse") if mode == "logins" else None
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=auth, timeout=60, trust_env=False) as client:
            faults.until_answered(client)
            for path in ASKED:
                assert client.get(path).status_code < 500, path
            visit(client)
            body = {**faults.BODY, "model": BAIT}
            assert client.post("/api/generate", json=body).status_code == 422
            client.post("/gradio_api/call/generate", json={"data": [BAIT, 1, BAIT, "", False]})
            file = {"path": BAIT, "url": BAIT, "meta": {"_type": "gradio.FileData"}}
            client.post("/gradio_api/run/predict", json={"data": [file], "fn_index": 0})
            finish_a_job(client)
    finally:
        program.terminate()
        program.wait(60)
    assert not notes.exists(), notes.read_text()


def test_the_guard_sees_what_goes_out(tmp_path: Path) -> None:
    code = (
        "import socket, sys; from pathlib import Path; from tests.web.guarded import guard; guard(Path(sys.argv[1]))\n"
        "for way, to in ((socket.create_connection, ('192.0.2.1', 80)), (socket.gethostbyname, 'a.example')):\n"
        "    try: way(to)\n"
        "    except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "notes")], cwd=ROOT, check=True)
    assert len((tmp_path / "notes").read_text().splitlines()) >= 2
