"""What a ComfyUI has: node classes, and the choices of their fields; and a workflow brought to its names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from zimage_app.domain.errors import GenerationError
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy.workflow import Nodes

_FILES = frozenset({"unet_name", "clip_name", "vae_name", "lora_name"})
"""Fields whose choices are files, which may lie in other folders there."""
_HANDED_IN = frozenset({"image"})
"""Fields whose files are sent with the job."""


def fitted(nodes: Nodes, offers: Mapping[str, Any], address: str) -> Nodes:
    """The workflow with files as the server at ``address`` names them; ``offers`` is its ``/object_info``.

    Raises:
        GenerationError: names each node class, file and choice that it does not have.
    """
    missing: list[str] = []
    fitting = {key: {**node, "inputs": dict(_inputs(node, offers, missing))} for key, node in nodes.items()}
    if missing:
        listed = ", ".join(dict.fromkeys(missing))
        raise GenerationError(
            Text(
                f"The ComfyUI at {address} does not have {listed}. Put the files into its folders, or update it.",
                f"{address} 的 ComfyUI 缺少：{listed}。请把文件放进它的文件夹，或更新 ComfyUI。",
            )
        )
    return fitting


def _inputs(node: Mapping[str, Any], offers: Mapping[str, Any], missing: list[str]) -> Iterator[tuple[str, Any]]:
    kind = node["class_type"]
    if kind not in offers:
        missing.append(kind)
    for name, value in node["inputs"].items():
        choices = _choices(offers.get(kind), name)
        found = value if choices is None or name in _HANDED_IN else _found(name, value, choices)
        if found is None:
            missing.append(str(value))
        yield name, found


def _found(name: str, value: Any, choices: list[Any]) -> Any:
    """The choice that is meant; None where there is none, or where it can't be told which."""
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
    """Of a path as Windows or others write it."""
    return PurePosixPath(file.replace("\\", "/").lower()).parts


def _choices(offer: object, name: str) -> list[Any] | None:
    """The choices of a field; None for a field of another kind. Older servers list them in the place of the type."""
    groups = offer.get("input") if isinstance(offer, Mapping) else None
    for group in groups.values() if isinstance(groups, Mapping) else ():
        described = group.get(name) if isinstance(group, Mapping) else None
        if not isinstance(described, list) or not described:
            continue
        if isinstance(described[0], list):
            return described[0]
        options = described[1].get("options") if len(described) > 1 and isinstance(described[1], Mapping) else None
        return options if described[0] == "COMBO" and isinstance(options, list) else None
    return None
