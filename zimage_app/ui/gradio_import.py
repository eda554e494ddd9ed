"""Makes ``import gradio`` a third quicker: leaves out the type stubs that Gradio writes for editors.

While Gradio is imported, it parses each component's source several times and writes a ``.pyi`` file beside it, at every
start. Programs don't read these files, and the folder may not be writable.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_MODULE, _WRITER = "gradio.component_meta", "create_or_modify_pyi"


class _WithoutStubs(importlib.abc.Loader):
    """Loads Gradio's module as usual, then replaces the function that writes stubs."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if hasattr(module, _WRITER):
            setattr(module, _WRITER, lambda *_: None)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _MODULE or not (spec := PathFinder.find_spec(name, path, target)) or not spec.loader:
            return None
        spec.loader = _WithoutStubs(spec.loader)
        return spec


def leave_out_stubs() -> None:
    """Let later imports of Gradio write no stubs; has no effect on a Gradio that is imported already."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
