"""The repository as a Hugging Face Space: its front matter, and the app told by its environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.ports import free_port

ROOT = Path(__file__).parents[1]
_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


@pytest.fixture(scope="module")
def front() -> dict[str, str]:
    head = re.match(r"---\n(.*?)\n---\n", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert head is not None, "a Space's README begins with its front matter"
    data: dict[str, str] = yaml.safe_load(head[1])
    return data


def test_the_front_matter_is_what_spaces_take(front: dict[str, str]) -> None:
    assert front["sdk"] == "gradio"
    assert (ROOT / front["app_file"]).is_file()
    assert {front["colorFrom"], front["colorTo"]} <= _COLOURS
    assert len(front["short_description"]) <= 60
    assert front["python_version"] in ("3.12.12", "3.10.13")  # what ZeroGPU has


def test_the_space_s_gradio_is_one_that_was_checked(front: dict[str, str]) -> None:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    (gradio,) = (Requirement(line.partition("#")[0]) for line in lines if line.startswith("gradio"))
    assert gradio.specifier.contains(front["sdk_version"])


@pytest.mark.timeout(300)
def test_a_space_on_a_cpu_serves_the_demo_model_in_public_mode(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ZIMAGE_", "GRADIO_"))}
    environment |= {"SPACE_ID": "me/studio", "SPACE_HOST": "me-studio.hf.space", "ZIMAGE_DATA": str(tmp_path)}
    command = [sys.executable, "app.py", "--port", "0"]
    refused = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")

    environment["ZIMAGE_PORT"] = str(free_port())
    with subprocess.Popen(command[:2], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        try:
            address = re.search(r"http://\S+", app.stdout.readline())
            assert address is not None
            local = f"http://127.0.0.1:{environment['ZIMAGE_PORT']}"
            with urllib.request.urlopen(f"{local}/health", timeout=30) as answer:
                assert json.load(answer)["status"] == "healthy"
            visit = urllib.request.Request(f"{local}/monitor.json", headers={"host": "me-studio.hf.space"})
            with urllib.request.urlopen(visit, timeout=30) as answer:
                assert json.load(answer) == {"chips": [], "details": False}
        finally:
            app.terminate()
    assert (tmp_path / "outputs").is_dir()
