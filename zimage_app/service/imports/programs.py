"""Reads programs that write their settings as flat data: how their files are recognised, and how they name settings.

A new program is a row of ``PROGRAMS``. Data under names that the row doesn't list is reported as left out.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zimage_app.domain.text import Text
from zimage_app.service.imports.draft import Draft, Imported, report_start_strength, shown
from zimage_app.service.imports.fields import between, list_of, number, text_of, words
from zimage_app.service.imports.webui import diffusers_cfg, sampler_fields

Data = Mapping[str, Any]
Use = tuple[object, object]
"""(file, strength) of a LoRA."""

_SIZE = re.compile(r"\D{0,3}(\d{2,5})\D{1,4}(\d{2,5})\D{0,3}")
_BRACKETS = re.compile(r"\[([^\[\]]{1,4000})\]")
_DRAWN_EXTRAS = ("hiresFix", "refinerModel", "upscaler", "resolutionDependentShift", "controls", "teaCache")
"""Nested settings of Draw Things that this app doesn't have."""
_STAGE = ("steps", "cfg", "shift", "denoise", "width", "height")


@dataclass(frozen=True, slots=True)
class Program:
    """The data format of one program."""

    name: str
    knows: Callable[[Data], bool]
    """Whether data is in this format."""
    names: Mapping[str, str]
    """Name here -> the program's name: prompt, negative, seed, model, size, sampler, scheduler, stage numbers, and the
    ``start strength``, with which a start picture was redrawn."""
    loras: Callable[[Data], Iterable[Use]] = lambda _data: ()
    ignored: frozenset[str] = field(default=frozenset())
    """Names that don't affect the picture and aren't reported."""
    diffusers: bool = False
    """Whether guidance is diffusers' scale, which is CFG minus 1."""
    one_name: bool = False
    """Whether ``scheduler`` names sampler and scheduler together."""


def _has(*names: str) -> Callable[[Data], bool]:
    return lambda data: set(names) <= set(data)


def _named(name: str) -> Text:
    return Text(name, name)


def _invoke_loras(data: Data) -> Iterator[Use]:
    for use in list_of(data.get("loras")):
        if isinstance(use, Mapping):
            yield _model_name(use.get("model", use.get("lora"))), use.get("weight", 1.0)


def _fooocus_loras(data: Data) -> Iterator[Use]:
    for use in list_of(data.get("loras")):
        if isinstance(use, list) and len(use) >= 2:
            yield use[0], use[1]


def _wan_loras(data: Data) -> Iterator[Use]:
    strengths = re.split(r"[\s,]+", str(data.get("loras_multipliers", "")).strip())
    for place, name in enumerate(list_of(data.get("activated_loras"))):
        given = strengths[place] if place < len(strengths) and strengths[place] else "1"
        yield name, given.partition(";")[0]


def _weighted_loras(data: Data) -> Iterator[Use]:
    for use in list_of(data.get("lora")):
        if isinstance(use, Mapping):
            yield re.sub(r"_lora_f16|\.ckpt$", "", str(use.get("model", ""))), use.get("weight", 1.0)


def _easy_loras(data: Data) -> Iterator[Use]:
    names, strengths = (_listed(data.get(key)) for key in ("use_lora_model", "lora_alpha"))
    for place, name in enumerate(names):
        yield name, strengths[place] if place < len(strengths) else 1.0


def _art_loras(data: Data) -> Iterator[Use]:
    for each in list_of(data.get("models")):
        if isinstance(each, Mapping) and "LORA" in str(each.get("type", "")).upper():
            yield each.get("modelFileName", each.get("label")), each.get("weight", 1.0)


def _listed(value: object) -> list[Any]:
    """Return a list, also from its text form; a single value becomes a list of one."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value) if len(value) < 4000 else []
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return []
    if isinstance(value, list):
        return value
    return [] if value in (None, "", "None", "null") else [value]


def _model_name(value: object) -> object:
    """Return a model's name from any of the forms that programs use."""
    if isinstance(value, Mapping):
        return value.get("name", value.get("model_name", value.get("label")))
    if isinstance(value, list):
        base = [each for each in value if isinstance(each, Mapping) and "LORA" not in str(each.get("type", "")).upper()]
        return _model_name(base[0]) if base else None
    return value


