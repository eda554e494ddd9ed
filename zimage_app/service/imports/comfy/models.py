"""What stands between a sampler and its model's file: LoRAs, the shift, EasyCache, and what has no place here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.graph import Graph, Link, Node, source, value
from zimage_app.service.imports.comfy.loras import LoraOf, has_loras, loras_of

_FURTHEST = 200
_FILES = ("unet_name", "ckpt_name", "model_name", "model_path", "gguf_name", "base_ckpt_name", "value_0")
_SPEED = ("torchcompile", "sageattention", "attention", "compile", "blockswap", "memory", "vram", "offload")
_CACHES = ("teacache", "lazycache", "firstblockcache", "magcache", "wavespeed", "fbcache")


@dataclass(slots=True)
class ModelChain:
    """What a sampler's model is made of."""

    file: str = ""
    shift: Any = None
    """None: the model's own."""
    easycache: dict[str, Any] | None = None
    loras: list[LoraOf] = field(default_factory=list)
    """In the order in which they are put on."""
    lost: list[tuple[Node, Text]] = field(default_factory=list)


def model_chain(graph: Graph, link: Link | None) -> ModelChain:
    """Follow a model back to its file. Of what is set twice, the last before the sampler counts, as in ComfyUI."""
    chain = ModelChain()
    for _ in range(_FURTHEST):
        if link is None or link[0] not in graph:
            break
        node = graph[link[0]]
        link = source(graph, node, ("model", "MODEL", "unet"))
        if link is None and not _patches(node):
            chain.file = _file(graph, node)
        else:
            _note(graph, node, chain)
        if has_loras(node):
            chain.loras = [*loras_of(graph, node), *chain.loras]
    return chain


def _patches(node: Node) -> bool:
    return node.kind in ("ModelSamplingAuraFlow", "ModelSamplingSD3", "EasyCache")


def _note(graph: Graph, node: Node, chain: ModelChain) -> None:
    if node.kind in ("ModelSamplingAuraFlow", "ModelSamplingSD3"):
        if chain.shift is None:
            chain.shift = value(graph, node, "shift")
        if node.kind == "ModelSamplingSD3":
            chain.lost.append((node, _SD3))
    elif node.kind == "EasyCache":
        if chain.easycache is None:
            chain.easycache = {
                "threshold": value(graph, node, "reuse_threshold"),
                "start": value(graph, node, "start_percent"),
                "end": value(graph, node, "end_percent"),
            }
    elif not has_loras(node):
        kind = node.kind.lower()
        if any(word in kind for word in _CACHES):
            chain.lost.append((node, _OTHER_CACHE))
        elif any(word in kind for word in _SPEED):
            chain.lost.append((node, _SPEED_ONLY))
        else:
            chain.lost.append((node, _CHANGES_MODEL))


def _file(graph: Graph, node: Node) -> str:
    name = value(graph, node, *(name for name in _FILES if name in node.values or name in node.links))
    if isinstance(name, str):
        return name
    return next((text for text in node.values.values() if isinstance(text, str)), "")


_SD3 = Text(
    "only its shift is taken: it also scales the times by 1000, which Z-Image does not bear",
    "只取它的 shift：它还会把时间放大 1000 倍，而 Z-Image 不适用",
)
_OTHER_CACHE = Text("of the caches only EasyCache exists here", "缓存加速这里只有 EasyCache")
_SPEED_ONLY = Text("concerns speed or memory only; this app sees to that itself", "只影响速度或显存，本程序会自行处理")
_CHANGES_MODEL = Text("what it changes in the model does not exist here", "它对模型的改动这里没有")
