"""Draws the README's tree: one line per file, with the first sentence of what it says of itself.

python tools/tree.py          prints the tree
python tools/tree.py --write  puts it into README.md
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "```text\n", "```\n"
_FOLDERS = ("zimage_app", "models", "presets", "loras", "outputs", "tools", "benchmarks", "tests", "docs", ".ci")
_TOP = (
    "app.py",
    "README.md",
    "CHANGELOG.md",
    "requirements.txt",
    "requirements.lock",
    "requirements-dev.txt",
    "pyproject.toml",
    "LICENSE",
)
_LEFT_OUT = frozenset({"__pycache__", "__init__.py", "my.yaml", "my"})
_TRACKED_IN = {"models": ("README.md", "demo"), "outputs": ("README.md",), "loras": ("README.md",)}
"""Folders that fill with a user's own files: only these belong to the repository."""
_COLUMN = 42
_WORDS = {
    "README.md": "what stands in this folder",
    "requirements.txt": "what the app needs, in ranges that were checked together",
    "requirements.lock": "the same in one version each, with hashes",
    "requirements-dev.txt": "what the tests need on top",
    "pyproject.toml": "settings of ruff, mypy, pytest and the layer contracts",
    "LICENSE": "Apache-2.0",
    "CHANGELOG.md": "what changed for users",
    "ARCHITECTURE.md": "how it fits together, on one page",
    "GUIDANCE.md": "what leads a picture, how it is computed and what it costs",
    "run": "continuous integration: installs, then the README's test command",
    "model_index.json": "which class each part is",
    "config.json": "a network's shape",
    "generation_config.json": "transformers' own settings",
    "scheduler_config.json": "the model's own shift",
    "tokenizer.json": "the tokenizer",
    "tokenizer_config.json": "the tokenizer's settings",
    "chat_template.jinja": "what is put around a prompt",
    "card.yaml": "title, recommended stages, example prompts",
    "preview.json": "latent to RGB, fitted to this VAE",
    "inpainting.jpg": "a picture, the mask painted on it, what came of it, and a larger canvas",
    "guidance.jpg": "three prompts without guidance, with NAG, with NegPiP and with seed variance",
    "trajectory.jpg": "a picture of three stages, and of one trajectory below it",
    "loras.jpg": "one picture plain and with each of the LoRAs that are shipped",
    "BATCH.md": "many pictures from one file: its forms, the flags, what is kept",
    "GRIDS.md": "settings varied in a grid, what is kept of groups, two settings compared",
    "HOW-IT-COMPUTES.md": "the mathematics that the code cites: schedules, samplers, EasyCache, LoRA",
    "INPAINTING.md": "redrawing a part, larger canvases, one trajectory over all sizes",
    "MODELS.md": "where models come from, and which file to take",
    "demo_prompts.json": "200 prompts and what their pictures must show",
}
_ENDINGS = {
    ".safetensors": "weights",
    ".css": "looks",
    ".js": "behaviour in the browser",
    ".html": "markup",
    ".svg": "a drawing",
    ".jpg": "a screenshot",
    ".png": "a picture",
    ".json": "numbers",
}


def tree() -> str:
    """The whole tree as text."""
    lines = [_line(ROOT / name, 0) for name in _TOP]
    for folder in _FOLDERS:
        lines += _folder(ROOT / folder, 0)
    return "\n".join(lines) + "\n"


def _folder(folder: Path, depth: int) -> Iterator[str]:
    yield f"{'  ' * depth}{folder.name}/"
    entries = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    wanted = _TRACKED_IN.get(folder.name) if depth == 0 else None
    for path in entries:
        if path.name in _LEFT_OUT or path.name.startswith(".") or (wanted is not None and path.name not in wanted):
            continue
        if path.is_dir():
            yield from _folder(path, depth + 1)
        else:
            yield _line(path, depth + 1)


def _line(path: Path, depth: int) -> str:
    if path == ROOT / "README.md":
        return f"{path.name:<{_COLUMN}}this page"
    name = f"{'  ' * depth}{path.name}"
    return f"{name:<{_COLUMN}}{_words(path)}".rstrip()


def _words(path: Path) -> str:
    if path.suffix == ".py":
        return _first_sentence(path)
    if path.parent.name == "golden" and path.name != "README.md":
        return "numbers of the real ComfyUI"
    if path.parent.name == "wildcards" and path.suffix == ".txt":
        return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return _WORDS.get(path.name) or _ENDINGS.get(path.suffix, "")


def _first_sentence(path: Path) -> str:
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    joined = " ".join(first.split())
    return re.split(r"(?<!al)[.;](?:\s|$)", joined)[0].replace("``", "`")


def replaced(readme: str) -> str:
    """The README with today's tree in it."""
    start = readme.index(BEGIN) + len(BEGIN)
    return readme[:start] + tree() + readme[readme.index(END, start) :]


def main(arguments: list[str]) -> int:
    """Print the tree, or write it."""
    path = ROOT / "README.md"
    if arguments == ["--write"]:
        path.write_text(replaced(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write(tree())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
