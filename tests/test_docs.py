"""The documents: links lead somewhere, pictures exist, and the folders that are named are those that there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tools.docs_pages import DOCS, described_roles
from tools.docs_pages import PAGES as MADE
from tools.licences import direct
from zimage_app.service.imports.comfy.roles import ROLES
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.setup.config import StudioConfig

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "presets", "loras", "models", "outputs", "tools", "benchmarks", "tests", "zimage_app", ".github")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))],
    key=lambda path: path.as_posix(),
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in addresses, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text("utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_preset_that_a_page_names_can_be_loaded() -> None:
    pages = "\n".join(page.read_text("utf-8") for page in PAGES)
    names = set(re.findall(r"--preset ([a-z0-9][\w-]*)", pages))
    assert len(names) > 1
    presets = PresetLibrary(*StudioConfig().preset_folders)
    for name in names:
        assert presets.load(name).problem is None, name


def test_every_page_can_be_found_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in _LINK.findall(page.read_text("utf-8")))
        waiting += [path for link in links if link and (path := (page.parent / link).resolve()).is_file()]
    assert set((ROOT / "docs").glob("*.md")) <= seen


@pytest.mark.parametrize("name", MADE)
def test_a_page_that_is_made_from_the_apps_tables_is_todays(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == MADE[name](), "python tools/docs_pages.py --write"


def test_the_page_of_nodes_says_what_becomes_of_each() -> None:
    assert described_roles() == set(ROLES)


def test_the_folders_in_the_architecture_are_those_that_there_are() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    (tree,) = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    named = set(_folders(tree))
    package = ROOT / "zimage_app"
    there = {
        path.parent.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.suffix in (".py", ".yaml", ".js")
    }
    assert len(there) > 40
    assert there == {name for name in named if name.startswith("zimage_app") and name != "zimage_app/models/configs"}
    assert all((ROOT / name).is_dir() for name in named)


def test_every_package_that_is_asked_for_has_its_licence() -> None:
    text = (ROOT / "docs" / "LICENCES.md").read_text("utf-8")
    asked, needed = (
        re.findall(r"^\| ([\w.-]+) \| (.*) \|$", part, re.MULTILINE)[1:] for part in text.split("\n## ")[1:]
    )
    assert [name for name, _ in asked] == [canonicalize_name(each.name) for each in direct()]
    assert len(needed) > 20
    assert all(licence.strip() for _, licence in (*asked, *needed))


def test_the_documents_become_a_site_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement of another program
    done = subprocess.run(build, cwd=ROOT, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / name).is_file() for name in ("index.html", "zh.html", "presets/index.html", "FAQ.html"))
    page = (tmp_path / "index.html").read_text("utf-8")
    loaded = re.findall(r'<script src="([^"]+)"|<link rel="stylesheet" href="([^"]+)"', page)
    assert loaded
    assert not [address for pair in loaded for address in pair if "//" in address]


def _folders(tree: str) -> list[str]:
    """The folders of a tree that is drawn by indentation; several may stand on one line."""
    above: list[str] = []
    found = []
    for line in tree.splitlines():
        names = re.findall(r"(?:^|\s)([\w/]+)/(?=\s|$)", line[:27] if "  canvas/" not in line else line)
        depth = (len(line) - len(line.lstrip())) // 2
        if not names or depth > len(above):
            continue
        above[depth:] = [names[-1]]
        found += ["/".join([*above[:depth], name]) for name in names]
    return found
