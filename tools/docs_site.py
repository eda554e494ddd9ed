"""mkdocs hooks (``mkdocs.yml``): add the repository's READMEs to the site, and rewrite their links."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
TOP = {"index.md": "README.md", "zh.md": "README.zh-CN.md"}
"""Page of the site -> file in the repository."""
OTHERS = (
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "benchmarks/README.md",
    "deploy/nginx.conf",
    "deploy/zimage.service",
    "loras/README.md",
    "models/README.md",
    "outputs/README.md",
    "presets/README.md",
    "tools/demo_model/README.md",
    "zimage_app/ui/page/fonts/OFL.txt",
)
"""Files with the same path on the site as in the repository."""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/."""
    for there, here in {**TOP, **{name: name for name in OTHERS}}.items():
        files.append(File.generated(config, there, abs_src_path=str(ROOT / here)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the site's pages instead of the repository's files."""
    del config, files
    name = page.file.src_uri
    here = TOP.get(name) or (name if name in OTHERS else f"docs/{name}")

    def moved(link: re.Match[str]) -> str:
        target = (ROOT / here).parent.joinpath(link[1]).resolve().relative_to(ROOT).as_posix()
        there = next((ours for ours, theirs in TOP.items() if theirs == target), target.removeprefix("docs/"))
        return "../" * name.count("/") + there

    return _LINK.sub(moved, markdown)
