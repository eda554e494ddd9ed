"""Converts a plan to the graph that ComfyUI's server runs: ``{"1": {"class_type": …, "inputs": {…}}}``.

Uses only nodes that ComfyUI itself has, except for GGUF files, which it can't load without an extension.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zimage_app.domain.catalogue import SAMPLER_TRAITS
from zimage_app.domain.errors import RequestError, wrong_field
from zimage_app.domain.guidance import is_guided_by_one
from zimage_app.domain.plan import GenerationPlan, StagePlan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.schedules import stage_sigmas
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy.names import FileNames

Link = list[str | int]
"""[id of the node that provides the value, index of its output]."""
Nodes = dict[str, dict[str, Any]]

_OWN_SCHEDULERS = "flow_match"
"""Prefix of the schedulers that ComfyUI itself doesn't have."""
_DRAWN = re.compile(r"[{}]|//|/\*")
"""Matches what ComfyUI's page would change in a prompt field: random choices in braces, and comments."""


@dataclass(frozen=True, slots=True)
class _SamplerNode:
    """A ComfyUI node for a sampler with options."""

    kind: str
    options: tuple[str, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)


_ANCESTRAL = ("eta", "s_noise")
_CPU, _GPU = {"noise_device": "cpu"}, {"noise_device": "gpu"}
_SAMPLER_NODES = {
    "euler_ancestral": _SamplerNode("SamplerEulerAncestral", _ANCESTRAL),
    "dpmpp_2s_ancestral": _SamplerNode("SamplerDPMPP_2S_Ancestral", _ANCESTRAL),
    "dpmpp_sde": _SamplerNode("SamplerDPMPP_SDE", (*_ANCESTRAL, "r"), _CPU),
    "dpmpp_sde_gpu": _SamplerNode("SamplerDPMPP_SDE", (*_ANCESTRAL, "r"), _GPU),
    "dpmpp_2m_sde": _SamplerNode("SamplerDPMPP_2M_SDE", ("solver_type", *_ANCESTRAL), _CPU),
    "dpmpp_2m_sde_gpu": _SamplerNode("SamplerDPMPP_2M_SDE", ("solver_type", *_ANCESTRAL), _GPU),
    "dpmpp_3m_sde": _SamplerNode("SamplerDPMPP_3M_SDE", _ANCESTRAL, _CPU),
    "dpmpp_3m_sde_gpu": _SamplerNode("SamplerDPMPP_3M_SDE", _ANCESTRAL, _GPU),
    "er_sde": _SamplerNode("SamplerER_SDE", ("s_noise",), {"solver_type": "ER-SDE", "max_stage": 3, "eta": 1.0}),
    "seeds_2": _SamplerNode("SamplerSEEDS2", _ANCESTRAL, {"solver_type": "phi_1", "r": 0.5}),
}
"""Samplers with a node for their options; ComfyUI runs all others with their default options only."""


@dataclass(frozen=True, slots=True)
class ComfyWorkflow:
    """A graph and notes for the user."""

    nodes: Nodes
    notes: tuple[Text, ...]


def build(plan: GenerationPlan, names: FileNames) -> ComfyWorkflow:
    """Build the graph of a plan, with the file names ``names``.

    Raises:
        RequestError: names each setting that ComfyUI has no node for.
    """
    missing = [*_missing(plan.request), *(found for stage in plan.stages for found in _missing_in_stage(stage))]
    missing += _windows(plan)
    if missing:
        raise _refused(missing)
    return ComfyWorkflow(_Builder(plan, names).build(), (*names.notes, *_notes(plan, names)))


