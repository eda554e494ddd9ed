"""The house itself: formatting, lint, strict types, layers. One run of the tests checks everything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

CHECKS = {
    "format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "lint": [sys.executable, "-m", "ruff", "check", "."],
    "scripts": [str(Path(sys.executable).with_name("oxlint")), "--deny-warnings", "zimage_app"],
    "container": [str(Path(sys.executable).with_name("hadolint")), "Dockerfile"],
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
        if "ui" not in path.parts:
            assert "import gradio" not in path.read_text(encoding="utf-8"), path


def test_importing_the_package_starts_nothing() -> None:
    code = (
        "import sys, threading; import zimage_app; from zimage_app import GenerationRequest;"
        " assert 'torch' not in sys.modules; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_lock_holds_what_is_required() -> None:
    """``requirements.lock`` says how it is made anew."""
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", _text("requirements.lock"), re.MULTILINE))
    lines = [line for line in _text("requirements.txt").splitlines() if not line.startswith("#")]
    assert len(lines) > 20
    for required in (Requirement(line.partition("#")[0]) for line in lines):
        version = locked[canonicalize_name(required.name)]
        assert required.specifier.contains(version), f"{required}, but {version} is locked"


def test_the_tests_that_security_names_are_there() -> None:
    named = set(re.findall(r"`(?:tests/(?:\w+/)*)?(test_\w+)(?:\.py)?`", _text("docs/SECURITY.md")))
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {path.stem for path in files}.union(*(re.findall(r"def (test_\w+)", _text(path)) for path in files))
    assert len(named) > 40
    assert named <= there, named - there


def _text(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_citations_lead_somewhere() -> None:
    page = (ROOT / "docs" / "HOW-IT-COMPUTES.md").read_text("utf-8")
    sections = set(re.findall(r"^###? ([0-9.]+?)\.? ", page, re.MULTILINE))
    cited = re.compile(r"HOW-IT-COMPUTES\.md\s+sections?\s+([0-9.]+[0-9]|[0-9])(?:\s+and\s+([0-9.]+[0-9]|[0-9]))?")
    found = [cited.findall(path.read_text("utf-8")) for path in (ROOT / "zimage_app").rglob("*.py")]
    numbers = {number for pairs in found for pair in pairs for number in pair if number}
    assert len(numbers) >= 8
    assert numbers <= sections
