"""A ComfyUI graph, in either form, as settings: from the saved picture back along the wiring, sampler by sampler.

Each sampler becomes a stage, its latent's way from the one before gives size and resize, its model's way shift,
EasyCache and LoRAs. Whatever stands on these ways and has no place here is told of, node by node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.guidance import is_guided_by_one
from zimage_app.domain.request import GenerationRequest, Stage, knob_of
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.editor import editor_graph
from zimage_app.service.imports.comfy.graph import Graph, Node, api_graph, value
from zimage_app.service.imports.comfy.latents import Size, Way, begin_size, resized
from zimage_app.service.imports.comfy.models import ModelChain, model_chain
from zimage_app.service.imports.comfy.outputs import Output, chosen_output
from zimage_app.service.imports.comfy.samplers import Pass, lost, read_sampler
from zimage_app.service.imports.comfy.texts import Words, words_of
from zimage_app.service.imports.draft import Draft, Imported, nothing_found, of_stage, shown
from zimage_app.service.imports.names import resize_method, stem_of

COMFYUI = Text("ComfyUI", "ComfyUI")
_OWN_PARTS = ("qwen_3_4b", "qwen3-4b", "qwen3_4b", "qwen_3-4b", "ae", "flux_vae", "z_image", "z-image")


@dataclass(slots=True)
class _Read:
    """One sampler with all that leads to it."""

    done: Pass
    way: Way
    chain: ModelChain
    shift: Any
    """The model's shift when this sampler runs; None: its own."""


def read_graph(data: Mapping[str, Any], picture: Size | None) -> Imported:
    """The settings in a graph; ``picture`` is the size of the picture that it came in, which tells its output node.

    Raises:
        ImportedFileError: it has too many nodes, or none that samples.
    """
    graph = editor_graph(data) if isinstance(data.get("nodes"), list) else api_graph(data)
    output = chosen_output(graph, picture)
    if output is None:
        raise nothing_found(COMFYUI)
    draft = Draft(COMFYUI)
    _tell_of_output(draft, output)
    reads = [_read(graph, output, place, draft) for place in range(len(output.samplers))]
    _sizes(graph, draft, reads, picture)
    for number, each in enumerate(reads):
        _shift_and_cache(draft, reads, number)
        draft.stages.append(each.done.settings)
    _prompts(graph, draft, reads)
    _loras(draft, reads)
    _models(graph, draft, reads)
    for each in reads:
        draft.left += [lost(node, reason) for node, reason in (*each.way.lost, *each.chain.lost)]
    return draft.settled()


def _tell_of_output(draft: Draft, output: Output) -> None:
    if output.others:
        draft.turn(
            Text("Pictures in this workflow", "这个工作流中的图片"),
            f"{output.others + 1}",
            output.node.name,
        )
    for node in output.after:
        reason = Text("it changes the finished picture, which has no place here", "它处理的是成品图，这里没有对应项")
        draft.left.append(lost(node, reason))


def _read(graph: Graph, output: Output, place: int, draft: Draft) -> _Read:
    done = read_sampler(graph, output.samplers[place], draft, place)
    chain = model_chain(graph, done.model)
    shift = chain.shift
    if done.schedule_model is not None and done.schedule_model != done.model:
        shift = model_chain(graph, done.schedule_model).shift
    if not done.own_shift and shift is not None:
        done.settings["shift"] = shift
    return _Read(done, output.ways[place], chain, chain.shift)


def _sizes(graph: Graph, draft: Draft, reads: list[_Read], picture: Size | None) -> None:
    """Give every stage its size and the way in which its latent is resized."""
    begin = reads[0].way.begin
    size = begin_size(graph, begin) if begin else None
    if begin is not None and size is None:
        reason = Text(
            "the latent it begins with is not carried over; stage 1 draws from nothing",
            "起始的潜变量没有带过来；第 1 阶段将从零开始画",
        )
        draft.left.append(lost(begin, reason))
    batch = value(graph, begin, "batch_size") if begin else 1
    if begin is not None and isinstance(batch, int) and batch > 1:
        draft.left.append(
            lost(begin, Text(f"a batch of {batch}; here one picture is made", f"一批 {batch} 张；这里只生成一张"))
        )
    for number, each in enumerate(reads):
        size = resized(graph, size, each.way.resizes)
        if size is None and number == len(reads) - 1:
            size = picture
        if size is not None:
            each.done.settings |= {"width": size[0], "height": size[1]}
        if number:
            _method(draft, each, number)


def _method(draft: Draft, each: _Read, number: int) -> None:
    """How the latent is resized; nothing where it comes as it is."""
    theirs = each.way.method
    if not isinstance(theirs, str):
        return
    ours = resize_method(theirs) or "nearest-exact"
    each.done.settings["upscale"] = ours
    title = of_stage(number, knob_of(Stage, "upscale").title)
    if each.way.pixels is not None:
        draft.turn(title, f"{shown(each.way.pixels.name)} + {theirs}", ours)
    elif ours != theirs:
        draft.turn(title, theirs, ours)