_PLAIN = {"prompt": "prompt", "negative": "negative_prompt", "seed": "seed", "steps": "steps", "width": "width",
          "height": "height", "sampler": "sampler", "scheduler": "scheduler", "model": "model"}  # fmt: skip

PROGRAMS: tuple[Program, ...] = (
    Program(
        "InvokeAI",
        _has("positive_prompt"),
        {**_PLAIN, "prompt": "positive_prompt", "cfg": "cfg_scale", "cfg2": "guidance", "shift": "shift",
         "shift2": "z_image_shift"},
        _invoke_loras,
        words(
            "app_version generation_mode rand_device _canvas_objects canvas_v2_metadata workflow ref_images"
            " qwen3_encoder z_image_seed_variance_strength z_image_seed_variance_randomize_percent vae"
        ),
        one_name=True,
    ),
    Program(
        "InvokeAI",
        lambda data: isinstance(data.get("image"), dict) and "model_weights" in data,
        {**_PLAIN, "cfg": "cfg_scale", "model": "model_weights"},
        ignored=words("app_id app_version app model model_hash image type postprocessing variations"),
    ),
    Program(
        "Fooocus",
        lambda data: "base_model" in data and ("performance" in data or "adm_guidance" in data),
        {**_PLAIN, "cfg": "guidance_scale", "size": "resolution", "model": "base_model"},
        _fooocus_loras,
        words(
            "base_model_hash full_prompt full_negative_prompt metadata_scheme performance sharpness adm_guidance vae"
            " version clip_skip refiner_model refiner_switch created_by image_seed"
        ),
    ),
    Program(
        "RuinedFooocus",
        lambda data: data.get("software") == "RuinedFooocus" or {"Prompt", "base_model_name"} <= set(data),
        {**_PLAIN, "prompt": "Prompt", "negative": "Negative", "cfg": "cfg", "sampler": "sampler_name",
         "model": "base_model_name", "denoise": "denoise"},
        ignored=words("base_model_hash software start_step clip_skip"),
    ),
    Program(
        "Draw Things",
        lambda data: "c" in data and "seed_mode" in data,
        {"prompt": "c", "negative": "uc", "seed": "seed", "steps": "steps", "cfg": "scale", "size": "size",
         "sampler": "sampler", "shift": "shift", "model": "model", "start strength": "strength"},
        _weighted_loras,
        words("seed_mode profile"),
    ),
    Program(
        "Easy Diffusion",
        lambda data: "use_stable_diffusion_model" in data or ("num_inference_steps" in data and "sampler_name" in data),
        {**_PLAIN, "steps": "num_inference_steps", "cfg": "guidance_scale", "sampler": "sampler_name",
         "scheduler": "scheduler_name", "model": "use_stable_diffusion_model"},
        _easy_loras,
        words(
            "original_prompt num_outputs stream_progress_updates show_only_filtered_image vram_usage_level"
            " use_vae_model clip_skip lora_alpha use_lora_model block_nsfw metadata_output_format output_format"
            " output_quality output_lossless stream_image_progress active_tags inactive_tags created_by"
        ),
    ),
    Program(
        "WanGP",
        lambda data: str(data.get("type", "")).startswith("WanGP") or {"model_type", "activated_loras"} <= set(data),
        {"prompt": "prompt", "negative": "negative_prompt", "seed": "seed", "steps": "num_inference_steps",
         "cfg": "guidance_scale", "size": "resolution", "shift": "flow_shift", "sampler": "sample_solver",
         "model": "model_filename"},
        _wan_loras,
        words(
            "type model_type activated_loras loras_multipliers settings_version base_model_type image_mode mode"
            " video_length batch_size repeat_generation creation_date creation_timestamp generation_time"
            " multi_prompts_gen_type model_mode"
        ),
        diffusers=True,
    ),
    Program(
        "mold",
        lambda data: any(key.startswith("mold:") for key in data) or data.get("generator") == "mold",
        {**_PLAIN, "cfg": "guidance"},
        ignored=words("format version"),
    ),
    Program(
        "TensorArt",
        lambda data: "imageCount" in data or ("samplerName" in data and "cfgScale" in data),
        {**_PLAIN, "negative": "negativePrompt", "cfg": "cfgScale", "sampler": "samplerName",
         "scheduler": "schedulerName", "model": "models", "denoise": "denoisingStrength"},
        _art_loras,
        words("clipSkip imageCount baseModel ksamplerName guidance sdVae etaNoiseSeedDelta vae workEngine"),
    ),
)  # fmt: skip


