"""Decides before loading whether a model fits into a device's memory, and which weights are streamed if it doesn't.

Streamed weights stay in the computer's memory and are copied to the device when they are used.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from zimage_app.domain.card import ModelCard
from zimage_app.domain.plan import make_plan
from zimage_app.domain.plan_summary import plan_numbers
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.device import best_device, free_memory, named_device
from zimage_app.models.find.model_files import ModelFiles, model_files
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.find.sizes import ModelSizes
from zimage_app.models.weights.placement import MemoryPlan, PackedMode, plan_for
from zimage_app.models.weights.weight_file import TensorEntry, Weights

_COPIED_PER_SECOND = 25e9
"""Bytes copied per second from pinned memory over PCIe 4 x16. Derived, not measured."""
_BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:attention|feed_forward)\.")
"""Matches the weights of main blocks that can be streamed, in all known naming schemes."""


def plan_memory(source: ModelSource, device: str | None = None, memory_limit: int | None = None) -> MemoryPlan:
    """Choose the device and dtype for a model, and which weights are streamed.

    ``device`` overrides the choice of device; ``memory_limit`` limits the bytes used of its memory.

    Raises:
        ModelError: the model's files are incomplete, or this machine has no such device.
    """
    place = best_device() if device is None else named_device(device)
    files = model_files(source)
    plan = plan_for(files.parameters, place)
    free = free_memory(place)
    if memory_limit is not None and place.type != "cpu":
        free = memory_limit if free is None else min(free, memory_limit)
    return fitted(plan, sizes_of(files, plan), free, source.card)


def fitted(plan: MemoryPlan, sizes: ModelSizes, free: int | None, card: ModelCard) -> MemoryPlan:
    """Return the fastest plan that fits into ``free`` bytes.

    In order of preference: everything stays on the device; the text encoder, used only once per prompt, is streamed
    layer by layer; in addition, as few main blocks of the transformer as necessary are streamed, or all if nothing
    fits. ``card`` defines a typical picture for the time estimate.
    """
    if free is None or sizes.resident + sizes.text <= free:
        return plan
    text = replace(
        plan,
        stream_text=True,
        reason=_more(
            plan.reason,
            f"the text encoder visits it layer by layer, because all of the model would need"
            f" {_gigabytes(sizes.resident + sizes.text)} and {_gigabytes(free)} are free",
            f"文本编码器逐层调入，因为整个模型需要 {_gigabytes(sizes.resident + sizes.text)}，"
            f"而可用 {_gigabytes(free)}",
        ),
    )
    if sizes.resident <= free or not sizes.blocks:
        return text
    return _with_streamed_blocks(text, sizes, free, _evaluations(card))


def _with_streamed_blocks(plan: MemoryPlan, sizes: ModelSizes, free: int, evaluations: int) -> MemoryPlan:
    """Return the plan with as few streamed blocks as necessary; ``evaluations`` is the number of a typical picture."""
    everyone = len(sizes.blocks)
    count = next((n for n in range(1, everyone) if _needed(sizes, n) <= free), everyone)
    held, copied = _needed(sizes, count), sum(sizes.blocks) * count / everyone
    seconds = copied * evaluations / _COPIED_PER_SECOND
    en = (
        f"{count} of {everyone} blocks of the transformer wait in the computer's memory and visit it one by one, which"
        f" copies {_gigabytes(copied)} per evaluation: at least {seconds:.0f} s for a picture of {evaluations}"
        " evaluations"
    )
    zh = (
        f"扩散模型 {everyone} 层中有 {count} 层存放在内存并逐层调入，每次求值复制 {_gigabytes(copied)}："
        f"一张 {evaluations} 次求值的图片至少需要 {seconds:.0f} 秒"
    )
    if held > free:
        en += f"; even so it needs {_gigabytes(held)}: if memory runs out, choose a smaller copy in the page's"
        en += " model panel, or see `plan --memory GB`"
        zh += f"；即便如此仍需 {_gigabytes(held)}：如显存不足，请在页面的模型面板选择更小的版本，"
        zh += "或用 plan --memory GB 查看建议"
    return replace(plan, streamed=count, reason=_more(plan.reason, en, zh))


def needed(plan: MemoryPlan, sizes: ModelSizes) -> int:
    """Return the bytes that a plan needs on its device."""
    return _needed(sizes, plan.streamed) + (0 if plan.stream_text else sizes.text)


def _needed(sizes: ModelSizes, streamed: int) -> int:
    """Return the bytes on the device without the text encoder; streamed blocks share two buffers."""
    if streamed == 0:
        return sizes.resident
    staying = sum(sizes.blocks) * (1 - streamed / len(sizes.blocks))
    return math.ceil(staying + 2 * max(sizes.blocks) + sizes.rest + sizes.working)


def _more(reason: Text, en: str, zh: str) -> Text:
    return Text(f"{reason.en}; {en}", f"{reason.zh}；{zh}")


def _evaluations(card: ModelCard) -> int:
    """Return the transformer evaluations of a picture with a card's own stages, none skipped; a CFG pair is one."""
    plan = make_plan(GenerationRequest(prompt="-"), card)
    return sum(stage.evaluations // stage.conditions for stage in plan_numbers(plan).stages)


def sizes_of(files: ModelFiles, plan: MemoryPlan) -> ModelSizes:
    """Return the sizes of a model's weights on the plan's device, from the headers of their files."""
    blocks: dict[int, int] = {}
    rest = _held(files.vae.weights, plan.for_vae)
    for key, entry in files.transformer.weights.entries.items():
        found = _BLOCK.search(key)
        if found is None:
            rest += _bytes(entry, plan)
        else:
            blocks[int(found[1])] = blocks.get(int(found[1]), 0) + _bytes(entry, plan)
    packings = {entry.packing for entry in files.transformer.weights.entries.values() if entry.packing}
    unpacks = any(plan.packed_mode(packing) is PackedMode.AT_USE for packing in packings)
    return ModelSizes(tuple(blocks.values()), rest, _held(files.text_encoder.weights, plan), unpacks)


def _held(weights: Weights, plan: MemoryPlan) -> int:
    return sum(_bytes(entry, plan) for entry in weights.entries.values())


def _bytes(entry: TensorEntry, plan: MemoryPlan) -> int:
    """Estimate a weight's bytes on the device; weights that stay packed take as much as in the file."""
    numbers = math.prod(entry.shape)
    packed = bool(entry.packing) or (entry.dtype.itemsize == 1 and plan.capability is not None)
    return (entry.stored or numbers) if packed else numbers * plan.dtype.itemsize


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
