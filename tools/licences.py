"""Generates docs/LICENCES.md: the licences of the app's dependencies, from their own metadata.

python tools/licences.py          prints the page
python tools/licences.py --write  puts it into docs/
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "LICENCES.md"
_INTRO = """# Licences of packages / 依赖包的许可

The app is under Apache-2.0 ([LICENSE](../LICENSE)) and contains no code of others; its font, IBM Plex Sans, is under
the SIL Open Font License 1.1 ([OFL.txt](../zimage_app/ui/page/fonts/OFL.txt)). It runs with these packages, which
`pip` installs and which have licences of their own; each licence is what the package itself says.
`python tools/licences.py --write` makes this page again. PyTorch's CUDA build brings NVIDIA's libraries along, which
are under NVIDIA's licence. Models have licences of their own too: see the page of the hub that each is fetched from.

本程序采用 Apache-2.0 许可，不含他人的代码；界面字体 IBM Plex Sans 采用 SIL OFL 1.1 许可。
运行时由 `pip` 安装下列依赖包，许可以各包自身的说明为准。
CUDA 版 PyTorch 会一并安装 NVIDIA 的库，适用 NVIDIA 的许可。模型另有各自的许可，见其发布页面。
"""
_LONGEST = 60
"""Maximum characters of a licence's name; some packages have the licence's whole text in that field."""


def direct() -> list[Requirement]:
    """Return the requirements of requirements.txt, in its order."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def page() -> str:
    """Return the page for the packages installed on this machine."""
    own = [canonicalize_name(each.name) for each in direct()]
    others = sorted(_needed(direct()) - set(own))
    return "\n".join([_INTRO, *_table("Asked for / 直接依赖", own), *_table("Needed by those / 间接依赖", others)])


def licence_of(package: Distribution) -> str:
    """Return the licence's name from the first of: licence expression, short licence text, classifiers."""
    metadata = package.metadata
    expression, short = (str(*(metadata.get_all(name) or ())[:1]).strip() for name in ("License-Expression", "License"))
    if expression:
        return expression
    if short not in ("", "UNKNOWN") and "\n" not in short and len(short) <= _LONGEST:
        return short
    marks = [
        each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier") or () if each.startswith("License ::")
    ]
    return ", ".join(mark for mark in marks if mark != "OSI Approved") or "see the package"


def _table(title: str, names: Sequence[str]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| package | licence |"
    yield "|---|---|"
    yield from (f"| {name} | {licence_of(distribution(name))} |" for name in names)
    yield ""


def _needed(wanted: list[Requirement]) -> set[str]:
    """Return the packages and all their dependencies that apply on this machine."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(wanted)
    while waiting:
        each = waiting.pop()
        found = canonicalize_name(each.name), frozenset(each.extras)
        if found in seen:
            continue
        seen.add(found)
        lines = (Requirement(line) for line in distribution(each.name).requires or ())
        waiting += [line for line in lines if _applies(line, ("", *each.extras))]
    return {name for name, _ in seen}


def _applies(line: Requirement, extras: tuple[str, ...]) -> bool:
    return line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in extras)


def main(arguments: list[str]) -> int:
    """Print the page, or write it."""
    if arguments == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