class _Builder:
    """Builds the graph node by node; identical nodes are added only once."""

    def __init__(self, plan: GenerationPlan, names: FileNames) -> None:
        self._plan = plan
        self._names = names
        self._nodes: Nodes = {}
        self._known: dict[str, str] = {}

    def build(self) -> Nodes:
        """Build the whole graph, from loading the files to saving the picture."""
        self._clip = self._text_encoder(self._names.text_encoder)
        self._vae = self._add("VAELoader", vae_name=self._names.vae)
        latent = self._begin(self._plan.stages[0].settings)
        size = self._plan.stages[0].latent_size
        for stage in self._plan.stages:
            if stage.latent_size != size:
                latent = self._resized(latent, stage.settings)
                size = stage.latent_size
            latent = self._sampled(latent, stage)
            self._nodes[str(latent[0])]["_meta"]["title"] = f"Stage {stage.number + 1}"
        picture = self._add("VAEDecode", samples=latent, vae=self._vae)
        self._add("SaveImage", images=picture, filename_prefix="zimage-studio")
        return self._nodes

    def _add(self, kind: str, /, **inputs: Any) -> Link:
        key = json.dumps([kind, inputs], sort_keys=True)
        if key not in self._known:
            number = str(len(self._nodes) + 1)
            self._known[key] = number
            self._nodes[number] = {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}
        return [self._known[key], 0]

    def _begin(self, first: Stage) -> Link:
        start = self._plan.request.start
        if start is None:
            return self._add("EmptySD3LatentImage", width=first.width, height=first.height, batch_size=1)
        picture = self._add("LoadImage", image=self._names.picture)
        size = {"width": first.width, "height": first.height}
        crop = "center" if start.fit == "crop" else "disabled"
        fitted = self._add("ImageScale", image=picture, upscale_method="lanczos", **size, crop=crop)
        return self._add("VAEEncode", pixels=fitted, vae=self._vae)

    def _resized(self, latent: Link, stage: Stage) -> Link:
        size = {"width": stage.width, "height": stage.height}
        return self._add("LatentUpscale", samples=latent, upscale_method=stage.upscale, **size, crop="disabled")

    def _sampled(self, latent: Link, stage: StagePlan) -> Link:
        settings = stage.settings
        common = {
            "model": self._model(stage),
            "positive": self._text(stage.text),
            "negative": self._text(self._plan.request.negative),
            "latent_image": latent,
        }
        if _is_plain(stage):
            return self._add(
                "KSampler",
                **common,
                seed=stage.seed,
                steps=settings.steps,
                cfg=settings.cfg,
                sampler_name=settings.sampler,
                scheduler=settings.scheduler,
                denoise=settings.denoise,
            )
        parts = {"sampler": self._sampler(settings), "sigmas": self._sigmas(stage, common["model"])}
        noise = {"add_noise": True, "noise_seed": stage.seed}
        return self._add("SamplerCustom", **common, **parts, **noise, cfg=settings.cfg)

    def _model(self, stage: StagePlan) -> Link:
        model = self._transformer(self._names.transformer)
        for use in self._plan.request.loras:
            if use.acts_in(stage.number):
                file = self._names.loras[use.name]
                model = self._add("LoraLoaderModelOnly", model=model, lora_name=file, strength_model=use.strength)
        model = self._add("ModelSamplingAuraFlow", model=model, shift=stage.settings.shift)
        cache = stage.settings.easycache
        if cache is None:
            return model
        return self._add(
            "EasyCache",
            model=model,
            reuse_threshold=cache.threshold,
            start_percent=cache.start,
            end_percent=cache.end,
            verbose=False,
        )

    def _transformer(self, file: str) -> Link:
        if _is_gguf(file):
            return self._add("UnetLoaderGGUF", unet_name=file)
        return self._add("UNETLoader", unet_name=file, weight_dtype="default")

    def _text_encoder(self, file: str) -> Link:
        if _is_gguf(file):
            return self._add("CLIPLoaderGGUF", clip_name=file, type="lumina2")
        return self._add("CLIPLoader", clip_name=file, type="lumina2", device="default")

    def _text(self, text: str) -> Link:
        """Add the encoder of a prompt; a prompt that ComfyUI's page would change comes from a plain text node."""
        plain = self._add("PrimitiveStringMultiline", value=text) if _DRAWN.search(text) else text
        return self._add("CLIPTextEncode", text=plain, clip=self._clip)

    def _sampler(self, stage: Stage) -> Link:
        node = _SAMPLER_NODES.get(stage.sampler)
        if not _own_options(stage) or node is None:
            return self._add("KSamplerSelect", sampler_name=stage.sampler)
        return self._add(node.kind, **{name: getattr(stage, name) for name in node.options}, **node.fixed)

    def _sigmas(self, stage: StagePlan, model: Link) -> Link:
        settings = stage.settings
        if not settings.scheduler.startswith(_OWN_SCHEDULERS):
            named = {"scheduler": settings.scheduler, "steps": settings.steps, "denoise": settings.denoise}
            if stage_sigmas(settings.scheduler, settings.shift, settings.steps, settings.denoise) == stage.sigmas:
                return self._add("BasicScheduler", model=model, **named)
        return self._add("ManualSigmas", sigmas=", ".join(map(_decimal, stage.sigmas)))


def _is_gguf(file: str) -> bool:
    return file.lower().endswith(".gguf")


def _decimal(sigma: float) -> str:
    """Format a float32 with all digits, and without an exponent, which the node doesn't parse."""
    return f"{sigma:.16f}".rstrip("0").rstrip(".")


def _is_plain(stage: StagePlan) -> bool:
    """Return whether a KSampler node suffices. With ddim_uniform it would run more steps than requested."""
    settings = stage.settings
    named = settings.scheduler != "ddim_uniform" and not settings.scheduler.startswith(_OWN_SCHEDULERS)
    return named and not _own_options(settings)


def _own_options(stage: Stage) -> list[str]:
    """Return the sampler's options that differ from the defaults."""
    usual = Stage()
    options = sorted(SAMPLER_TRAITS[stage.sampler].options)
    return [name for name in options if getattr(stage, name) != getattr(usual, name)]