def _shift_and_cache(draft: Draft, reads: list[_Read], number: int) -> None:
    """EasyCache's window follows the shift that the sampler before left on the model (workflow.md section 6)."""
    each = reads[number]
    if each.chain.easycache is None:
        return
    cache = {name: found for name, found in each.chain.easycache.items() if found is not None}
    if number:
        before = reads[number - 1]
        on_model = Z_IMAGE_TURBO.shift if before.shift is None else before.shift
        if on_model != before.done.settings.get("shift", Z_IMAGE_TURBO.shift):
            cache["window_shift"] = on_model
            draft.turn(
                of_stage(number, knob_of(Stage, "easycache").title), "EasyCache", f"window_shift {shown(on_model)}"
            )
    each.done.settings["easycache"] = cache


# What concerns all stages.


def _prompts(graph: Graph, draft: Draft, reads: list[_Read]) -> None:
    positives = [words_of(graph, each.done.positive) for each in reads]
    negatives = [words_of(graph, each.done.negative) for each in reads]
    guided = [not _by_one(each.done.settings.get("cfg")) for each in reads]
    draft.prompt = next((words.text for words in reversed(positives) if words.text), None)
    acting = [words for words, on in zip(negatives, guided, strict=True) if on and not words.zeroed and words.text]
    resting = [words for words in negatives if words.text and not words.zeroed]
    draft.negative = next((words.text for words in (*acting, *resting)), None)
    _tell_of_words(draft, "prompt", positives)
    _tell_of_words(draft, "negative", negatives)
    for number, words in enumerate(positives):
        if words.text and words.text != draft.prompt:
            reason = Text(
                "has another prompt; all stages share the last one's", "用了另一段提示词；这里各阶段共用最后一段"
            )
            draft.leave(Text(f"Stage {number + 1}", f"阶段 {number + 1}"), reason)
    for number, words in enumerate(negatives):
        differs = words.zeroed if draft.negative else words.zeroed and words.text
        if guided[number] and (differs or (words.text and not words.zeroed and words.text != draft.negative)):
            reason = Text(
                "has another negative prompt, or a zeroed one; all stages share one",
                "用了另一段反向提示词，或将其清零；这里各阶段共用一段",
            )
            draft.leave(Text(f"Stage {number + 1}", f"阶段 {number + 1}"), reason)


def _by_one(cfg: object) -> bool:
    return isinstance(cfg, int | float) and is_guided_by_one(cfg)


def _tell_of_words(draft: Draft, name: str, found: Iterable[Words]) -> None:
    title = knob_of(GenerationRequest, name).title
    for words in found:
        draft.left += [lost(node, reason) for node, reason in words.lost]
        for node in words.joined:
            draft.translated.append(
                Text(f"{title.en}: joined by {shown(node.name)}", f"{title.zh}：由 {shown(node.name)} 拼接而成")
            )


def _loras(draft: Draft, reads: list[_Read]) -> None:
    """LoRAs with the stages in which they act; in all stages where all have them."""
    uses: dict[tuple[str, str, int], list[int]] = {}
    strengths: dict[tuple[str, str, int], Any] = {}
    for number, each in enumerate(reads):
        seen: dict[tuple[str, str], int] = {}
        for lora in each.chain.loras:
            key = (lora.file, repr(lora.strength))
            seen[key] = seen.get(key, 0) + 1
            uses.setdefault((*key, seen[key]), []).append(number + 1)
            strengths[(*key, seen[key])] = lora.strength
            if lora.text_encoder != lora.strength:
                named = Text(f"LoRA {shown(lora.file)}", f"LoRA {shown(lora.file)}")
                draft.leave(
                    named,
                    Text(
                        f"{shown(lora.text_encoder)} for the text encoder, which this model's LoRAs leave as it is",
                        f"{shown(lora.text_encoder)} 针对文本编码器，而这个模型的 LoRA 不改动它",
                    ),
                )
    for use, stages in uses.items():
        if strengths[use] != 0:
            acts = {} if len(stages) == len(reads) else {"stages": stages}
            draft.loras.append({"name": use[0], "strength": strengths[use], **acts})


def _models(graph: Graph, draft: Draft, reads: list[_Read]) -> None:
    files = [each.chain.file for each in reads if each.chain.file]
    draft.model = files[-1] if files else None
    for number, each in enumerate(reads):
        if each.chain.file and each.chain.file != draft.model:
            reason = Text(
                f"uses {shown(each.chain.file)}; all stages share one model",
                f"使用 {shown(each.chain.file)}；这里各阶段共用一个模型",
            )
            draft.leave(Text(f"Stage {number + 1}", f"阶段 {number + 1}"), reason)
    for node in graph.values():
        if ("CLIPLoader" in node.kind or "VAELoader" in node.kind) and not _usual(node):
            draft.left.append(lost(node, Text("the model's own is used", "使用模型自带的部件")))


def _usual(node: Node) -> bool:
    """Whether a loader's files are those that belong to Z-Image."""
    names = [
        text
        for name, text in node.values.items()
        if isinstance(text, str) and (name.startswith(("clip_name", "vae_name")) or name == "value_0")
    ]
    return all(stem_of(name).lower().startswith(_OWN_PARTS) for name in names)