def program_of(data: Data) -> Program | None:
    """Return the program whose format the data has, or None."""
    return next((each for each in PROGRAMS if each.knows(data)), None)


def read_program(program: Program, given: Data) -> Imported:
    """Read a program's settings; raises ImportedFileError if none can be used."""
    data, names = _inner(given), program.names
    draft = Draft(_named(program.name), data.get(names.get("prompt", "")), data.get(names.get("negative", "")))
    draft.seed = number(data.get(names.get("seed", "")))
    draft.model = _model_name(data.get(names.get("model", "")))
    stage = {name: number(data[names[name]]) for name in _STAGE if data.get(names.get(name, "")) is not None}
    for name in ("cfg", "shift"):
        other = data.get(names.get(f"{name}2", ""))
        if name not in stage and other is not None:
            stage[name] = number(other)
    size = _SIZE.fullmatch(str(data.get(names.get("size", ""), "")))
    if size:
        stage |= {"width": int(size[1]), "height": int(size[2])}
    if program.diffusers:
        diffusers_cfg(draft, stage, pipeline="zimage", above=1)
    sampler, schedule = (text_of(data.get(names.get(key, ""))) for key in ("sampler", "scheduler"))
    if program.one_name:
        sampler, schedule = schedule, None
    stage |= sampler_fields(draft, 0, None if sampler == "default" else sampler, schedule)
    draft.stages.append(stage)
    if between(redrawn := number(data.get(names.get("start strength", ""))), 0, 0.999):
        report_start_strength(draft, redrawn)
    draft.loras += [{"name": name, "strength": number(strength)} for name, strength in program.loras(data)]
    report_other_fields(draft, data, program.ignored | set(names.values()) | {"loras", "lora", "activated_loras"})
    return draft.settled()


def _inner(given: Data) -> Data:
    """Return the settings of formats that nest them one level deeper."""
    inner = given.get("image")
    if isinstance(inner, dict) and "model_weights" in given:
        prompts = list_of(inner.get("prompt"))
        text = " ".join(str(each.get("prompt", "")) for each in prompts if isinstance(each, Mapping))
        # This format has the negative prompt in brackets inside the prompt.
        unwanted = ", ".join(_BRACKETS.findall(text))
        return {**given, **inner, "prompt": _BRACKETS.sub("", text).strip(), "negative_prompt": unwanted}
    if "seed_mode" in given and isinstance(nested := given.get("v2"), dict):
        extras = {key: nested[key] for key in _DRAWN_EXTRAS if key in nested}
        return {**extras, **{key: value for key, value in given.items() if key != "v2"}}
    if any(key.startswith("mold:") for key in given):
        whole: dict[str, Any] = {key.removeprefix("mold:"): value for key, value in given.items()}
        try:
            parameters = json.loads(str(whole.pop("parameters", "{}"))[:100_000])
        except (ValueError, RecursionError):
            parameters = {}
        return {**whole, **(parameters if isinstance(parameters, dict) else {})}
    return given


def report_other_fields(draft: Draft, data: Data, known: Iterable[str]) -> None:
    """Report data under names that aren't known."""
    for key in sorted(set(data) - set(known)):
        if data[key] not in (None, "", False, [], {}, "None", "False", "null"):
            draft.report_left_out(_named(shown(key)), *no_place(data[key]))


def no_place(value: object) -> tuple[str, str]:
    """Return the reason, in English and Chinese, for leaving out a value that this app has no setting for."""
    text = shown(value) if isinstance(value, str | int | float) else ""
    return f"{text} has no equivalent in this app".strip(), f"{text} 在本程序中没有对应的设置".strip()
