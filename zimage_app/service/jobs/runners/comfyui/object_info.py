"""Adapts a workflow to a ComfyUI server: checks its node classes, and replaces file names by the server's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy.workflow import Nodes

_FILES = frozenset({"unet_name", "clip_name", "vae_name", "lora_name"})
"""Fields whose choices are files, which may be in other folders on the server."""
_UPLOADED = frozenset({"image"})
"""Fields whose files are uploaded with the job."""


def adapted(nodes: Nodes, object_info: Mapping[str, Any], address: str) -> Nodes:
    """Return the workflow with the server's file names; ``object_info`` is the server's ``/object_info``.

    Raises:
        GenerationError: names each node class, file and choice that the server does not have.
    """
    missing: list[str] = []
    result = {key: {**node, "inputs": dict(_inputs(node, object_info, missing))} for key, node in nodes.items()}
    if missing:
        listed = ", ".join(dict.fromkeys(missing))
        raise GenerationError(
            Text(
                f"The ComfyUI at {address} does not have {listed}. Put missing files into its folders; for missing"
                " nodes, update it or install their extension (ComfyUI-GGUF for .gguf files).",
                f"{address} 的 ComfyUI 缺少：{listed}。缺文件请放进它的文件夹；缺节点请更新 ComfyUI 或安装相应扩展"
                "（.gguf 文件需要 ComfyUI-GGUF）。",
            )
        )
    return result


def _inputs(node: Mapping[str, Any], object_info: Mapping[str, Any], missing: list[str]) -> Iterator[tuple[str, Any]]:
    kind = node["class_type"]
    if kind not in object_info:
        missing.append(kind)
    for name, value in node["inputs"].items():
        choices = _choices(object_info.get(kind), name)
        found = value if choices is None or name in _UPLOADED else _found(name, value, choices)
        if found is None:
            missing.append(str(value))
        yield name, found


def _found(name: str, value: Any, choices: list[Any]) -> Any:
    """Return the choice that matches a value; for files, by path or else by file name. None if not exactly one does."""
    if value in choices:
        return value
    if name not in _FILES:
        return None
    wanted = _parts(value)
    same = [each for each in choices if isinstance(each, str) and _parts(each) == wanted]
    called = [each for each in choices if isinstance(each, str) and _parts(each)[-1:] == wanted[-1:]]
    found = same or called
    return found[0] if len(found) == 1 else None


def _parts(file: str) -> tuple[str, ...]:
    """Split a path with slashes or backslashes into its parts, in lower case."""
    return PurePosixPath(file.replace("\\", "/").lower()).parts


def _choices(node_info: object, name: str) -> list[Any] | None:
    """Return the choices of a field; None for other fields. Older servers list the choices in place of the type."""
    groups = node_info.get("input") if isinstance(node_info, Mapping) else None
    for group in groups.values() if isinstance(groups, Mapping) else ():
        described = group.get(name) if isinstance(group, Mapping) else None
        if not isinstance(described, list) or not described:
            continue
        if isinstance(described[0], list):
            return described[0]
        options = described[1].get("options") if len(described) > 1 and isinstance(described[1], Mapping) else None
        return options if described[0] == "COMBO" and isinstance(options, list) else None
    return None
