"""Importing Gradio for the page writes no type stubs, and its components work the same."""

from __future__ import annotations

import subprocess
import sys

_STUBS_OF_AN_UNKNOWN_CLASS = """
import sys
import {first}
import gradio.component_meta
try:
    gradio.component_meta.create_or_modify_pyi(gradio.Textbox, "Unknown", [])
except ValueError:
    sys.exit("the source of the class was looked for")
class Field(gradio.Textbox):
    EVENTS = ["change"]
with gradio.Blocks():
    gradio.Button("x").click(lambda text: text, gradio.Textbox(), Field())
"""


def _run(first: str) -> subprocess.CompletedProcess[str]:
    program = _STUBS_OF_AN_UNKNOWN_CLASS.format(first=first)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)


def test_components_are_made_without_stubs() -> None:
    run = _run("zimage_app.ui")
    assert run.returncode == 0, run.stderr


def test_gradio_itself_looks_for_the_source() -> None:
    """Otherwise ``zimage_app.ui.gradio_import`` is needed no longer."""
    assert "the source of the class was looked for" in _run("gradio").stderr