# Settings for which ComfyUI has no node, or none that does the same.

Missing = tuple[str, Text]
"""A setting's path and title."""


def _missing(request: GenerationRequest) -> Iterator[Missing]:
    if request.variation_strength:
        yield "variation_strength", knob_of(GenerationRequest, "variation_strength").title
    start = request.start
    if start is not None:
        used = {"mask": start.mask, "extend": any(start.extend), "upscaler": start.upscaler}
        yield from ((f"start.{name}", knob_of(StartPicture, name).title) for name, value in used.items() if value)


def _missing_in_stage(plan: StagePlan) -> Iterator[Missing]:
    stage = plan.settings
    guided = not is_guided_by_one(stage.cfg)
    node = _SAMPLER_NODES.get(stage.sampler)
    used = {
        "handover": plan.takeover is not None,
        "nag": stage.nag is not None and stage.nag.on,
        "negpip": bool(plan.phrases),
        "cfg_limit": stage.cfg_limit is not None and guided,
        "cfg_start": stage.cfg_start < 1.0 and guided,
        "cfg_end": stage.cfg_end > 0.0 and guided,
        "variance": stage.variance is not None and stage.variance.strength > 0.0,
        **{name: node is None or name not in node.options for name in _own_options(stage)},
    }
    yield from (_of_stage(plan.number, name) for name, value in used.items() if value)


def _windows(plan: GenerationPlan) -> Iterator[Missing]:
    """Yield window shifts that ComfyUI can't express: its EasyCache always uses the previous stage's shift."""
    shift = None
    for stage in plan.stages:
        cache = stage.settings.easycache
        if cache is not None and cache.window_shift not in ("auto", shift):
            yield _of_stage(stage.number, "easycache.window_shift", knob="easycache")
        shift = stage.settings.shift


def _of_stage(number: int, name: str, knob: str = "") -> Missing:
    return f"stages.{number}.{name}", knob_of(Stage, knob or name).title


def _refused(missing: list[Missing]) -> RequestError:
    en = ", ".join(f"{path} ({title.en})" for path, title in missing)
    zh = "，".join(f"{path}（{title.zh}）" for path, title in missing)
    return wrong_field(
        "export",
        f"ComfyUI itself has no node that does the same as {en}; switch that off and export again",
        f"ComfyUI 自带的节点无法实现 {zh}；请关闭后再导出",
    )


def _notes(plan: GenerationPlan, names: FileNames) -> Iterator[Text]:
    request = plan.request
    if gguf := [file for file in (names.transformer, names.text_encoder) if _is_gguf(file)]:
        listed = ", ".join(gguf)
        yield Text(
            f"ComfyUI loads {listed} with the extension ComfyUI-GGUF only; install it there.",
            f"ComfyUI 需要扩展 ComfyUI-GGUF 才能加载 {listed}；请先在那边安装。",
        )
    if request.start is not None:
        yield Text(
            f"Put the start picture into ComfyUI's input folder as {names.picture}.",
            f"请把起始图片放进 ComfyUI 的 input 文件夹，命名为 {names.picture}。",
        )
    if request.keep_stages:
        yield Text("Pictures of single stages are not kept there.", "那边不会保留各阶段的图片。")
    if any(stage.settings.scheduler.startswith(_OWN_SCHEDULERS) for stage in plan.stages):
        yield Text(
            "The flow_match schedules are written out as noise levels, because ComfyUI itself does not have them.",
            "flow_match 类调度器以噪声序列写出，因为 ComfyUI 自身没有这些调度器。",
        )
    yield from difference_notes(plan)


def difference_notes(plan: GenerationPlan) -> Iterator[Text]:
    """Yield a note for each thing that ComfyUI may do otherwise: EasyCache, and uni_pc with one step."""
    first = plan.stages[0]
    if first.settings.easycache is not None:
        yield Text(
            f"EasyCache in stage {first.number + 1}: what it skips there depends on what ComfyUI ran before; only after"
            " its models are unloaded it is the same as here.",
            f"第 {first.number + 1} 阶段的 EasyCache：跳过哪些步取决于 ComfyUI 之前运行的内容；"
            "卸载模型之后运行才与这里一致。",
        )
    for stage in plan.stages:
        if stage.settings.sampler.startswith("uni_pc") and stage.settings.steps == 1:
            yield Text(
                f"Stage {stage.number + 1} runs {stage.settings.sampler} for one step, which ComfyUI leaves out: the"
                " result there is noise; take two steps or another sampler.",
                f"第 {stage.number + 1} 阶段用 {stage.settings.sampler} 只跑一步，而 ComfyUI 会略过这一步，结果是噪声；"
                "请改用两步或其他采样器。",
            )
