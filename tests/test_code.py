"""X3: nothing in the tree runs what it was given: no pickles, no eval, no loaders of objects, no unescaped HTML."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sorted(
    [ROOT / "app.py", *(path for name in ("zimage_app", "benchmarks", "tools") for path in (ROOT / name).rglob("*.py"))]
)
ASSETS = sorted(path for path in (ROOT / "zimage_app").rglob("*") if path.suffix in (".js", ".html", ".css"))

OWN_CHECKPOINTS = {
    ROOT / "tools" / "demo_model" / name for name in ("train.py", "vae.py", "export.py", "probes.py", "curve.py")
}
"""They read what the same tools wrote: checkpoints to go on from, snapshots to judge; the app imports none of them."""

TENSORS_ONLY = ROOT / "zimage_app" / "models" / "networks" / "esrgan.py"
"""Reads weights out of pickles, as most upscalers are, by the reader that makes tensors and plain values only."""

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
NAMES = {"eval", "exec", "compile", "__import__"}
LOADERS = {
    ("torch", "load"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "full_load"),
    ("yaml", "unsafe_load"),
    ("os", "system"),
    ("os", "popen"),
}
FLAGS = {"shell", "allow_pickle", "trust_remote_code"}
"""Arguments that may not be true."""
SCRIPTS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\s*\(|new\s+Function|srcdoc|setHTMLUnsafe"
    r"|createContextualFragment|DOMParser|javascript:"
)
TEMPLATES = re.compile(r"\$\{|\{\{")
"""What Gradio would fill into a component's markup."""


def found(tree: ast.AST) -> Iterator[str]:
    """What a module does that it may not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names if (node.module, a.name) in LOADERS)
        if isinstance(node, ast.Call):
            yield from _called(node)


def _called(node: ast.Call) -> Iterator[str]:
    if isinstance(node.func, ast.Name) and node.func.id in NAMES:
        yield node.func.id
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        name = (node.func.value.id, node.func.attr)
        yield from [".".join(name)] if name in LOADERS else []
    for keyword in node.keywords:
        if keyword.arg in FLAGS and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
            yield f"{keyword.arg}="


READERS = {"read_text", "read_bytes", "open", "fromfile", "from_file", "safe_open", "load_file", "memmap"}
"""Calls that read a file of anybody's in a way that a pipe or a sparse file of 50 GB stops."""
NO_READINGS = {"os.open", "opener.open", "archive.open", "zipfile.ZipInfo.from_file", "config.gate.open"}
"""They open something else: a folder, an address, a file in a ZIP that is written, a gate."""
READ_ELSEWHERE = {
    "models/disk/regular_file.py": "the one function that does",
    "service/imports/comfy/catalogue.py": "our own tables of nodes",
    "models/weights/weight_file.py": "weights, mapped; opened by that function just before",
    "service/library/loras/header.py": "headers of LoRAs that a look found to be regular files",
    "service/pictures/picture_files.py": "Pillow, on what that function opened",
    "service/diagnostics/doctor/system.py": "our own requirements.txt",
    "service/diagnostics/cgroups.py": "the system's own figures",
    "ui/asset.py": "our own assets",
    "web/access.py": "our own login page",
    "web/credentials.py": "--auth-file, which may well be a pipe",
}


def readings(tree: ast.AST) -> Iterator[str]:
    """Calls that read a file otherwise than through ``models/disk/regular_file.py``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        modes = {str(given.value) for given in node.args if isinstance(given, ast.Constant)}
        writes = name == "open" and any(re.fullmatch("[wxa]b?", mode) for mode in modes)
        if name in READERS and not writes and called not in NO_READINGS:
            yield called


def test_files_of_anybody_are_read_by_one_function() -> None:
    assert list(readings(ast.parse("path.open('rb')\nPath(x).read_text()\nImage.open(f)\nopen('a.txt')"))) == [
        "path.open",
        "Path(x).read_text",
        "Image.open",
        "open",
    ]
    assert list(readings(ast.parse("path.open('xb')\nread_regular(path, 5)"))) == []
    root = ROOT / "zimage_app"
    found = {
        path.relative_to(root).as_posix(): list(readings(ast.parse(path.read_text("utf-8"))))
        for path in root.rglob("*.py")
    }
    found = {name: calls for name, calls in found.items() if calls}
    assert found.keys() == READ_ELSEWHERE.keys(), found


def test_no_loader_of_models_may_run_their_code() -> None:
    """Every ``from_pretrained`` and its like says so itself: without a word, transformers asks on the terminal."""
    # Classes that are named take only their own code; Auto… and pipelines take what a folder names.
    loader = re.compile(r"(.*\.)?(Auto(?!encoder)\w*|\w*Pipeline)\.from_\w+|(.*\.)?pipeline")
    calls = [
        node
        for path in (*(ROOT / "zimage_app").rglob("*.py"), *(ROOT / "tools").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and loader.fullmatch(ast.unparse(node.func))
    ]
    assert calls
    for call in calls:
        said = {keyword.arg: keyword.value for keyword in call.keywords}
        assert "trust_remote_code" in said, ast.unparse(call)  # that it is False, another test holds


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("from torch import load", "torch.load"),
        ("def f():\n    return torch.load('x', weights_only=True)", "torch.load"),
        ("yaml.load(text, Loader=x)", "yaml.load"),
        ("eval(text)", "eval"),
        ("subprocess.run('x', shell=True)", "shell="),
        ("AutoModel.from_pretrained(x, trust_remote_code=given)", "trust_remote_code="),
    ],
)
def test_x3_what_is_looked_for_is_found(source: str, name: str) -> None:
    assert list(found(ast.parse(source))) == [name]


def test_x3_nothing_runs_what_it_is_given() -> None:
    wrong = {path: list(found(ast.parse(path.read_text(encoding="utf-8")))) for path in PYTHON}
    assert len(wrong) > 150
    allowed = {path: names for path, names in wrong.items() if path in OWN_CHECKPOINTS and set(names) == {"torch.load"}}
    assert set(allowed) <= OWN_CHECKPOINTS
    assert wrong.pop(TENSORS_ONLY) == ["torch.load"]
    assert {path: names for path, names in wrong.items() if names and path not in allowed} == {}


def test_x3_pickles_of_upscalers_are_read_for_their_tensors_only() -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(TENSORS_ONLY.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert [ast.unparse(each.value) for call in calls for each in call.keywords if each.arg == "weights_only"] == [
        "True"
    ] * len(calls)
    assert calls


def test_x3_texts_come_into_the_page_as_texts() -> None:
    assert len(ASSETS) > 30
    for path in ASSETS:
        text = path.read_text(encoding="utf-8")
        assert SCRIPTS.search(text) is None, path
        if path.suffix == ".html":
            assert TEMPLATES.search(text) is None, path


def test_x3_gradio_draws_no_text_of_ours_as_html() -> None:
    """Only ``_custom_component`` makes HTML components, from our own files; nothing else in Gradio takes HTML."""
    for path in sorted((ROOT / "zimage_app").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r"gr\.HTML\(", text)) == (path.name == "page.py"), path
        assert not re.search(r"gr\.(Markdown|Dataframe|Dataset|Chatbot|Code)\(|sanitize_html", text), path
