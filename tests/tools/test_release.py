"""Releases: texts without Chinese, the changelog, version and tag."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.release import ROOT, main, without_chinese


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository of the app's form, with something to release."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Nobody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "nobody@example.org")
    domain = tmp_path / "zimage_app" / "domain"
    domain.mkdir(parents=True)
    (domain / "version.py").write_text('__version__ = "0.1.0"\n')
    (domain / "words.py").write_text('A = Text("red", "红")\nB = Text(en="blue", zh="蓝")\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n- Boats.\n\n## 0.1.0 - 2026-01-01\n\n- Begun.\n"
    )
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "All")
    return tmp_path


def test_a_release_has_a_version_a_heading_and_a_tag(checkout: Path) -> None:
    assert main(["0.2.0"], checkout) == 0
    assert (checkout / "zimage_app/domain/version.py").read_text() == '__version__ = "0.2.0"\n'
    assert "## Unreleased\n\n## 0.2.0 - 20" in (checkout / "CHANGELOG.md").read_text()
    assert git(checkout, "tag", "--points-at", "HEAD") == "v0.2.0"
    assert git(checkout, "status", "--porcelain") == ""


def test_what_stands_in_the_way_is_listed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "zimage_app/domain/words.py").write_text(
        'A = Text("red", "红")\nB = Text(\n    "blue"\n)\n', encoding="utf-8"
    )
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-01-01\n\n- Begun.\n")
    assert main(["0.2.0"], checkout) == 1
    assert capsys.readouterr().out.splitlines() == [
        "zimage_app/domain/words.py:2: 'blue' has no Chinese",
        'CHANGELOG.md: nothing stands below "Unreleased"',
        "The tree has changes that are not committed.",
    ]
    assert git(checkout, "tag") == ""


def test_a_version_is_three_numbers(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["two"], checkout) == 2
    assert "three numbers" in capsys.readouterr().err


def test_texts_without_chinese_are_listed() -> None:
    """A contributor who doesn't write Chinese passes, and sees the list; a release has none."""
    if missing := list(without_chinese(ROOT / "zimage_app")):
        pytest.xfail("\n".join(missing))
