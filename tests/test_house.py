"""The house itself: formatting, lint, strict types, layers. One run of the tests checks everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CHECKS = {
    "format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "lint": [sys.executable, "-m", "ruff", "check", "."],
    "types": [sys.executable, "-m", "mypy"],
    "layers": [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
}


@pytest.mark.parametrize("name", list(CHECKS))
def test_check(name: str) -> None:
    done = subprocess.run(CHECKS[name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_page_imports_gradio_and_the_domain_no_torch() -> None:
    code = (
        "import sys; import zimage_app.domain.plan, zimage_app.domain.record, zimage_app.domain.events;"
        " assert not {'torch', 'gradio', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    for path in (ROOT / "zimage_app").rglob("*.py"):
        if path.parent.name != "ui":
            assert "import gradio" not in path.read_text(encoding="utf-8"), path


def test_importing_the_package_starts_nothing() -> None:
    code = (
        "import sys, threading; import zimage_app; from zimage_app import GenerationRequest;"
        " assert 'torch' not in sys.modules; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
