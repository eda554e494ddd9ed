"""Makes a release: the version, the changelog's heading, a commit and a tag.

python tools/release.py          lists the problems that prevent a release
python tools/release.py 0.2.0    makes the release if there are no problems
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_UNRELEASED = "## Unreleased\n"


def without_chinese(folder: Path) -> Iterator[str]:
    """``file:line: text`` of each ``Text`` in the Python files below a folder that has no Chinese."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Text":
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                if len(given) < 2 and not isinstance(given[0], ast.Starred):
                    yield f"{path.relative_to(folder.parent)}:{node.lineno}: {ast.unparse(given[0])} has no Chinese"


def problems(root: Path) -> list[str]:
    """Return the problems that prevent a release of this tree."""
    found = list(without_chinese(root / "zimage_app"))
    if not unreleased(root):
        found.append('CHANGELOG.md: nothing stands below "Unreleased"')
    if _git(root, "status", "--porcelain"):
        found.append("The tree has changes that are not committed.")
    return found


def unreleased(root: Path) -> str:
    """Return the changelog's text for the next release."""
    _, _, rest = (root / "CHANGELOG.md").read_text("utf-8").partition(_UNRELEASED)
    return rest.partition("\n## ")[0].strip()


def release(root: Path, version: str, day: date) -> None:
    """Write the version and the changelog's heading, commit both and tag the commit."""
    changelog, source = root / "CHANGELOG.md", root / "zimage_app" / "domain" / "version.py"
    heading = f"{_UNRELEASED}\n## {version} - {day.isoformat()}\n"
    changelog.write_text(changelog.read_text("utf-8").replace(_UNRELEASED, heading, 1), encoding="utf-8")
    text = source.read_text("utf-8")
    source.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', text), encoding="utf-8")
    _git(root, "commit", "--quiet", "--message", f"Version {version}", "--", str(changelog), str(source))
    _git(root, "tag", "--annotate", f"v{version}", "--message", f"Version {version}")


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Print the problems; with a version and without problems, make the release."""
    found = problems(root)
    sys.stdout.writelines(f"{line}\n" for line in found)
    if found or not arguments:
        return 1 if found else 0
    if not _VERSION.fullmatch(arguments[0]):
        sys.stderr.write(f"{arguments[0]}: a version is three numbers, as in 0.2.0\n")
        return 2
    release(root, arguments[0], date.today())
    return 0


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
