"""Whether a model fits into the memory of a device, and what to do where it does not."""

from __future__ import annotations

import math
from dataclasses import replace

from zimage_app.domain.text import Text
from zimage_app.models.device import best_device, free_memory, named_device
from zimage_app.models.files import Weights
from zimage_app.models.layout import ModelFiles, model_files
from zimage_app.models.placement import MemoryPlan, plan_for
from zimage_app.models.sources import ModelSource

_WORKING = 2 * 10**9
"""Bytes that a run needs beside the weights: activations and decoding of a 672 x 864 picture take 1.3 GB, the device's
own context half a gigabyte."""


def plan_memory(source: ModelSource, device: str | None = None) -> MemoryPlan:
    """The device and dtype for a model; ``device`` overrides the choice of device.

    Raises:
        ModelError: the model's files are not whole, or this machine has no such device.
    """
    place = best_device() if device is None else named_device(device)
    files = model_files(source)
    return fitted(plan_for(files.parameters, place), files, free_memory(place))


def fitted(plan: MemoryPlan, files: ModelFiles, free: int | None) -> MemoryPlan:
    """The plan, with the text encoder off the device where ``free`` bytes are too few for everything at once.

    It is needed for a moment per prompt; through it, 12 GB of transformer fit into 16 GB with room to work.
    """
    text = _held(files.text_encoder.weights, plan)
    others = _held(files.transformer.weights, plan) + _held(files.vae.weights, plan) + _WORKING
    if free is None or others + text <= free:
        return plan
    en = (
        f"{plan.reason.en}; the text encoder visits it layer by layer, because all of the model would need"
        f" {_gigabytes(others + text)} and {_gigabytes(free)} are free"
    )
    zh = (
        f"{plan.reason.zh}；文本编码器逐层调入，因为整个模型需要 {_gigabytes(others + text)}，而可用 {_gigabytes(free)}"
    )
    if others > free:
        en += f"; the rest needs {_gigabytes(others)}: if memory runs out, use a smaller file (docs/MODELS.md)"
        zh += f"；其余部分仍需 {_gigabytes(others)}：如内存不足，请改用更小的文件（见 docs/MODELS.md）"
    return replace(plan, reason=Text(en, zh), stream_text=True)


def _held(weights: Weights, plan: MemoryPlan) -> int:
    """Roughly the bytes that weights take on the device: packed ones as many as in the file, where they stay so."""
    total = 0
    for entry in weights.entries.values():
        numbers = math.prod(entry.shape)
        packed = bool(entry.packing) or (entry.dtype.itemsize == 1 and plan.capability is not None)
        total += (entry.stored or numbers) if packed else numbers * plan.dtype.itemsize
    return total


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
